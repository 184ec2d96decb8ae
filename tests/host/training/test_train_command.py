"""`train` and `export --weights` on the digits, through the command line's own entry."""

import contextlib
import io
import json
import subprocess
import sys
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from chamnet.errors import ChamNetError, ConfigError
from chamnet.lut import Store
from chamnet.models import onnx_model, random_weights
from chamnet.networks import find
from chamnet.predictors.trainings import Training, TrainingLog
from chamnet.space import load_space
from chamnet.train.datasets import load_dataset
from chamnet.train.trainer import load_trained
from chamnet_host.app import run
from chamnet_host.training.export_check import check_classes, check_export

pytestmark = pytest.mark.slow
SPACE = load_space("chamnet-mobile-28")
SMALLEST = "-".join(str(axis.values[0]) for axis in SPACE.decisions)
RECIPE = """
epochs = 5
batch = 32
images = 500
held_out = 200
ema = 0.9
optimiser = { rate = 0.2 }
schedule = { warmup = 0.5 }
"""


@dataclass(frozen=True)
class Done:
    code: int
    out: str
    err: str

    @property
    def body(self) -> Any:
        assert self.code == 0, self.err
        return json.loads(self.out)


def call(*arguments: object, cwd: Path) -> Done:
    out, err = io.StringIO(), io.StringIO()
    with contextlib.chdir(cwd), contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code = run([str(each) for each in arguments])
    return Done(code, out.getvalue(), err.getvalue())


def write_recipe(folder: Path, text: str = RECIPE) -> Path:
    path = folder / "tiny.toml"
    path.write_text(text)
    return path


def arguments(folder: Path, network: str = SMALLEST, **recipe: str) -> tuple[object, ...]:
    path = write_recipe(folder, **recipe)
    return ("train", network, "--space", "chamnet-mobile-28", "--dataset", "digits", "--recipe", path)


def stored(folder: Path) -> list[Training]:
    with Store.open(folder / "chamnet.db") as store:
        return TrainingLog(store).read()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("trained")


@pytest.fixture(scope="module")
def trained(folder: Path) -> Any:
    """What the command prints; its file lies in `folder`."""
    return call(*arguments(folder), "--test", "--json", cwd=folder).body


def test_the_outcome_is_stored_and_the_weights_are_written(folder: Path, trained: Any) -> None:
    assert trained["top1"] > 50
    assert trained["file"] == f"{SMALLEST}.pt"
    (training,) = stored(folder)
    assert (training.name, training.dataset, training.top1) == (SMALLEST, "digits", trained["top1"])
    assert (training.recipe, training.seed, training.source) == (trained["recipe"], 0, "train")
    held = load_trained(folder / trained["file"])
    assert held.architecture == training.architecture == replace(held.architecture, batch=1, dtype="f32")
    assert held.training == {
        "dataset": "digits",
        "recipe": training.recipe,
        "seed": 0,
        "top1": trained["top1"],
    }
    assert not list((folder / "chamnet.db.trainings").iterdir())


@pytest.mark.parametrize("form", ["onnx", "tflite", "torch"])
def test_exported_weights_answer_as_the_trained_network(folder: Path, trained: Any, form: str) -> None:
    file = f"best.{form}"
    options = ("--weights", trained["file"], "-f", form, "-o", file, "--check", "digits", "--json")
    body = call("export", *options, cwd=folder).body
    check = body["check"]
    assert (check["images"], check["differing"]) == (360, 0)
    assert check["top1"] == check["torch_top1"] == pytest.approx(trained["test_top1"])
    assert (folder / file).stat().st_size == body["bytes"]
    assert body["training"]["top1"] == trained["top1"]
    if form == "torch":
        assert load_trained(folder / file).training == body["training"]
        return
    facts = json.loads((folder / body["facts"]).read_text())
    assert body["facts"] == f"{file}.json"
    assert facts["input"]["shape"] == {"onnx": [1, 3, 20, 20], "tflite": [1, 20, 20, 3]}[form]
    mean, deviation = load_dataset("digits").train.statistics()
    np.testing.assert_allclose(facts["input"]["mean"], mean, atol=0.01)  # of the 500 images of the recipe
    np.testing.assert_allclose(facts["input"]["deviation"], deviation, atol=0.01)


def test_a_network_named_beside_its_weights_names_the_export(folder: Path, trained: Any) -> None:
    options = ("--weights", trained["file"], "-o", "named.onnx")
    done = call("export", SMALLEST, "--space", "chamnet-mobile-28", *options, cwd=folder)
    assert (done.code, done.out.startswith(f"named.onnx: {SMALLEST}, onnx, ")) == (0, True)
    assert "minus 0.3" in done.out


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("chamnet-f", "--weights", "{file}", "-o", "x.onnx"), "weights of another network than chamnet-f"),
        (("--weights", "{file}", "-o", "x.onnx", "--check", "mnist"), "unknown dataset 'mnist'; known: "),
        (("--weights", "tiny.toml", "-o", "x.onnx"), "tiny.toml: no trained network"),
        (("--weights", "none.pt", "-o", "x.onnx"), "none.pt: no trained network"),
        (("chamnet-f", "-o", "x.onnx", "--check", "digits"), "--check goes with --weights"),
        (("-o", "x.onnx"), "which network?"),
    ],
)
def test_mistakes_of_an_export_are_clear(
    folder: Path, trained: Any, words: tuple[str, ...], message: str
) -> None:
    done = call("export", *(word.format(**trained) for word in words), cwd=folder)
    assert (done.code, message in done.err) == (2, True), done.err
    assert not (folder / "x.onnx").exists()


def test_a_file_with_other_weights_fails_the_check(folder: Path, trained: Any, tmp_path: Path) -> None:
    held = load_trained(folder / trained["file"])
    blocks = held.architecture.build().blocks
    wrong = tmp_path / "wrong.onnx"
    wrong.write_bytes(onnx_model(blocks, random_weights(blocks, seed=0)))
    with pytest.raises(
        ChamNetError, match=r"wrong.onnx: does not answer as the trained network: .* another class"
    ):
        check_export(wrong, "onnx", trained=held, dataset=load_dataset("digits"))


def test_a_check_wants_a_dataset_of_the_same_classes(folder: Path, trained: Any) -> None:
    held = load_trained(folder / trained["file"])
    with pytest.raises(ConfigError, match="has 7 classes, the network 10; it was trained on digits"):
        check_classes(held, replace(load_dataset("digits"), classes=7))


CUT_OFF = """
import os, runpy, signal, sys
from chamnet.train import trainer

class Interrupted(trainer._Run):
    def save(self):
        super().save()
        os.kill(os.getpid(), signal.SIGINT)

signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background jobs ignore it
trainer._Run = Interrupted
runpy.run_module("chamnet_host", run_name="__main__")
"""


def test_a_training_that_is_cut_off_goes_on_to_the_same_weights(
    folder: Path, trained: Any, tmp_path: Path
) -> None:
    # Ctrl-C comes with the first checkpoint: from outside it might come when the last epoch is over.
    command = [sys.executable, "-c", CUT_OFF, *map(str, arguments(tmp_path))]
    with (tmp_path / "said").open("w") as said:
        first = subprocess.run(command, cwd=tmp_path, stderr=said, timeout=200, check=False)
    assert first.returncode == 1
    assert len(list(tmp_path.glob("chamnet.db.trainings/*.pt"))) == 1
    assert "stopped; the same command goes on" in (tmp_path / "said").read_text()
    assert not list(tmp_path.glob("*.pt"))
    done = call(*arguments(tmp_path), cwd=tmp_path)
    assert (done.code, "going on after its last epoch" in done.err) == (0, True)
    once, twice = load_trained(folder / trained["file"]), load_trained(tmp_path / trained["file"])
    for name, value in once.module.state_dict().items():
        assert torch.equal(value, twice.module.state_dict()[name]), name
    assert not list((tmp_path / "chamnet.db.trainings").iterdir())


def test_a_training_that_is_stored_is_done_again_for_its_weights(
    folder: Path, trained: Any, tmp_path: Path
) -> None:
    (training,) = stored(folder)
    with Store.open(tmp_path / "chamnet.db") as store:
        TrainingLog(store).append([replace(training, top1=12.5, source="accuracy build")])
    done = call(*arguments(tmp_path), "-o", "again.pt", "--json", cwd=tmp_path)
    assert (done.body["top1"], done.body["stored_top1"]) == (trained["top1"], 12.5)
    assert "the store has 12.50 % for this training (from accuracy build), and keeps it" in done.err
    assert [each.top1 for each in stored(tmp_path)] == [12.5]
    assert (tmp_path / "again.pt").exists()


def test_a_diverged_training_is_stored_and_says_what_to_lower(tmp_path: Path) -> None:
    done = call(*arguments(tmp_path, text=RECIPE.replace("rate = 0.2", "rate = 1e30")), cwd=tmp_path)
    assert (done.code, "lower optimiser.rate (now 1e+30)" in done.err) == (1, True)
    assert [each.status for each in stored(tmp_path)] == ["diverged"]
    assert not list(tmp_path.glob("*.pt"))


def test_a_published_network_gets_the_classes_of_the_dataset(tmp_path: Path) -> None:
    short = RECIPE.replace("epochs = 5", "epochs = 1").replace("500", "32").replace("200", "32")
    name = min((find(f"chamnet-{letter}") for letter in "abcdef"), key=lambda each: each.build().macs).name
    done = call(*arguments(tmp_path, name, text=short), cwd=tmp_path)
    assert (done.code, "10 classes of digits, not its 1000" in done.err) == (0, True)
    assert load_trained(tmp_path / f"{name}.pt").architecture.classes == 10
    exported = call("export", name, "--weights", f"{name}.pt", "-o", "x.onnx", cwd=tmp_path)
    assert exported.code == 0, exported.err


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--dataset", "mnist"), "unknown dataset 'mnist'; known: fashion-mnist"),
        (("--recipe", "slow"), "unknown recipe 'slow'; known: digits-quick, fashion-quick"),
        (("--space", "chamnet-mobile"), "has 21 numbers, not 16"),
        (("-o", "."), "is a folder; give a file"),
        (("--device", "gpu"), "device 'gpu'; known: auto, cpu, cuda"),
        pytest.param(
            ("--device", "cuda"),
            "sees no CUDA device",
            marks=pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU"),
        ),
    ],
)
def test_mistakes_of_a_training_are_clear(tmp_path: Path, options: tuple[str, ...], message: str) -> None:
    done = call(*arguments(tmp_path), *options, cwd=tmp_path)
    assert (done.code, message in done.err) == (2, True), done.err


def test_a_genome_of_a_space_with_other_classes_is_refused(tmp_path: Path) -> None:
    mobile = load_space("chamnet-mobile")
    genome = "-".join(str(axis.values[0]) for axis in mobile.decisions)
    done = call(*arguments(tmp_path, genome), "--space", "chamnet-mobile", cwd=tmp_path)
    assert (done.code, "write `classes = 10` in it" in done.err) == (2, True), done.err
