from collections.abc import Callable
from pathlib import Path

import pytest

from chamnet.errors import ConfigError
from chamnet_agent import registry
from chamnet_agent.testing import Script

PLUGIN = "[chamnet.backends]\n{name} = {target}\n"


def install(folder: Path, name: str, target: str, monkeypatch: pytest.MonkeyPatch) -> None:
    info = folder / "other-1.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: other\nVersion: 1\n")
    (info / "entry_points.txt").write_text(PLUGIN.format(name=name, target=target))
    monkeypatch.syspath_prepend(folder)


def test_what_ships_is_known() -> None:
    assert "onnxruntime" in {backend.name for backend in registry.backends()}
    assert "rapl" in {meter.name for meter in registry.meters()}


def test_third_parties_add_backends(install_fake: Callable[[Script], None]) -> None:
    install_fake(Script())
    assert registry.why_not("fake") is None
    assert registry.load_backend("fake")(threads=1).describe().name == "fake"


def test_an_unknown_name_lists_the_known_ones() -> None:
    for ask in (registry.load_backend, registry.why_not, registry.load_meter):
        with pytest.raises(ConfigError, match=r"unknown .*'cuda'; known: .*r"):
            ask("cuda")


@pytest.mark.parametrize("target", ["no_such_module:Backend", "chamnet_agent.testing:NoSuchClass"])
def test_a_broken_plug_in_is_named_and_the_others_work(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, target: str
) -> None:
    install(tmp_path, "broken", target, monkeypatch)
    assert "does not load" in (registry.why_not("broken") or "")
    assert registry.default_backend() == "onnxruntime"
    with pytest.raises(ConfigError, match="does not load"):
        registry.load_backend("broken")


def test_a_built_in_name_cannot_be_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    install(tmp_path, "onnxruntime", "chamnet_agent.testing:FakeBackend", monkeypatch)
    assert registry.load_backend("onnxruntime").__name__ == "OnnxRuntimeBackend"


def test_a_plug_in_that_is_refused_something_is_named_and_the_others_work(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "refused_plug_in.py").write_text(
        "class Backend:\n    @staticmethod\n    def describe(): raise PermissionError(13, 'Permission denied', '/dev/npu0')\n"
    )
    install(tmp_path, "refused", "refused_plug_in:Backend", monkeypatch)
    assert "/dev/npu0" in (registry.why_not("refused") or "")
    assert registry.default_backend() == "onnxruntime"
