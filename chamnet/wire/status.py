"""Our errors as gRPC status codes, and back: the one table.

Each error that an agent raises has a code of its own, so its class survives the wire. Codes that gRPC raises by
itself are read as the error whose meaning is nearest.
"""

import grpc

from chamnet.errors import (
    BudgetError,
    BundleError,
    ChamNetError,
    ConfigError,
    DeviceBusyError,
    DeviceError,
    DeviceLostError,
    DeviceUnreachableError,
    FallbackError,
    InfeasibleBudgetError,
    MeterError,
    MeterInterruptedError,
    NotProfiledError,
    StoreError,
    TokenError,
    UnsupportedOpError,
    WorkerError,
)

__all__ = ["HOST_ONLY", "STATUS", "code_of", "error_from"]

STATUS: dict[type[ChamNetError], grpc.StatusCode] = {
    ConfigError: grpc.StatusCode.INVALID_ARGUMENT,
    TokenError: grpc.StatusCode.UNAUTHENTICATED,
    UnsupportedOpError: grpc.StatusCode.UNIMPLEMENTED,
    FallbackError: grpc.StatusCode.OUT_OF_RANGE,
    DeviceUnreachableError: grpc.StatusCode.UNAVAILABLE,
    DeviceLostError: grpc.StatusCode.ABORTED,
    DeviceBusyError: grpc.StatusCode.FAILED_PRECONDITION,
    WorkerError: grpc.StatusCode.INTERNAL,
    MeterError: grpc.StatusCode.DATA_LOSS,
    MeterInterruptedError: grpc.StatusCode.ALREADY_EXISTS,  # says nothing here, but no other code is left
}

HOST_ONLY = frozenset({BudgetError, BundleError, InfeasibleBudgetError, NotProfiledError, StoreError})
"""Errors that no agent raises."""

_FOREIGN: dict[grpc.StatusCode, type[ChamNetError]] = {
    grpc.StatusCode.CANCELLED: DeviceLostError,
    grpc.StatusCode.DEADLINE_EXCEEDED: DeviceLostError,
    grpc.StatusCode.RESOURCE_EXHAUSTED: ConfigError,  # gRPC: a message over the size limit
    grpc.StatusCode.NOT_FOUND: ConfigError,
}

_ERRORS = {code: error for error, code in STATUS.items()} | _FOREIGN


def code_of(error: ChamNetError) -> grpc.StatusCode:
    """Return the code an error travels as; that of its nearest ancestor, else `UNKNOWN`."""
    for ancestor in type(error).__mro__:
        if ancestor in STATUS:
            return STATUS[ancestor]
    return grpc.StatusCode.UNKNOWN


def error_from(code: grpc.StatusCode, message: str) -> ChamNetError:
    """Return the error that a code stands for; a plain `DeviceError` where nothing nearer is known."""
    return _ERRORS.get(code, DeviceError)(message)
