"""One training in a process of its own: a job as one line of JSON on stdin, its outcome as one on stdout.

The end of stdin means that whoever asked is gone; the process ends then, and the next one goes on from its checkpoint.
"""

import json
import os
import sys
import threading

from chamnet.errors import ChamNetError
from chamnet.train.jobs import Job


def main() -> int:
    """Run the training."""
    request = sys.stdin.readline()
    threading.Thread(target=_end_with_parent, daemon=True).start()
    try:
        from chamnet.train.trainer import train

        outcome = train(Job.from_dict(json.loads(request)))
    except ChamNetError as error:
        print(json.dumps({"error": {"type": type(error).__name__, "message": str(error)}}), flush=True)  # noqa: T201
        return error.exit_code
    print(json.dumps(outcome.to_dict()), flush=True)  # noqa: T201
    return 0


def _end_with_parent() -> None:
    sys.stdin.read()
    os._exit(1)


if __name__ == "__main__":
    sys.exit(main())
