"""What a search is asked for, its scope, its answer and its front."""
