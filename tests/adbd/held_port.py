"""Ports of this machine's loopback that no other program is given meanwhile."""

import socket
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

__all__ = ["held_port", "held_ports"]


@contextmanager
def held_port() -> Iterator[int]:
    """Yield a port where nobody listens: calls are refused, until who is told of it listens there.

    A port that was asked for and let go may be another program's a moment later. Who is to listen has to reuse addresses,
    as servers do.
    """
    with held_ports(1) as (port,):
        yield port


@contextmanager
def held_ports(count: int) -> Iterator[tuple[int, ...]]:
    """Yield such ports in a row."""
    with ExitStack() as stack:
        while True:
            first = _hold(stack, 0)
            try:
                ports = (first, *(_hold(stack, first + i) for i in range(1, count)))
            except (OSError, OverflowError):  # another program's, or there is none
                continue
            break
        yield ports


def _hold(stack: ExitStack, port: int) -> int:
    held = stack.enter_context(socket.socket())
    held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    held.bind(("127.0.0.1", port))
    return int(held.getsockname()[1])
