import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, cast

import numpy as np
import onnxruntime
import pytest

from chamnet.errors import ConfigError, UnsupportedOpError
from chamnet.models.onnx_writer import identity_model, onnx_model
from chamnet.models.weights import random_weights
from chamnet.networks import find
from chamnet.units import Unit
from chamnet_agent import registry
from chamnet_agent.backends.base import DeviceTimed, Workload
from chamnet_agent.testing import BackendContract

torch = pytest.importorskip("torch")
from torch import Tensor  # noqa: E402
from torch.overrides import TorchFunctionMode  # noqa: E402

from chamnet.models.torch_eager import EagerChain, eager_keys  # noqa: E402
from chamnet_agent.backends.torch import TorchBackend  # noqa: E402
from chamnet_agent.backends.torch_cuda import TorchCudaBackend, TorchCudaModel  # noqa: E402

BLOCK = "conv:f32:1x16x9x9:o48:relu6+conv:f32:1x48x9x9:o48:k3:g48:relu6+conv:f32:1x48x9x9:o16:add+skip"
CHAINS = {
    "inverted residual": [BLOCK],
    "external residual": ["conv:f32:1x48x9x9:o8:add:relu"],
    "external residual inside a chain": ["conv:f32:1x8x9x9:o8", "conv:f32:1x8x9x9:o8:k5:add"],
    "bottleneck with projection": [
        "conv:f32:1x8x9x9:o4:relu+conv:f32:1x4x9x9:o4:k3:s2:relu+conv:f32:1x4x5x5:o16:add:relu"
        "+skip(conv:f32:1x8x9x9:o16:s2)"
    ],
    "network": [
        "conv:f32:1x3x17x17:o16:k3:s2:relu",
        BLOCK,
        "se:f32:1x16x9x9:o16:r4",
        "maxpool:f32:1x16x9x9:o16:k3:s2",
        "gap:f32:1x16x5x5:o16+linear:f32:1x16x1x1:o10:relu",
    ],
}


class InThread:
    """A backend, or a model of one, that works in a thread of its own.

    The backend leaves its thread without subnormal numbers; the tests after these need theirs.
    """

    describe = staticmethod(TorchBackend.describe)

    def __init__(self, inner: Any, thread: ThreadPoolExecutor) -> None:
        self._inner = inner
        self._thread = thread
        self.inputs: tuple[Tensor, ...] = getattr(inner, "inputs", ())

    def prepare(self, workload: Workload, *, seed: int, slot: int) -> "InThread":
        prepare = self._thread.submit(self._inner.prepare, workload, seed=seed, slot=slot)
        return InThread(prepare.result(), self._thread)

    def resolve(self, workload: Workload, *, seed: int) -> tuple[str, ...]:
        keys: tuple[str, ...] = self._thread.submit(self._inner.resolve, workload, seed=seed).result()
        return keys

    def run(self) -> Tensor:
        return cast(Tensor, self._thread.submit(self._inner.run).result())


def in_thread(make: Callable[..., TorchBackend]) -> Iterator[InThread]:
    threads = torch.get_num_threads()
    with ThreadPoolExecutor(1) as thread:
        yield InThread(thread.submit(make, threads=1).result(), thread)
    torch.set_num_threads(threads)


@pytest.fixture
def runtime() -> Iterator[InThread]:
    yield from in_thread(TorchBackend)


class TestTorchBackend(BackendContract):
    @pytest.fixture
    def backend(self, runtime: InThread) -> Any:
        return runtime


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
class TestTorchCudaBackend(BackendContract):
    @pytest.fixture
    def backend(self) -> Iterator[InThread]:
        yield from in_thread(TorchCudaBackend)


@pytest.fixture(params=CHAINS.values(), ids=list(CHAINS))
def blocks(request: pytest.FixtureRequest) -> tuple[Unit, ...]:
    return tuple(map(Unit.parse, request.param))


def test_it_computes_what_onnx_runtime_does(runtime: InThread, blocks: tuple[Unit, ...]) -> None:
    model = runtime.prepare(Workload(blocks=blocks), seed=3, slot=0)
    session = onnxruntime.InferenceSession(
        onnx_model(blocks, random_weights(blocks, seed=3)), providers=["CPUExecutionProvider"]
    )
    feeds = {
        name: np.ascontiguousarray(each.numpy())
        for name, each in zip(("input", "residual"), model.inputs, strict=False)
    }
    (expected,) = session.run(None, feeds)
    found = model.run().numpy()
    assert found.shape == expected.shape
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-4 * np.abs(expected).max())


def test_running_leaves_the_inputs_alone(runtime: InThread, blocks: tuple[Unit, ...]) -> None:
    model = runtime.prepare(Workload(blocks=blocks), seed=0, slot=0)
    before = [each.clone() for each in model.inputs]
    assert torch.equal(model.run(), model.run())
    assert all(map(torch.equal, before, model.inputs))


def test_maps_have_their_channels_last(runtime: InThread) -> None:
    model = runtime.prepare(Workload(blocks=(Unit.parse(BLOCK),)), seed=0, slot=0)
    assert model.inputs[0].is_contiguous(memory_format=torch.channels_last)
    assert model.run().is_contiguous(memory_format=torch.channels_last)


def test_keys_name_what_torch_calls(blocks: tuple[Unit, ...]) -> None:
    calls: Counter[str] = Counter()

    class Count(TorchFunctionMode):
        def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            calls[func.__name__.strip("_")] += 1
            return func(*args, **(kwargs or {}))

    chain = EagerChain(blocks, random_weights(blocks, seed=0))
    shapes = [blocks[0].in_shape, *(unit.out_shape for unit in blocks if unit.takes_residual)]
    inputs = [torch.zeros(shape) for shape in shapes]
    with Count():
        chain(*inputs)
    del calls["flatten"]  # a view
    assert calls == Counter(key.removeprefix("torch:").partition("[")[0] for key in eager_keys(blocks))


def test_keys_tell_sizes_windows_and_groups() -> None:
    assert eager_keys(list(map(Unit.parse, CHAINS["network"]))) == (
        "torch:conv2d[1x3x17x17->16,3x3s2]",
        "torch:relu[1x16x9x9]",
        "torch:conv2d[1x16x9x9->48,1x1]",
        "torch:relu6[1x48x9x9]",
        "torch:conv2d[1x48x9x9->48,3x3,g48]",
        "torch:relu6[1x48x9x9]",
        "torch:conv2d[1x48x9x9->16,1x1]",
        "torch:add[1x16x9x9]",
        "torch:mean[1x16x9x9]",
        "torch:conv2d[1x16x1x1->4,1x1]",
        "torch:relu[1x4x1x1]",
        "torch:conv2d[1x4x1x1->16,1x1]",
        "torch:sigmoid[1x16x1x1]",
        "torch:mul[1x16x9x9]",
        "torch:max_pool2d[1x16x9x9,3x3s2]",
        "torch:mean[1x16x5x5]",
        "torch:linear[1x16->10]",
        "torch:relu[1x10x1x1]",
    )


@pytest.mark.parametrize("name", ["chamnet-c", "resnet-50"])
def test_a_network_executes_what_its_units_do(runtime: InThread, name: str) -> None:
    blocks = find(name).build().blocks
    parts = [single for unit in blocks for single in unit.split()]
    units = Counter(key for part in parts for key in runtime.resolve(Workload(blocks=(part,)), seed=0))
    assert Counter(runtime.resolve(Workload(blocks=tuple(blocks)), seed=0)) == units


def test_models_share_their_input(runtime: InThread) -> None:
    one, two = (
        runtime.prepare(Workload(blocks=(Unit.parse(key),)), seed=0, slot=0)
        for key in (BLOCK, "conv:f32:1x3x17x17:o16:k3")
    )
    assert one.inputs[0].data_ptr() == two.inputs[0].data_ptr()


@pytest.mark.parametrize(
    ("workload", "says"),
    [
        (Workload(model=identity_model((1, 4, 2, 2))), "takes no model files; use the backend onnxruntime"),
        (Workload(blocks=(Unit.parse("conv:int8:1x8x6x6:o8"),)), "use another backend for int8"),
        (Workload(blocks=(Unit.parse("linear:f32:1x8x3x3:o8"),)), "put gap before it"),
        (
            Workload(blocks=(Unit.parse("conv:f32:1x8x10000000x10000000:o8:g8"),)),
            r"torch \d.*cannot run this: .*memory",
        ),
    ],
)
def test_what_cannot_run_is_refused(runtime: InThread, workload: Workload, says: str) -> None:
    with pytest.raises(UnsupportedOpError, match=says):
        runtime.prepare(workload, seed=0, slot=0)


def test_missing_weights_are_named() -> None:
    with pytest.raises(ValueError, match=r"'block0\.op0\.weight' is missing"):
        EagerChain([Unit.parse(BLOCK)], {})


def test_describing_loads_no_torch() -> None:
    code = (
        "import sys; from chamnet_agent import registry; registry.backends(); "
        "assert not {'torch', 'numpy'} & sys.modules.keys()"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_a_description_names_the_version() -> None:
    assert TorchBackend.describe().version == torch.__version__


def test_without_torch_it_says_what_to_install() -> None:
    code = (
        "import sys; sys.modules['torch'] = None; from chamnet_agent import registry; "
        "print(registry.why_not('torch'), registry.why_not('torch-cuda'))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.count("not installed; pip install 'chamnet[torch]'") == 2


def test_without_a_gpu_the_reason_is_given(tmp_path: Path) -> None:
    described = TorchCudaBackend.describe(tmp_path)
    assert (described.provider, described.why_not) == ("CUDA", "no NVIDIA device here")


def test_a_gpu_is_named(tmp_path: Path) -> None:
    gpu = tmp_path / "proc/driver/nvidia/gpus/0000:01:00.0"
    gpu.mkdir(parents=True)
    (gpu / "information").write_text("Model: \t\t NVIDIA H100 80GB HBM3\nIRQ:   \t 52\n")
    (tmp_path / "dev").mkdir()
    (tmp_path / "dev/nvidia0").touch()
    described = TorchCudaBackend.describe(tmp_path)
    assert described.provider == "CUDA (NVIDIA H100 80GB HBM3)"
    assert (described.why_not is None) == (torch.version.cuda is not None)


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device")
def test_without_cuda_it_does_not_start() -> None:
    with pytest.raises(ConfigError, match="not usable here"):
        registry.load_backend("torch-cuda")
    with pytest.raises(ConfigError, match="sees no CUDA device"):
        next(in_thread(TorchCudaBackend))


def test_device_time_is_taken_around_the_work() -> None:
    log: list[str] = []

    class Event:
        def __init__(self, name: str) -> None:
            self.name = name

        def record(self) -> None:
            log.append(f"record {self.name}")

        def synchronize(self) -> None:
            log.append(f"wait for {self.name}")

        def elapsed_time(self, other: "Event") -> float:
            return 1.5 if (self.name, other.name) == ("start", "end") else -1.0

    def chain(value: Tensor) -> Tensor:
        log.append("work")
        return value

    model = TorchCudaModel(
        cast(Any, chain), (torch.zeros(1),), cast(Any, Event("start")), cast(Any, Event("end"))
    )
    assert isinstance(model, DeviceTimed)
    model.run()
    assert log == ["record start", "work", "record end", "wait for end"]
    assert model.device_ns() == 1_500_000
