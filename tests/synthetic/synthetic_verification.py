"""Networks of which an energy was predicted and then measured, both made up."""

from chamnet.lut import EnergyRow, EnergyTable, MeteredBy
from chamnet.networks import find
from chamnet.predictors.energy import EnergyPrediction
from chamnet.records import EnergyReading
from chamnet_host.measuring.energy_verification import EnergyVerification
from chamnet_host.prediction import Prediction


def verified(
    *readings: EnergyReading,
    predicted_mj: float | None = None,
    prediction: Prediction | None = None,
    idle_w: float = 1.0,
    failed: str = "",
) -> EnergyVerification:
    """Return a network whose energy was predicted from what the meter `fake` measured, and then measured.

    Args:
        readings: Of each window that told anything.
        predicted_mj: By what is predicted; None where no energy was known before.
        prediction: All of it instead.
        idle_w: Power of the idling device, as predictions count it.
        failed: Why a window told nothing.
    """
    network = find("chamnet-f").build()
    known = predicted_mj is not None or prediction is not None
    if prediction is None:
        energy = predicted_mj and EnergyPrediction(
            value=predicted_mj, low=0.9 * predicted_mj, high=1.1 * predicted_mj, model="lut",
            lut_mj=predicted_mj, coverage={}, units=(),
        )  # fmt: skip
        prediction = Prediction(
            network=network, latency=None, measured=None, top1=None, energy=energy or None
        )
    by_fake = MeteredBy("fake", ("fake",))
    table = EnergyTable(metered_by=by_fake, units={}, networks={}, idle_w=idle_w, idle_spread=None)
    row = EnergyRow(kind="network", key=network.digest, name=network.name, readings=readings)
    return EnergyVerification(
        prediction=prediction,
        row=row if readings else None,
        table=table if known else None,
        failed=failed,
    )
