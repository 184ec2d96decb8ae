"""The accuracy predictor on disk: one `.npz` of arrays, and JSON for the rest. No pickles."""

import io
import json
import zipfile
from dataclasses import asdict
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np

from chamnet.errors import ConfigError, StoreError
from chamnet.predictors.features import Structure
from chamnet.predictors.gp import GaussianProcess, Kernel, Trend, kernel_layout
from chamnet.predictors.pool import Pool
from chamnet.predictors.seeds import SeedNoise
from chamnet.predictors.validation import Validation

__all__ = ["SHIPPED", "load", "pack", "save", "unpack"]

SHIPPED = "accuracy-imagenet.npz"
_SCHEMA = 2
_NEXT = "fit a new one with `chamnet-host accuracy fit`, or leave it out for the shipped one"


def save(path: Path, model: GaussianProcess, pool: Pool, validation: Validation, seed: int) -> None:
    """Write a predictor.

    Raises:
        StoreError: The file cannot be written.
    """
    try:
        path.write_bytes(pack(model, pool, validation, seed))
    except OSError as error:
        raise StoreError(
            f"accuracy predictor {path}: cannot be written ({error}); choose another path"
        ) from error


def pack(model: GaussianProcess, pool: Pool, validation: Validation, seed: int) -> bytes:
    """Return a predictor as the content of a file."""
    about = {
        "schema": _SCHEMA,
        "kernel": model.kernel.name,
        "seed": seed,
        "trend": asdict(model.trend),
        "structure_sd": model.structure_sd,
        "offset_sd": model.offset_sd,
        "own_sd": model.own_sd,
        "noise_sd": model.noise_sd,
        "seed_noise": model.seeds.to_dict(),
        "structure": pool.structure.to_dict(),
        "names": pool.names,
        "recipes": pool.recipes,
        "sources": pool.sources,
        "dataset": pool.dataset,
        "precision": pool.precision,
        "int8_loss": pool.int8_loss,
        "macs_range": np.exp([pool.log_macs.min(), pool.log_macs.max()]).round().tolist(),
        "validation": validation.to_dict(),
    }
    arrays = {
        "scales": model.kernel.scales,
        "features": pool.features,
        "log_macs": pool.log_macs,
        "top1": pool.top1,
    }
    if model.kernel.beside is not None:
        about["share"], arrays["beside_scales"] = model.kernel.share, model.kernel.beside.scales
    file = io.BytesIO()
    np.savez(file, allow_pickle=False, about=np.array(json.dumps(about)), **arrays)
    return file.getvalue()


def load(path: Path | None) -> tuple[GaussianProcess, Pool, Validation, int]:
    """Read a predictor's model, pool, validation and seed; None for the shipped one.

    Raises:
        ConfigError: No such file.
        StoreError: The file is corrupt or from another version.
    """
    name = str(path) if path else SHIPPED
    try:
        packaged = resources.files(__package__).joinpath("data", SHIPPED)
        content = path.read_bytes() if path else packaged.read_bytes()
    except OSError as error:
        raise ConfigError(f"accuracy predictor {name}: cannot be read ({error}); {_NEXT}") from error
    return unpack(content, name)


def unpack(content: bytes, name: str) -> tuple[GaussianProcess, Pool, Validation, int]:
    """Read what `pack` gave; `name` is for people.

    Raises:
        StoreError: It is corrupt or from another version.
    """
    try:
        with np.load(io.BytesIO(content), allow_pickle=False) as archive:
            arrays = {key: archive[key] for key in archive.files}
        about = json.loads(str(arrays.pop("about")))
        schema = about["schema"]
        if schema == _SCHEMA:
            return _build(about, arrays)
    except (
        OSError,
        ValueError,
        KeyError,
        TypeError,
        AttributeError,
        EOFError,
        zipfile.BadZipFile,
        np.linalg.LinAlgError,
    ) as error:
        raise StoreError(f"accuracy predictor {name}: corrupt ({error}); {_NEXT}") from error
    newer = "upgrade or " if schema > _SCHEMA else ""
    raise StoreError(
        f"accuracy predictor {name}: schema {schema}, this version reads {_SCHEMA}; {newer}{_NEXT}"
    )


def _build(about: dict[str, Any], arrays: dict[str, Any]) -> tuple[GaussianProcess, Pool, Validation, int]:
    structure = Structure.from_dict(about["structure"])
    features, scales = np.asarray(arrays["features"], dtype=float), np.asarray(arrays["scales"], dtype=float)
    count, width = len(about["names"]), len(structure.feature_names)
    shapes = {"features": (count, width), "scales": (width,), "log_macs": (count,), "top1": (count,)}
    if about["kernel"] == "sum":
        shapes["beside_scales"] = (width,)
    for key, shape in shapes.items():
        if arrays[key].shape != shape or not np.isfinite(arrays[key]).all():
            raise ValueError(f"{key} has shape {arrays[key].shape} instead of {shape}, or is not finite")
    pool = Pool(
        structure=structure,
        names=tuple(about["names"]),
        recipes=tuple(about["recipes"]),
        sources=about["sources"],
        features=features,
        log_macs=arrays["log_macs"],
        top1=arrays["top1"],
        dataset=about["dataset"],
        precision=about["precision"],
        int8_loss=tuple(about["int8_loss"]) if about["int8_loss"] else None,
    )
    layout = kernel_layout(about["kernel"], structure.feature_names)
    beside: dict[str, Any] = {}
    if layout.beside is not None:
        whole = Kernel(name="matern-ard", scales=arrays["beside_scales"], parts=layout.beside.parts)
        beside = {"beside": whole, "share": float(about["share"])}
    model = GaussianProcess(
        kernel=Kernel(name=about["kernel"], scales=scales, parts=layout.parts, **beside),
        trend=Trend(**about["trend"]),
        structure_sd=about["structure_sd"],
        offset_sd=about["offset_sd"],
        noise_sd=about["noise_sd"],
        own_sd=about.get("own_sd", 0.0),  # the shipped one was fitted before there was any
        seeds=SeedNoise.from_dict(about["seed_noise"]) if "seed_noise" in about else SeedNoise(),
        features=features,
        log_macs=pool.log_macs,
        targets=pool.log_error,
        recipes=pool.recipe_numbers,
    )
    if not np.isfinite(model.weights).all():
        raise ValueError("its numbers give no finite prediction")
    return model, pool, Validation.from_dict(about["validation"]), about["seed"]
