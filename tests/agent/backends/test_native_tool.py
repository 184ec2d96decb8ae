"""The backend `native-tool`, on a tool that behaves like benchmark_model.

CHAMNET_BENCHMARK_MODEL gives the path of a real one for this machine; it has to pass the same contract, on XNNPACK.
"""

import os
import shlex
import signal
import tempfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from chamnet.errors import ConfigError, FallbackError, UnsupportedOpError
from chamnet.models.tflite_schema import pack, unpack
from chamnet.models.tflite_writer import tflite_identity_model
from chamnet.records import Component
from chamnet.units import Unit
from chamnet.wire import benchmark_subset_pb2 as pb
from chamnet_agent import registry
from chamnet_agent.backends.base import Backend, RunsApart, Workload
from chamnet_agent.backends.benchmark_tool import ToolEndedError
from chamnet_agent.settings import BackendSettings
from chamnet_agent.testing import BackendContract

REAL = "CHAMNET_BENCHMARK_MODEL"
CONV = Unit.parse("conv:f32:1x16x14x14:o16:k3:relu")
ADDING = Unit.parse("conv:f32:1x16x8x8:o16:add")
POOL = Unit.parse("gap:f32:1x16x14x14:o16")

Make = Callable[..., Backend]


@pytest.fixture
def make(fake_tool: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Make:
    """Return a function that makes the backend, with arguments for the tool."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))

    def made(*args: str, tool: Path = fake_tool) -> Backend:
        settings = BackendSettings(native_tool=tool, native_tool_args=args or ("--use_fake=true",))
        return registry.load_backend("native-tool", settings)(threads=1)

    return made


def described(tool: Path | None, *args: str) -> Component:
    settings = BackendSettings(native_tool=tool, native_tool_args=args)
    return next(each for each in registry.backends(settings) if each.name == "native-tool")


def prepare(backend: Backend, *units: Unit) -> RunsApart:
    prepared = backend.prepare(Workload(blocks=units or (CONV,)), seed=0, slot=0)
    assert isinstance(prepared, RunsApart)
    return prepared


class TestNativeTool(BackendContract):
    @pytest.fixture
    def backend(self, make: Make) -> Backend:
        return make()


@pytest.mark.skipif(
    REAL not in os.environ, reason=f"no real benchmark_model is at hand: {REAL} gives its path"
)
class TestRealTool(BackendContract):
    @pytest.fixture
    def backend(self) -> Backend:
        tool = Path(os.environ[REAL]).resolve()
        settings = BackendSettings(native_tool=tool, native_tool_args=("--use_xnnpack=true",))
        return registry.load_backend("native-tool", settings)(threads=1)

    def test_its_times_are_those_of_calls(self, backend: Backend) -> None:
        large = Unit.parse("conv:f32:1x64x56x56:o64:k3")
        small_ns, large_ns = (prepare(backend, unit).device_ns() for unit in (CONV, large))
        assert 0 < small_ns < large_ns < 10**9

    def test_what_it_leaves_is_a_fallback(self) -> None:
        tool = Path(os.environ[REAL]).resolve()
        settings = BackendSettings(native_tool=tool, native_tool_args=("--max_delegated_partitions=1",))
        backend = registry.load_backend("native-tool", settings)(threads=1)  # a flag, but no delegate
        with pytest.raises(FallbackError):
            prepare(backend)


def test_each_run_of_the_tool_is_a_sample(make: Make) -> None:
    prepared = prepare(make("--use_fake=true", "--fake_mean_us=12.5,14,13.25"))
    means_ns = []
    for _ in range(3):
        prepared.run()
        means_ns.append(prepared.device_ns())
    assert means_ns == [12_500, 14_000, 13_250]  # the first call is the run that preparing took


def test_what_it_executes_names_the_delegate(make: Make) -> None:
    units = (CONV, POOL)
    assert make().resolve(Workload(blocks=units), seed=0) == tuple(
        f"FakeDelegate:{unit.key}" for unit in units
    )


@pytest.mark.parametrize(
    ("flags", "left"),
    [
        (["--fake_refuses=ADD"], "ADD of this is left to the CPU"),
        (["--fake_refuses=ADD,CONV_2D"], "CONV_2D, ADD of this are left to the CPU"),
        (["--fake_refuses=ADD", "--fake_spares=true"], "what XNNPACK takes of this is left to the CPU"),
        (["--fake_refuses=ADD,CONV_2D", "--fake_spares=true"], "what XNNPACK takes of this is left"),
        (["--fake_absent=true"], "what XNNPACK takes of this is left"),
    ],
)
def test_what_the_delegate_leaves_is_a_fallback(make: Make, flags: list[str], left: str) -> None:
    backend = make("--use_fake=true", *flags)
    workload = Workload(blocks=(ADDING,))
    for ask in (
        lambda: backend.prepare(workload, seed=0, slot=0),
        lambda: backend.resolve(workload, seed=0),
    ):
        with pytest.raises(FallbackError, match=f"with --use_fake=true .*{left}"):
            ask()


def test_pieces_of_a_delegate_are_a_fallback_too(make: Make) -> None:
    with pytest.raises(FallbackError, match="takes this in 2 pieces, between which the CPU copies"):
        prepare(make("--use_fake=true", "--fake_splits=true"), CONV, CONV)


def test_no_delegate_at_all_is_a_fallback(make: Make) -> None:
    with pytest.raises(FallbackError, match="what XNNPACK takes of this is left to the CPU"):
        prepare(make("--use_nothing=true"))


def test_the_cpu_is_measured_where_it_is_asked_for(make: Make) -> None:
    backend = make("--use_xnnpack=true")
    assert backend.resolve(Workload(blocks=(CONV,)), seed=0) == (f"TfLiteXNNPackDelegate:{CONV.key}",)


def test_what_the_tool_refuses_is_unsupported_in_its_words(make: Make) -> None:
    backend = make("--use_fake=true", "--fake_exit=3", "--fake_only=CONV_2D")
    with pytest.raises(
        UnsupportedOpError, match=r"the tool ended with 3; its last lines:\n(.*\n)*ERROR: Failed to apply"
    ):
        prepare(backend)
    prepare(backend, POOL)  # the others go on


def test_a_tool_that_a_signal_ends_is_a_crash(make: Make) -> None:
    backend = make("--use_fake=true", f"--fake_signal={signal.SIGSEGV.value}", "--fake_only=CONV_2D")
    with pytest.raises(ToolEndedError, match="was ended by SIGSEGV"):
        prepare(backend)


def test_a_tool_that_fails_later_is_a_crash(make: Make, fake_tool: Path, tmp_path: Path) -> None:
    copy = tmp_path / "benchmark_model"
    copy.write_bytes(fake_tool.read_bytes())
    copy.chmod(0o755)
    prepared = prepare(make(tool=copy))
    prepared.run()
    copy.write_text("#!/bin/sh\necho the GPU is gone >&2; exit 1\n", encoding="utf-8")
    with pytest.raises(ToolEndedError, match="ran this before, and now ends:\nthe GPU is gone"):
        prepared.run()


@pytest.mark.parametrize(
    ("flags", "says"),
    [
        (["--fake_exit=3"], "does not work here: .* ended with 3 on an empty model; its last lines"),
        (["--fake_signal=6"], "does not work here: .* was ended by SIGABRT"),
        (["--fake_incompatible=true"], "does not work here: .* was ended by SIGABRT"),
        (["--fake_writes=nothing"], "expected a message BenchmarkResult .*, found no file; its output begins 'INFO: this"),
        (["--fake_writes=text"], "expected a message BenchmarkResult .*, found a file that begins 'avg=1 us'"),
        (["--fake_writes=empty"], "expected a message BenchmarkResult .*, found a file that begins ''"),
    ],
)  # fmt: skip
def test_a_tool_that_does_not_work_says_so_before_anything_is_measured(
    make: Make, flags: list[str], says: str
) -> None:
    with pytest.raises(ConfigError, match=says):
        make("--use_fake=true", *flags)


def test_its_environment_is_given_before_its_flags(make: Make) -> None:
    needs = ("--use_fake=true", "--fake_needs=FAKE_LIBRARY_PATH")
    with pytest.raises(ConfigError, match="CANNOT LINK EXECUTABLE: set FAKE_LIBRARY_PATH"):
        make(*needs)
    prepare(make("FAKE_LIBRARY_PATH=/vendor/lib64", *needs))


def test_another_builds_version_is_another(fake_tool: Path, tmp_path: Path) -> None:
    other = tmp_path / "benchmark_model"
    other.write_bytes(fake_tool.read_bytes() + b"#")
    other.chmod(0o755)
    gpu = "--use_gpu=true"
    assert described(fake_tool, gpu) == described(fake_tool, gpu)
    assert described(fake_tool, gpu).version != described(other, gpu).version
    assert described(fake_tool, gpu).provider != described(fake_tool, gpu, "--gpu_backend=cl").provider


def test_why_it_cannot_be_used(fake_tool: Path, tmp_path: Path) -> None:
    plain = tmp_path / "plain"
    plain.write_text("no program", encoding="utf-8")
    for tool, args, reason in (
        (None, (), "no tool is given; put benchmark_model .* --native-tool PATH .*native_tool_args in a device profile"),
        (tmp_path / "none", (), "none: No such file or directory; put it there, on the device itself"),
        (tmp_path, (), "Is a directory"),
        (plain, ("--use_gpu=true",), "plain is not executable; chmod"),
        (fake_tool, (), "given no delegate: name one, such as --use_gpu=true"),
        (fake_tool, ("ADSP_LIBRARY_PATH=/x",), "given no delegate"),
        (fake_tool, ("--use_gpu",), "'--use_gpu': write it as --name=value"),
        (fake_tool, ("--num_threads=4",), "--num_threads: it is the agent's to give"),
    ):  # fmt: skip
        found = described(tool, *args).why_not
        assert found
        with pytest.raises(ConfigError, match=reason):
            registry.load_backend("native-tool", BackendSettings(native_tool=tool, native_tool_args=args))


def test_a_program_for_another_machine_is_explained(make: Make, tmp_path: Path) -> None:
    strange = tmp_path / "strange"
    strange.write_bytes(b"\x7fELF\x02\x01\x01" + bytes(100))
    strange.chmod(0o755)
    with pytest.raises(
        ConfigError, match=r"cannot be started: Exec format error; .*built for this processor"
    ):
        make(tool=strange)


def test_a_model_without_fixed_shapes_is_refused(make: Make) -> None:
    data = tflite_identity_model((1, 4, 2, 2))
    model = unpack(data)
    graph = model.subgraphs[0]
    tensors = tuple(replace(each, shape_signature=(-1, 4, 2, 2)) for each in graph.tensors)
    open_ended = pack(replace(model, subgraphs=(replace(graph, tensors=tensors),)))
    backend = make()
    backend.prepare(Workload(model=data), seed=0, slot=0)
    with pytest.raises(UnsupportedOpError, match=r"shape \(-1, 4, 2, 2\) is not fixed"):
        backend.prepare(Workload(model=open_ended), seed=0, slot=0)
    with pytest.raises(UnsupportedOpError, match="the model file is broken"):
        backend.prepare(Workload(model=data[:40]), seed=0, slot=0)


def test_nothing_is_left_of_what_was_dropped(make: Make, tmp_path: Path) -> None:
    backend = make("--use_fake=true", "--fake_refuses=ADD")
    prepared = prepare(backend)
    prepared.run()
    assert len(list(tmp_path.glob("chamnet-tool-*"))) == 1
    with pytest.raises(FallbackError):
        prepare(backend, ADDING)
    backend.resolve(Workload(blocks=(CONV,)), seed=0)
    del prepared
    assert not list(tmp_path.glob("chamnet-tool-*"))


def test_what_a_process_left_that_was_shot_is_removed(make: Make, tmp_path: Path) -> None:
    gone, ours = tmp_path / "chamnet-tool-4194305-x", tmp_path / f"chamnet-tool-{os.getppid()}-x"
    for folder in (gone, ours):
        folder.mkdir()
        (folder / "model.tflite").touch()
    make()
    assert not gone.exists()
    assert ours.exists()


def test_the_messages_are_those_of_the_runtimes_own_tools() -> None:
    """LiteRT ships the second of them; ours reads the same bytes."""
    theirs = pytest.importorskip("ai_edge_litert.model_runtime_info_pb2")
    details = theirs.ModelRuntimeDetails(model_name="a model")
    graph = details.subgraphs.add(subgraph_id=0, execution_plan=[1])
    graph.nodes.add(id=0, name="CONV_2D", delegated_to_node_id=1)
    graph.nodes.add(id=1, name="D").delegate_node_details.delegate_name = "D"
    graph.edges.add(id=0, name="input")
    ours = pb.ModelRuntimeDetails.FromString(details.SerializeToString())
    assert [node.name for node in ours.subgraphs[0].nodes] == ["CONV_2D", "D"]
    assert [node.HasField("delegate_node_details") for node in ours.subgraphs[0].nodes] == [False, True]
    assert list(ours.subgraphs[0].execution_plan) == [1]


def test_settings_survive_the_way_to_the_worker(fake_tool: Path) -> None:
    from argparse import ArgumentParser

    from chamnet_agent.settings import add_settings, settings_of

    settings = BackendSettings(
        native_tool=fake_tool,
        native_tool_args=("LIB=/a b", "--use_gpu=true", "--name='x'"),
        delegate=Path("/vendor/lib/libx.so"),
        delegate_options=(("log level", "2"), ("path", "/a=b"), ("empty", "")),
    )
    parser = ArgumentParser()
    add_settings(parser)
    assert settings_of(parser.parse_args(settings.flags())) == settings
    assert shlex.split(shlex.join(settings.flags())) == list(settings.flags())
    assert settings_of(parser.parse_args([])) == BackendSettings()
