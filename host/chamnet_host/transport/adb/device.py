"""A device's shell over adb, whichever way it is reached."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager

from chamnet.errors import DeviceError, DeviceLostError, DeviceUnreachableError
from chamnet_host.transport.adb.link import Link, ServiceRefusedError, Stream
from chamnet_host.transport.adb.services import SyncError, read_file, read_to_end, run_command, send_files
from chamnet_host.transport.shell import Finished, Upload

__all__ = ["AdbShell"]

_OPEN_S = 10.0
_NO_FILE = "No such file or directory"


class AdbShell:
    """Runs commands and carries files over a link, in the exchange format of adbd.

    Args:
        link: To the device; closed with the shell.
    """

    def __init__(self, link: Link) -> None:
        self._link = link

    @property
    def name(self) -> str:
        """Serial number of the device."""
        return self._link.serial

    def run(self, command: str, *, timeout_s: float = 30.0) -> Finished:
        """Run a command line and return how it ended."""
        open_s = min(timeout_s, _OPEN_S)
        with self._service(f"shell,v2,raw:{command}", f"running {_short(command)}", open_s) as stream:
            return run_command(stream, timeout_s=timeout_s)

    def push(self, files: Iterable[Upload]) -> int:
        """Write files and return the bytes sent."""
        with self._service("sync:", "writing files") as stream:
            return send_files(stream, files)

    def read(self, path: str) -> bytes | None:
        """Return what a file holds; None where there is none."""
        with self._service("sync:", f"reading {path}") as stream:
            try:
                return read_file(stream, path)
            except SyncError as error:
                if _NO_FILE in str(error):
                    return None
                raise

    def forward(self, port: int) -> str:
        """Return the near end of a forward to a port of the device."""
        with self._ours(f"forwarding port {port}"):
            return f"127.0.0.1:{self._link.forward(port)}"

    def listen(self, port: int) -> None:
        """Make adbd start anew and listen on a port of the device's network, besides the cable, until the device restarts.

        Raises:
            DeviceError: adbd refuses.
        """
        with self._service(f"tcpip:{port}", f"listening on port {port}") as stream:
            answer = read_to_end(stream)
        if "restarting" not in answer:
            raise DeviceError(
                f"{self.name}: adbd does not listen on port {port} ({answer.strip() or 'no reason given'})"
            )

    def close(self) -> None:
        """End forwards and hang up."""
        self._link.close()

    @contextmanager
    def _service(self, service: str, doing: str, open_s: float = _OPEN_S) -> Iterator[Stream]:
        with self._ours(doing):
            stream = self._link.open(service, timeout_s=open_s)
            try:
                yield stream
            finally:
                stream.close()

    @contextmanager
    def _ours(self, doing: str) -> Iterator[None]:
        """Raise our errors for those of streams."""
        try:
            yield
        except ServiceRefusedError as error:
            raise DeviceError(
                f"{self.name}: {doing}: adbd refuses ({error}); Android 8 or newer is needed"
            ) from error
        except SyncError as error:
            raise DeviceError(f"{self.name}: {doing}: {error}") from error
        except TimeoutError as error:
            raise DeviceUnreachableError(
                f"{self.name}: {doing}: {error or 'no answer'}; is it awake, and the cable or network sound?"
            ) from error
        except (EOFError, OSError) as error:
            raise DeviceLostError(
                f"{self.name}: the device went away while {doing} ({error}); connect it again and run the same"
                " command: what is whole on it is not sent again"
            ) from error


def _short(command: str) -> str:
    line = " ".join(command.split())
    return f"`{line if len(line) <= 60 else line[:57] + '...'}`"
