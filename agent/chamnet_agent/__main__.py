"""`python -m chamnet_agent`: the same as `chamnet-agent`."""

import sys

from chamnet_agent.cli import main

sys.exit(main())
