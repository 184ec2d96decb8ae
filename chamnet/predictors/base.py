"""What an accuracy predictor answers."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from chamnet.ops import DType

__all__ = ["UNKNOWN_RECIPE", "AccuracyPrediction"]

FloatArray = npt.NDArray[np.float64]

UNKNOWN_RECIPE = "unknown"


@dataclass(frozen=True, eq=False, kw_only=True)
class AccuracyPrediction:
    """Accuracies of `n` networks, all as if trained with one recipe.

    Attributes:
        top1: In percent, shape `n`.
        low, high: Ends of the 90 % interval, in percent, shape `n`.
        extrapolated: Whether the network lies outside the pool's MACs, farther from every known network than
            was tested, or outside the structure; shape `n`.
        distance: To the nearest known network: Euclidean, features scaled to [0, 1]; shape `n`.
        recipe: The recipe's name, `unknown` for none in particular.
        recipe_source: Where that recipe's accuracies come from.
        dataset, precision: What the accuracy is on and with.
        int8_loss: What int8 costs known networks, lowest and highest, in points; None where not known.
    """

    top1: FloatArray
    low: FloatArray
    high: FloatArray
    extrapolated: npt.NDArray[np.bool_]
    distance: FloatArray
    recipe: str
    recipe_source: str
    dataset: str
    precision: str
    int8_loss: tuple[float, float] | None = None

    def precision_note(self, table: DType) -> str | None:
        """Return what to say beside costs from a table of another precision; None where there is none."""
        if table == self.precision:
            return None
        note = f"the accuracy is that of {self.precision} networks, the table is {table}"
        if table == "int8" and self.int8_loss:
            note += f"; known networks lose {self.int8_loss[0]:g} to {self.int8_loss[1]:g} points at int8"
        return note
