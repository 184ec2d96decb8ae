"""What channels and servers are set to: gRPC ignores an option that it does not know."""

from pathlib import Path

import pytest
from grpc._cython import cygrpc

from chamnet_agent import server
from chamnet_host import client


@pytest.mark.parametrize("name", sorted(dict([*server._OPTIONS, *client._OPTIONS])))
def test_grpc_knows_every_option_that_is_set(name: str) -> None:
    assert f"{name}\0".encode() in Path(cygrpc.__file__).read_bytes()
