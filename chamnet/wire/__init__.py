"""The wire: generated messages and their conversion to records."""
