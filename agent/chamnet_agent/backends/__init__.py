"""Runtimes that models are measured on: one file each."""
