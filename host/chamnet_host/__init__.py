"""The ChamNet host: drives devices, keeps their tables, and searches."""
