"""Devices reached by adb: through a running adb server, or without one over TCP. Needs chamnet[adb]."""
