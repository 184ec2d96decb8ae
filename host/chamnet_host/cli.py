"""Entry point of `chamnet-host`: exit codes, and a word of advice where the host extra is missing."""

import os
import sys
from collections.abc import Sequence

__all__ = ["main"]


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line and exit: 0 done, 1 a failure, 2 the user's mistake."""
    # numpy's threads would spin on the cores that an agent beside us measures on; our matrices are small
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    try:
        from chamnet_host.app import run
    except ModuleNotFoundError as error:
        if (error.name or "").startswith("chamnet"):
            raise
        sys.stderr.write(f"chamnet-host needs the package {error.name}: pip install 'chamnet[host]'\n")
        sys.exit(2)
    sys.exit(run(sys.argv[1:] if arguments is None else list(arguments)))
