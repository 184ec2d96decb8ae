"""Meters that the host reads: a power monitor that feeds the device, or what any other recorder writes into a file."""
