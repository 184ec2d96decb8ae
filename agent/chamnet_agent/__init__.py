"""The ChamNet agent: measures operators and networks on the device it runs on."""
