"""An agent that this host puts on a device, starts there and ends again."""

import logging
from collections.abc import Callable, Sequence
from pathlib import Path

from chamnet.clock import Clock, SystemClock
from chamnet.errors import DeviceBusyError, DeviceError
from chamnet.wire.endpoint import Endpoint
from chamnet_host.bundles.manifest import WRITABLE, Manifest
from chamnet_host.client import DeviceClient
from chamnet_host.transport.base import Connection
from chamnet_host.transport.deployment import Deployment, Difference, Progress
from chamnet_host.transport.networked import Networked
from chamnet_host.transport.remote_agent import Process, RemoteAgent
from chamnet_host.transport.shell import DeviceShell

__all__ = ["FOLDER", "DeployedTransport", "at_home"]

log = logging.getLogger(__name__)

FOLDER = "/data/local/tmp/chamnet"
"""Where Android lets its shell keep programs."""


def at_home(shell: DeviceShell, folder: str) -> str:
    """Return a folder's absolute path, with the home of the device's user for `~`.

    Raises:
        DeviceError: It has none.
    """
    if not folder.startswith("~/"):
        return folder
    home = shell.run('echo "$HOME"').stdout.strip()
    if not home.startswith("/"):
        raise DeviceError(f"{shell.name}: its user has no home folder; give a folder in the device profile")
    return f"{home.rstrip('/')}/{folder[2:]}"


class DeployedTransport:
    """Brings a bundle to a device, as far as it differs, and starts its agent; ends that on `close`.

    What nobody uses any more, such as the agent of a host that was shot, is replaced. An agent at work for another host
    is shared if it is the same and was started alike, and else left alone.

    Args:
        open_shell: Reaches the device.
        bundle: Folder with `manifest.json`.
        folder: On the device; `~/` stands for the home of its user.
        backend: The agent's default; None leaves the choice to it.
        cores: To measure on, such as `4-7`; `auto` for the fastest.
        threads: The backend computes with.
        governor: Of these cores while the agent runs; empty to leave it.
        networked: Where the agent answers instead of through a forward; None for a forward.
        flags: More of `chamnet-agent serve`, of single backends.
        lease_s: After which the agent ends without a host.
        start_s: For it to answer.
        progress: Told what is sent.
        clock: Tells how long a start takes.
    """

    def __init__(
        self,
        open_shell: Callable[[], DeviceShell],
        bundle: Path,
        *,
        folder: str = FOLDER,
        backend: str | None = None,
        cores: str = "auto",
        threads: int = 1,
        governor: str = "",
        networked: Networked | None = None,
        flags: Sequence[str] = (),
        lease_s: float = 600.0,
        start_s: float = 60.0,
        progress: Progress = lambda _done, _total, _path: None,
        clock: Clock | None = None,
    ) -> None:
        self._open_shell = open_shell
        self._bundle = bundle
        self._folder = folder
        self._networked = networked
        given = {"--cores": cores, "--threads": str(threads), "--lease": f"{lease_s:g}s"}
        given |= {"--backend": backend} if backend else {}
        given |= {"--governor": governor} if governor else {}
        self._flags = (*(word for pair in given.items() for word in pair), *flags)
        self._start_s = start_s
        self._progress = progress
        self._clock = clock or SystemClock()
        self._shell: DeviceShell | None = None
        self._agent: RemoteAgent | None = None
        self._started: Process | None = None
        self._connection: Connection | None = None

    def open(self) -> Connection:
        """Return where the agent answers: through a forward, or in the device's network.

        Raises:
            DeviceUnreachableError: The device cannot be reached, or the agent does not answer in time.
            DeviceBusyError: Another host uses an agent there that is not like this one.
            BundleError: There is no bundle, or it does not arrive whole.
            ConfigError: It cannot be as asked; says why.
        """
        if self._connection is None:
            try:
                self._connection = self._opened()
            except BaseException:
                self.close()
                raise
        return self._connection

    def close(self) -> None:
        """End the agent that `open` started, and the forward; what was deployed stays."""
        shell, agent, started = self._shell, self._agent, self._started
        self._shell = self._agent = self._started = self._connection = None
        if shell is None:
            return
        try:
            if agent is not None and started is not None:
                agent.stop(started)
        except DeviceError as error:
            log.warning("%s; the agent there ends by itself, after its lease", error)
        finally:
            shell.close()

    def last_words(self) -> str:
        """Return the last lines of the agent's log."""
        return self._agent.last_words() if self._agent else ""

    def _opened(self) -> Connection:
        manifest = Manifest.load(self._bundle)
        self._shell = shell = self._open_shell()
        folder = at_home(shell, self._folder)
        certificates = f"{folder}/{WRITABLE}/tls"
        networked = self._networked.flags(certificates) if self._networked else ()
        self._agent = agent = RemoteAgent(shell, folder, (*self._flags, *networked), self._clock)
        deployment = Deployment(shell, folder)
        difference = deployment.difference(manifest)
        endpoint = self._shared(agent, difference)
        if endpoint is None:
            if difference:
                deployment.apply(difference, self._bundle, manifest, self._progress)
            if self._networked:
                self._networked.prepare(shell, certificates)
            self._started, endpoint = agent.start(self._start_s)
            self._keep_awake(shell, folder)
        if self._networked:
            connection = Connection(self._networked.address, agent.token(), self._networked.tls)
        else:
            connection = Connection(shell.forward(endpoint.port), agent.token())
        with DeviceClient(
            connection.address, connection.token, tls=connection.tls, last_words=agent.last_words
        ) as client:
            client.health()
        return connection

    def _keep_awake(self, shell: DeviceShell, folder: str) -> None:
        """Keep the device awake as long as the agent of a folder runs; boards do not sleep."""

    def _shared(self, agent: RemoteAgent, difference: Difference) -> Endpoint | None:
        """Return where an agent listens that can be shared; end one that nobody uses.

        Raises:
            DeviceBusyError: It is used, and not like this one.
        """
        process = agent.running()
        if process is None:
            return None
        endpoint = agent.in_use(process, start_s=self._start_s)
        if endpoint is None:
            log.info("ending the agent of an earlier run, process %d", process.pid)
            agent.stop(process)
            return None
        if difference or not agent.is_ours(process):
            what = "of another bundle" if difference else "with other settings"
            raise DeviceBusyError(
                f"{agent.name}: an agent {what} works there for another host; wait for that one, or end it in a shell of"
                f" the device: kill {process.pid}"
            )
        return endpoint
