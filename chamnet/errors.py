"""Every exception of ChamNet.

```text
ChamNetError                    exit code 1: a failure
├── UsageError                  exit code 2: what was asked for cannot be done; the message says what can
│   ├── ConfigError             unknown target, space, network, option, key or file
│   ├── BudgetError             a budget that cannot be read
│   ├── InfeasibleBudgetError   a budget that nothing in the space can meet
│   ├── NotProfiledError        an answer needs a table that has not been measured yet
│   └── TokenError              the agent refused the token
├── UnsupportedOpError          the backend cannot run an operator
│   └── FallbackError           an accelerator leaves it to the CPU
├── StoreError                  the table on disk is corrupt, too new, full or locked
├── BundleError                 a bundle or what it is made of cannot be had, or is damaged
├── DeviceError                 the device side failed
│   ├── DeviceUnreachableError  no agent answers
│   ├── DeviceLostError         the agent went away while it worked
│   └── DeviceBusyError         another agent or host holds the device
├── MeterError                  no energy can be read: no sensor, no permission, charging, vanished
│   └── MeterInterruptedError   the energy of this window cannot be told; another window may do
└── WorkerError                 the measuring process crashed, hung or ran out of memory
```

`ValueError` and `TypeError` mean a bug in the caller and are not listed here.
"""

from typing import ClassVar


class ChamNetError(Exception):
    """Base of all errors that a user may meet."""

    exit_code: ClassVar[int] = 1


class UsageError(ChamNetError):
    """The request cannot be met; the message says what can."""

    exit_code = 2


class ConfigError(UsageError):
    """An unknown or malformed target, space, network, option or file."""


class BudgetError(UsageError):
    """A budget that cannot be read, such as an unknown unit."""


class InfeasibleBudgetError(UsageError):
    """A budget below what the space can reach; the message names the minimum."""


class NotProfiledError(UsageError):
    """An answer needs measurements that the store does not hold."""


class TokenError(UsageError):
    """The agent refused the token."""


class UnsupportedOpError(ChamNetError):
    """The backend cannot run an operator."""


class FallbackError(UnsupportedOpError):
    """An accelerator leaves an operator to the CPU, so its time would be that of another device."""


class StoreError(ChamNetError):
    """The table on disk is corrupt, from a newer version, full or locked."""


class BundleError(ChamNetError):
    """A bundle, or what it is made of, cannot be had or is not what was announced."""


class DeviceError(ChamNetError):
    """The device side failed."""


class DeviceUnreachableError(DeviceError):
    """No agent answers at the address."""


class DeviceLostError(DeviceError):
    """The agent went away while it worked; what it had sent is stored."""


class DeviceBusyError(DeviceError):
    """Another agent or host holds the device."""


class MeterError(ChamNetError):
    """No energy can be read; the message says why and what would help."""


class MeterInterruptedError(MeterError):
    """The energy of one window cannot be told: the counter was reset or stuck, or nobody read it in time."""


class WorkerError(ChamNetError):
    """The measuring process crashed, hung or ran out of memory."""
