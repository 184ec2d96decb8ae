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

from collections.abc import Callable, Sequence
from itertools import chain

from chamnet.errors import DeviceError
from chamnet.lut import Platform
from chamnet.networks import Network
from chamnet.records import EnergyPolicy
from chamnet.search import SearchSettings, SolverChoice
from chamnet.units import Granularity
from chamnet_host.devices.serials import devices_of
from chamnet_host.measuring.campaign import Campaign, Progress, Tally
from chamnet_host.measuring.energy_campaign import ENERGY_ROUNDS, ENERGY_ROWS, EnergyPlan, measure_energy
from chamnet_host.measuring.energy_verification import (
    EnergyVerification,
    plan_verification,
    policy_of,
    verify_energy,
)
from chamnet_host.measuring.fleet import Member, compare, meet, reached_all
from chamnet_host.measuring.lanes import Lane
from chamnet_host.measuring.planner import batches, default_granularity, find_effort, walks_through
from chamnet_host.measuring.verification import Verification, verify
from chamnet_host.prediction import Prediction, predict
from chamnet_host.searching.answer import Answer, search
from chamnet_host.texts.fleet import differing_text
from chamnet_host.workspace import Workspace

__all__ = ["Session"]


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
        serials: Sequence[str] = (),
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
            strict: Whether to end on a loaded or throttled device, instead of labelling and repeating visits, and on
                devices that differ, instead of telling by how much.
            serials: Devices of the target's kind that share the work, as after `--serial`; none for the target's own.
            progress: Called after every visit.

        Raises:
            ConfigError: The devices are not of one kind.
            DeviceLostError: No device's agent can be kept alive; what was measured is stored.
            DeviceError: A device is throttled, loaded, low on power or unlike the others, and `strict` was asked for.
            StoreError: The store took no more; what it has is kept.
        """
        wanted = find_effort(effort)
        with reached_all(devices_of(self.device, serials)) as members:
            platform = meet(self, members, strict=strict)
            granularity = granularity or default_granularity(platform.backend, self.space.dtype)
            lut_id = self.remember(platform, granularity)
            self.forget_table()
            session = self._calibration_session(platform, anew=recalibrate)
            campaign = Campaign(
                lanes=[_lane(member, platform, strict) for member in members],
                store=self.store,
                lut_id=lut_id,
                digest=platform.digest,
                progress=progress,
                strict=strict,
            )
            planned = batches(self, wanted, platform, granularity, budgets_ms=budgets_ms, session=session)
            for batch in chain(planned, walks_through(also, platform, granularity)):
                campaign.run(batch)
                campaign.resolve(unit for network in batch.walks for unit in network.units(granularity))
                if len(members) > 1:
                    self._compare(campaign.tally, lut_id, session, strict=strict)
        self.forget_table()
        return campaign.tally

    def measure_energy(
        self,
        policy: EnergyPolicy,
        *,
        rows: int = ENERGY_ROWS,
        rounds: int = ENERGY_ROUNDS,
        networks: Sequence[Network] | None = None,
        announce: Callable[[EnergyPlan], None] = lambda plan: None,
        progress: Progress = lambda tally: None,
    ) -> Tally:
        """Measure the energy of a subset of the units that were profiled, and of whole networks; store it.

        Args:
            policy: Which meter and rails, and how long windows are.
            rows: Units to measure.
            rounds: Windows of each.
            networks: Measured whole; by default those of the calibration.
            announce: Told what will be measured and how long it takes, before it is.
            progress: Called after every window.

        Raises:
            MeterError: No meter works on the device, or it stopped working; what was measured is stored.
            NotProfiledError: The latencies of the units are not known yet.
            DeviceLostError: The agent cannot be kept alive; what was measured is stored.
        """
        return measure_energy(
            self, policy, rows=rows, rounds=rounds, networks=networks, announce=announce, progress=progress
        )

    def _compare(self, tally: Tally, lut_id: int, session: int, *, strict: bool) -> None:
        """Take down how devices compare so far.

        Raises:
            DeviceError: One differs, and `strict` was asked for.
        """
        for standing in compare(self, list(tally.shares), lut_id=lut_id, session=session):
            tally.shares[standing.serial].standing = standing
        if strict and (text := differing_text(tally)):
            raise DeviceError(f"{text} Leave --strict out to measure all the same")

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

    def verify_energy(
        self,
        networks: Sequence[Network],
        policy: EnergyPolicy | None = None,
        *,
        rounds: int = ENERGY_ROUNDS,
        progress: Progress = lambda tally: None,
    ) -> list[EnergyVerification]:
        """Measure the energy of whole networks on the target, beside what was predicted.

        Args:
            networks: To measure.
            policy: Which meter and rails; by default those that predict.
            rounds: Windows of each.
            progress: Called after every window.

        Raises:
            MeterError: No meter works on the device, or it stopped working; what was measured is stored.
            DeviceLostError: The agent cannot be kept alive; what was measured is stored.
        """
        policy = policy or policy_of(self)
        plan = plan_verification(self, networks, policy, rounds=rounds)
        predictions = [self.predict(network) for network in networks]
        return verify_energy(self, predictions, policy, plan, progress=progress)


def _lane(member: Member, platform: Platform, strict: bool) -> Lane:
    return Lane(
        connect=member.connect,
        serial=member.serial,
        patience_s=member.device.patience_s,
        cool_to_c=member.device.cool_to_c,
        backend=platform.backend,
        strict=strict,
    )
