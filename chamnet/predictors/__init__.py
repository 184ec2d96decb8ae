"""Predictors of whole networks: accuracy here, latency from tables in `latency`."""

from chamnet.predictors.accuracy import AccuracyPredictor
from chamnet.predictors.base import AccuracyPrediction
from chamnet.predictors.space_accuracy import SpaceAccuracy

__all__ = ["AccuracyPrediction", "AccuracyPredictor", "SpaceAccuracy"]
