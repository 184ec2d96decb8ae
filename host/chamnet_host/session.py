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

from collections.abc import Sequence

from chamnet.lut import Platform
from chamnet.networks import Network
from chamnet.search import SearchSettings
from chamnet.units import Granularity
from chamnet_host.answer import Answer, search
from chamnet_host.campaign import Progress, Tally, resolve_units, run_campaign
from chamnet_host.prediction import Prediction, predict
from chamnet_host.verification import Verification, verify
from chamnet_host.workspace import Workspace

__all__ = ["Session"]


class Session(Workspace):
    """A workspace that measures, predicts and searches."""

    def profile(
        self,
        *,
        effort: str = "quick",
        granularity: Granularity = "block",
        backend: str | None = None,
        progress: Progress = lambda tally: None,
    ) -> Tally:
        """Measure what is missing on the target and store it; return what was stored.

        Beside the samples, what the runtime executes for each unit is stored.

        Args:
            effort: `quick`, `normal` or `full`.
            granularity: What a row times, `op` or `block`.
            backend: Backend to measure with; None for the profile's, else the agent's default.
            progress: Called after every visit.

        Raises:
            DeviceLostError: The agent cannot be kept alive; what was measured is stored.
            StoreError: The store took no more; what it has is kept.
        """
        plan = self.plan(effort, granularity)
        with self.connect() as client:
            platform = Platform.of(client.describe(), backend or self.device.backend or None)
        lut_id, name = self.remember(platform, granularity), platform.backend
        tally = run_campaign(
            plan,
            self.connect,
            self.store,
            lut_id=lut_id,
            digest=platform.digest,
            backend=name,
            progress=progress,
        )
        resolve_units(plan.units, self.connect, self.store, lut_id=lut_id, backend=name)
        self.forget_table()
        return tally

    def predict(self, network: Network) -> Prediction:
        """Predict a network's latency on the target, and its accuracy."""
        return predict(self, network)

    def search(self, budget: str, settings: SearchSettings | None = None) -> Answer:
        """Find the most accurate network within a budget such as `20ms` or `8ms,300MMACs`."""
        return search(self, budget, settings)

    def verify(self, networks: Sequence[Network]) -> list[Verification]:
        """Measure whole networks on the target, beside what was predicted."""
        return verify(self, networks)
