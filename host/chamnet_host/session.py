"""A session: everything the commands do, for programs.

```python
from chamnet_host.session import Session

with Session.open("chamnet.db", target="local") as session:
    session.profile(effort="quick")
    answer = session.search("8ms")
    print(answer.prediction.network.name, answer.prediction.latency, answer.prediction.top1)
    print(session.verify([answer.prediction.network]))
```
"""

import logging
from collections.abc import Sequence
from itertools import chain

from chamnet.errors import DeviceError
from chamnet.lut import Platform
from chamnet.networks import Network
from chamnet.search import SearchSettings, SolverChoice
from chamnet.units import Granularity
from chamnet_host.answer import Answer, search
from chamnet_host.campaign import Campaign, Progress, Tally
from chamnet_host.planner import batches, default_granularity, find_effort, walks_through
from chamnet_host.prediction import Prediction, predict
from chamnet_host.preflight import obstacles
from chamnet_host.reach import KeptConnection
from chamnet_host.verification import Verification, verify
from chamnet_host.workspace import Workspace

__all__ = ["Session"]

log = logging.getLogger(__name__)


class Session(Workspace):
    """A workspace that measures, predicts and searches."""

    def profile(
        self,
        *,
        effort: str = "quick",
        granularity: Granularity | None = None,
        budgets_ms: Sequence[float] = (),
        also: Sequence[Network] = (),
        recalibrate: bool = False,
        strict: bool = False,
        progress: Progress = lambda tally: None,
    ) -> Tally:
        """Measure what is missing on the target and store it; return what was stored.

        Beside the samples, what the runtime executes for each unit is stored.

        Args:
            effort: `quick`, `normal` or `full`.
            granularity: What a row times, `op` or `block`; None for what predicts best on the backend.
            budgets_ms: Latencies near which predictions matter most.
            also: Networks, of the space or not, whose units are to be measured too.
            recalibrate: Whether to measure the calibration networks anew.
            strict: Whether to end on a loaded or throttled device, instead of labelling and repeating visits.
            progress: Called after every visit.

        Raises:
            DeviceLostError: The agent cannot be kept alive; what was measured is stored.
            DeviceError: The device is throttled, loaded or low on power, and `strict` was asked for.
            StoreError: The store took no more; what it has is kept.
        """
        wanted = find_effort(effort)
        with KeptConnection(self.connect) as connect:
            with connect() as client:
                platform = self.platform_now(client)
                hindered = obstacles(client.describe())
            if hindered and strict:
                raise DeviceError(
                    f"{self.device.name}: {'; '.join(hindered)}. Leave --strict out to measure all the same"
                )
            for each in hindered:
                log.warning("%s: %s", self.device.name, each)
            granularity = granularity or default_granularity(platform.backend, self.space.dtype)
            lut_id = self.remember(platform, granularity)
            self.forget_table()
            session = self._calibration_session(platform, anew=recalibrate)
            campaign = Campaign(
                connect=connect,
                store=self.store,
                lut_id=lut_id,
                digest=platform.digest,
                backend=platform.backend,
                progress=progress,
                strict=strict,
                patience_s=self.device.patience_s,
                cool_to_c=self.device.cool_to_c,
            )
            planned = batches(self, wanted, platform, granularity, budgets_ms=budgets_ms, session=session)
            for batch in chain(planned, walks_through(also, granularity)):
                campaign.run(batch)
                campaign.resolve(unit for network in batch.walks for unit in network.units(granularity))
        self.forget_table()
        return campaign.tally

    def _calibration_session(self, platform: Platform, *, anew: bool) -> int:
        """Return the number of the calibration that counts, after starting a new one if asked."""
        key = f"session:{platform.digest}:{self.space.digest}"
        number = int(self.store.get(key) or 0) + anew
        self.store.put(key, str(number))
        return number

    def predict(self, network: Network) -> Prediction:
        """Predict a network's latency on the target, and its accuracy."""
        return predict(self, network)

    def search(
        self, budget: str, settings: SearchSettings | None = None, *, solver: SolverChoice = "auto"
    ) -> Answer:
        """Find the most accurate network within a budget such as `20ms` or `8ms,300MMACs`."""
        return search(self, budget, settings, solver=solver)

    def verify(self, networks: Sequence[Network]) -> list[Verification]:
        """Measure whole networks on the target, beside what was predicted."""
        return verify(self, networks)
