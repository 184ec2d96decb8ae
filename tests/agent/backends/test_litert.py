import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from chamnet import networks
from chamnet.errors import ConfigError, UnsupportedOpError
from chamnet.models.tflite_writer import tflite_identity_model, tflite_model
from chamnet.models.weights import random_weights
from chamnet.ops import DType
from chamnet.units import Unit
from chamnet_agent.backends.base import Backend, Workload
from chamnet_agent.backends.litert import LiteRtBackend
from chamnet_agent.testing import BackendContract

pytest.importorskip("ai_edge_litert")

BLOCK = Unit.parse("conv:f32:1x16x8x8:o16:k3:g16:relu6+conv:f32:1x16x8x8:o16:add+skip")


@pytest.fixture
def backend() -> LiteRtBackend:
    return LiteRtBackend(threads=1)


class TestLiteRtBackend(BackendContract):
    @pytest.fixture
    def backend(self) -> Backend:
        return LiteRtBackend(threads=2)


@pytest.mark.parametrize("dtype", ["f32", "int8"])
def test_a_run_computes(backend: LiteRtBackend, dtype: DType) -> None:
    interpreter = backend.prepare(Workload(blocks=(BLOCK.cast(dtype),)), seed=3, slot=0).interpreter
    (given,), (output,) = interpreter.get_input_details(), interpreter.get_output_details()
    assert interpreter.get_tensor(given["index"]).std() > 0
    assert interpreter.get_tensor(output["index"]).std() > 0


def test_the_short_way_runs_the_model(backend: LiteRtBackend) -> None:
    prepared = backend.prepare(Workload(blocks=(BLOCK,)), seed=0, slot=0)
    given, output = (
        details[0]["index"]
        for details in (prepared.interpreter.get_input_details(), prepared.interpreter.get_output_details())
    )
    before = prepared.interpreter.get_tensor(output)
    prepared.interpreter.set_tensor(given, -prepared.interpreter.get_tensor(given))
    prepared.run()
    assert not np.array_equal(prepared.interpreter.get_tensor(output), before)


def test_a_model_file_runs_and_resolves(backend: LiteRtBackend) -> None:
    model = Workload(model=tflite_identity_model((1, 4, 2, 2)))
    backend.prepare(model, seed=0, slot=0).run()
    assert backend.resolve(model, seed=0) == ("tflite:RESHAPE[1x4x2x2]",)


@pytest.mark.parametrize("data", [b"no model", b"\0\0\0\0TFL3", bytes(4) + b"TFL3" + bytes(100)])
def test_what_is_no_model_is_refused(backend: LiteRtBackend, data: bytes) -> None:
    with pytest.raises(UnsupportedOpError, match="cannot run this"):
        backend.prepare(Workload(model=data), seed=0, slot=0)
    with pytest.raises(UnsupportedOpError, match="cannot run this"):
        backend.resolve(Workload(model=data), seed=0)


def test_a_damaged_model_is_refused(backend: LiteRtBackend) -> None:
    data = tflite_model([BLOCK], random_weights([BLOCK], seed=0))
    with pytest.raises(UnsupportedOpError, match=r"backend litert \d.*cannot run this"):
        backend.prepare(Workload(model=data[: len(data) // 2]), seed=0, slot=0)


@pytest.mark.parametrize("dtype", ["f32", "int8"])
def test_a_network_executes_what_its_operators_do(backend: LiteRtBackend, dtype: DType) -> None:
    blocks = tuple(block.cast(dtype) for block in networks.find("chamnet-a").build().blocks)
    whole = Counter(backend.resolve(Workload(blocks=blocks), seed=0))
    units = [single for block in blocks for single in block.split()]
    assert whole == Counter(
        key for unit in units for key in backend.resolve(Workload(blocks=(unit,)), seed=0)
    )
    assert not [key for key in whole if key.endswith("!builtin")]
    assert sum(whole.values()) > 50


def test_what_xnnpack_leaves_is_marked(backend: LiteRtBackend) -> None:
    """Its operators before and behind are not."""
    keys = ["conv:f32:1x3x16x16:o8:relu", "maxpool:f32:1x8x16x16:o8:k3:s2", "conv:f32:1x8x8x8:o8"]
    executed = backend.resolve(Workload(blocks=tuple(map(Unit.parse, keys))), seed=0)
    assert [key.partition("[")[0] + key.partition("]")[2] for key in executed] == [
        "tflite:CONV_2D",
        "tflite:PADV2!builtin",
        "tflite:MAX_POOL_2D",
        "tflite:CONV_2D",
    ]


def test_squeeze_excite_in_int8_is_refused(backend: LiteRtBackend) -> None:
    with pytest.raises(UnsupportedOpError, match="squeeze-excite"):
        backend.prepare(Workload(blocks=(Unit.parse("se:int8:1x8x9x9:o8:r2"),)), seed=0, slot=0)


class Broken(LiteRtBackend):
    """One whose runtime imports, and fails when it is used."""

    def _interpreter(self, data: bytes) -> Any:
        raise SystemError("_ARRAY_API not found")


def test_a_broken_runtime_shows_at_once() -> None:
    with pytest.raises(ConfigError, match=r"does not work here: _ARRAY_API not found; try pip install"):
        Broken(threads=1)


def test_describing_loads_no_runtime() -> None:
    code = (
        "import sys; from chamnet_agent import registry; registry.backends(); "
        "assert not {'ai_edge_litert', 'tflite_runtime', 'numpy'} & sys.modules.keys()"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize(("other", "version"), [(True, "tflite-runtime 2.14.0"), (False, "")])
def test_its_predecessor_is_found_where_it_is_not_installed(
    tmp_path: Path, other: bool, version: str
) -> None:
    if other:
        (tmp_path / "tflite_runtime").mkdir()
        (tmp_path / "tflite_runtime" / "__init__.py").write_text("__version__ = '2.14.0'\n", encoding="utf-8")
    code = (
        f"import sys; sys.path.insert(0, {str(tmp_path)!r}); sys.modules['ai_edge_litert'] = None\n"
        "from chamnet_agent.backends.litert import LiteRtBackend\n"
        "described = LiteRtBackend.describe()\n"
        f"assert described.version == {version!r}, described\n"
        f"assert (described.why_not is None) == {other}, described\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
