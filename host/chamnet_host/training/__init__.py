"""Networks trained, chosen to be trained, and written as model files."""
