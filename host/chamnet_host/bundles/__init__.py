"""Self-contained folders that run an agent where nothing is installed: built from Debian packages and wheels."""
