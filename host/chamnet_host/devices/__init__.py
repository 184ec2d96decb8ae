"""Devices: their profiles, how each is reached, and whether it is fit to be measured."""
