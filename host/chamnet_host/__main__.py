"""`python -m chamnet_host` is `chamnet-host`."""

from chamnet_host.cli import main

if __name__ == "__main__":
    main()
