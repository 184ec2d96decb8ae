"""Trainings: what they come to, that they repeat, and that they go on where they were cut off."""

from dataclasses import replace
from pathlib import Path
from typing import BinaryIO

import pytest
import torch

from chamnet.errors import ConfigError, StoreError
from chamnet.models.torch_module import ChainModule
from chamnet.networks import Architecture, Stage
from chamnet.train import Job, Recipe, load_recipe
from chamnet.train.datasets import load_dataset
from chamnet.train.trainer import load_trained, split, train

pytestmark = pytest.mark.slow
pytest.importorskip("sklearn")

TINY = Architecture(
    resolution=16,
    stem=8,
    stages=(
        Stage(expansion=2, filters=16, blocks=1, stride=2),
        Stage(expansion=2, filters=24, blocks=1, stride=1),
    ),
    head=32,
    classes=10,
)
RECIPE = Recipe.from_dict(
    {
        "name": "tiny",
        "epochs": 3,
        "batch": 32,
        "images": 256,
        "held_out": 200,
        "ema": 0.9,
        "label_smoothing": 0.05,
        "optimiser": {"rate": 0.1},
        "schedule": {"warmup": 0.5},
        "augmentation": {"shift": 1},
    }
)
JOB = Job(architecture=TINY, dataset="digits", recipe=RECIPE, device="cpu")


class CutError(Exception):
    """Stands for whatever ends a training half-way."""


def weights_of(path: Path) -> dict[str, torch.Tensor]:
    return torch.load(path, weights_only=True)["state_dict"]


def test_a_network_learns_digits() -> None:
    outcome = train(replace(JOB, recipe=replace(load_recipe("digits-quick"), epochs=10), on_test=True))
    assert outcome.status == "ok"
    assert outcome.top1 is not None
    assert outcome.test_top1 is not None
    assert min(outcome.top1, outcome.test_top1) > 80  # guessing gives 10
    assert outcome.epochs == 10


def test_the_seed_decides_everything(tmp_path: Path) -> None:
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        train(replace(JOB, seed=seed, weights=tmp_path / name))
    one, same, other = (weights_of(tmp_path / name) for name in "abc")
    assert all(torch.equal(one[key], same[key]) for key in one)
    assert not all(torch.equal(one[key], other[key]) for key in one)


@pytest.mark.parametrize("optimiser", ["sgd", "rmsprop", "adamw"])
def test_a_training_cut_off_goes_on_to_the_same_weights(tmp_path: Path, optimiser: str) -> None:
    recipe = replace(RECIPE, optimiser=replace(RECIPE.optimiser, name=optimiser, rate=0.01))
    job = replace(JOB, recipe=recipe, checkpoint=tmp_path / "state.pt")

    def cut(epoch: int, epochs: int, loss: float) -> None:
        if epoch == 2:
            raise CutError

    with pytest.raises(CutError):
        train(job, progress=cut)
    seen: list[int] = []
    went_on = train(
        replace(job, weights=tmp_path / "went-on"), progress=lambda epoch, epochs, loss: seen.append(epoch)
    )
    assert seen == [3]
    at_once = train(replace(job, checkpoint=None, weights=tmp_path / "at-once"))
    assert went_on == at_once
    one, two = weights_of(tmp_path / "went-on"), weights_of(tmp_path / "at-once")
    assert all(torch.equal(one[key], two[key]) for key in one)


def test_the_checkpoint_of_another_training_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "state.pt"

    def cut(epoch: int, epochs: int, loss: float) -> None:
        raise CutError

    with pytest.raises(CutError):
        train(replace(JOB, checkpoint=path), progress=cut)
    seen: list[int] = []
    train(replace(JOB, seed=5, checkpoint=path), progress=lambda epoch, epochs, loss: seen.append(epoch))
    assert seen == [1, 2, 3]


def test_ctrl_c_in_the_middle_of_a_checkpoint_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(held: object, file: BinaryIO) -> None:
        file.write(b"half")
        raise KeyboardInterrupt

    monkeypatch.setattr(torch, "save", interrupted)
    with pytest.raises(KeyboardInterrupt):
        train(replace(JOB, checkpoint=tmp_path / "state.pt"))
    assert not list(tmp_path.iterdir())


def test_what_is_forgotten_leaves_neither_checkpoint_nor_halves_of_one(tmp_path: Path) -> None:
    job, other = (replace(JOB, seed=seed).kept_in(tmp_path) for seed in (0, 1))
    for name in (f"{job.key}.pt", f"{job.key}.pt.17.part", f"{job.key}.pt.18.part", f"{other.key}.pt"):
        (tmp_path / name).write_bytes(b"state")
    for _ in range(2):
        job.forget()
        assert list(tmp_path.iterdir()) == [other.checkpoint]


def test_a_checkpoint_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    (tmp_path / "folder").write_bytes(b"a file")
    with pytest.raises(StoreError, match=r"folder/state\.pt: cannot be written"):
        train(replace(JOB, checkpoint=tmp_path / "folder" / "state.pt"))


def test_a_checkpoint_that_is_garbage_starts_anew(tmp_path: Path) -> None:
    (tmp_path / "state.pt").write_bytes(b"cut off")
    assert train(replace(JOB, checkpoint=tmp_path / "state.pt")) == train(JOB)


def test_divergence_is_an_outcome() -> None:
    outcome = train(replace(JOB, recipe=replace(RECIPE, optimiser=replace(RECIPE.optimiser, rate=1e12))))
    assert (outcome.status, outcome.top1) == ("diverged", None)


def test_what_was_trained_can_be_read_back(tmp_path: Path) -> None:
    outcome = train(replace(JOB, weights=tmp_path / "net.pt"))
    trained = load_trained(tmp_path / "net.pt")
    assert trained.architecture == TINY
    assert trained.training == {"dataset": "digits", "recipe": RECIPE.id, "seed": 0, "top1": outcome.top1}
    assert isinstance(trained.module, ChainModule)
    _, held = split(load_dataset("digits"), RECIPE)
    right = 0
    with torch.no_grad():
        for images, labels in held.batches(64, 16):
            normalised = (images - trained.mean[:, None, None]) / trained.deviation[:, None, None]
            right += int((trained.module(normalised).argmax(1) == labels).sum())
    assert 100 * right / len(held) == pytest.approx(outcome.top1)


def test_a_file_that_is_no_trained_network_is_refused(tmp_path: Path) -> None:
    (tmp_path / "net.pt").write_bytes(b"nothing")
    with pytest.raises(ConfigError, match=r"net\.pt: no trained network"):
        load_trained(tmp_path / "net.pt")


def test_images_put_aside_are_never_trained_on() -> None:
    dataset = load_dataset("digits")
    learnt, measured = split(dataset, RECIPE)
    assert (len(learnt), len(measured)) == (256, 200)
    every, _ = split(dataset, replace(RECIPE, images=0))
    assert len(every) == len(dataset.train) - 200
    _, same = split(dataset, replace(RECIPE, images=100))
    assert torch.equal(same.pixels, measured.pixels)  # however many are trained on


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"recipe": replace(RECIPE, images=1400)}, "images = 1,400 and held_out = 200, but digits has 1,437"),
        ({"architecture": replace(TINY, classes=1000)}, "digits has 10 classes, the network 1000"),
        ({"device": "cuda"}, "sees no CUDA device"),
        ({"device": "gpu"}, "device 'gpu'; known: auto, cpu, cuda"),
        ({"dataset": "mnist"}, "unknown dataset 'mnist'"),
    ],
)
def test_what_cannot_be_trained_is_said_at_once(changed: dict[str, object], said: str) -> None:
    if changed.get("device") == "cuda" and torch.cuda.is_available():
        pytest.skip("it has a GPU")
    with pytest.raises(ConfigError, match=said):
        train(replace(JOB, **changed))  # type: ignore[arg-type]


def test_a_job_survives_a_round_trip() -> None:
    job = replace(JOB, checkpoint=Path("a"), weights=Path("b"), seed=3)
    assert Job.from_dict(job.to_dict()) == job
    assert job.key != replace(job, seed=4).key
    assert job.key == replace(job, checkpoint=None, device="cuda").key
