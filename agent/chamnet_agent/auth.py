"""The token: every call on every address carries it, health included (a phone's loopback is shared by all apps)."""

import hmac
from collections.abc import Callable
from typing import Any

import grpc

__all__ = ["TokenInterceptor"]

_METADATA_KEY = "authorization"


class TokenInterceptor(grpc.ServerInterceptor):  # type: ignore[type-arg]  # generic only in the stubs
    """Refuses calls that do not carry `authorization: Bearer <token>`, before their body is read."""

    def __init__(self, token: str) -> None:
        self._wanted = f"Bearer {token}".encode()
        self._refusal = grpc.stream_unary_rpc_method_handler(_refuse)

    def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], "grpc.RpcMethodHandler[Any, Any] | None"],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> "grpc.RpcMethodHandler[Any, Any] | None":
        """Pass a call on if it carries the token."""
        given = [value for key, value in handler_call_details.invocation_metadata if key == _METADATA_KEY]
        if len(given) == 1 and hmac.compare_digest(_bytes(given[0]), self._wanted):
            return continuation(handler_call_details)
        return self._refusal


def _bytes(value: str | bytes) -> bytes:
    return value if isinstance(value, bytes) else value.encode()


def _refuse(requests: object, context: grpc.ServicerContext) -> None:
    context.abort(
        grpc.StatusCode.UNAUTHENTICATED,
        "the agent takes only calls that carry its token; read it from the token file in the agent's state "
        "directory: it is fresh with every start",
    )
