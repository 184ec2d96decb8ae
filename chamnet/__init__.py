"""ChamNet: find the network that fits a device, by measuring the device."""

__version__ = "0.1.0"
