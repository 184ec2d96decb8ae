"""Runtimes that run exported models on this machine, to check them: one file each, imported when asked for."""
