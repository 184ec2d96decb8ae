"""External delegates under LiteRT, with a real one that computes nothing, compiled here."""

import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from chamnet.errors import ConfigError, FallbackError, UnsupportedOpError
from chamnet.lut import Platform
from chamnet.records import Component, Item, Policy
from chamnet.units import Unit
from chamnet_agent import registry, sysinfo
from chamnet_agent.backends.base import Backend, Workload
from chamnet_agent.config import AgentConfig
from chamnet_agent.server import running
from chamnet_agent.settings import BackendSettings
from chamnet_agent.testing import BackendContract
from chamnet_host.client import DeviceClient

pytest.importorskip("ai_edge_litert")
pytestmark = pytest.mark.skipif(not shutil.which("cc"), reason="no C compiler is installed")

CONV = Unit.parse("conv:f32:1x16x8x8:o16:k3:relu")
ADDING = Unit.parse("conv:f32:1x16x8x8:o16:add")
ADD_CODE = "0"

Make = Callable[..., Backend]


@pytest.fixture(scope="session")
def toy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the library of a delegate that takes every operator, unless told otherwise."""
    library = tmp_path_factory.mktemp("delegate") / "libtoy.so"
    source = Path(__file__).with_name("toy_delegate.c")
    subprocess.run(["cc", "-shared", "-fPIC", "-O1", "-w", "-o", library, source], check=True)
    return library


def settings(library: Path, **options: str) -> BackendSettings:
    return BackendSettings(delegate=library, delegate_options=tuple(options.items()))


def described(given: BackendSettings) -> Component:
    return next(each for each in registry.backends(given) if each.name == "litert")


@pytest.fixture
def make(toy: Path) -> Make:
    """Return a function that makes the backend, with options for the delegate."""
    return lambda **options: registry.load_backend("litert", settings(toy, **options))(threads=1)


class TestDelegate(BackendContract):
    @pytest.fixture
    def backend(self, make: Make) -> Backend:
        return make()


def test_what_it_executes_names_the_delegate(make: Make) -> None:
    assert make().resolve(Workload(blocks=(CONV, ADDING)), seed=0) == (
        f"libtoy.so:{CONV.key}",
        f"libtoy.so:{ADDING.key}",
    )


def test_what_it_leaves_is_a_fallback_though_xnnpack_would_take_it(make: Make) -> None:
    backend = make(refuses=ADD_CODE)
    for ask in (
        lambda: backend.prepare(Workload(blocks=(ADDING,)), seed=0, slot=0),
        lambda: backend.resolve(Workload(blocks=(CONV, ADDING)), seed=0),
    ):
        with pytest.raises(
            FallbackError, match=r"backend litert: delegate libtoy.so leaves ADD of this to the CPU"
        ):
            ask()
    backend.prepare(Workload(blocks=(CONV,)), seed=0, slot=0).run()


def test_a_delegate_that_takes_nothing_is_a_fallback(make: Make) -> None:
    backend = make(refuses="0,3,22")
    with pytest.raises(FallbackError, match="leaves CONV_2D, ADD of this"):
        backend.prepare(Workload(blocks=(ADDING,)), seed=0, slot=0)


def test_each_delegate_and_each_of_its_settings_is_a_provider_of_its_own(toy: Path, tmp_path: Path) -> None:
    other = tmp_path / "libtoy.so"
    other.write_bytes(toy.read_bytes() + b"another build")
    given = [BackendSettings(), settings(toy), settings(other), settings(toy, refuses=ADD_CODE)]
    providers = [described(each).provider for each in given]
    assert providers[0] == "XNNPACK"
    assert providers[1].startswith("libtoy.so ")
    assert providers[3] == f"{providers[1]} refuses={ADD_CODE}"
    assert len(set(providers)) == 4


def test_a_delegate_that_is_not_there_is_named(tmp_path: Path) -> None:
    absent = settings(tmp_path / "libnone.so")
    assert "libnone.so: No such file or directory" in (described(absent).why_not or "")
    with pytest.raises(ConfigError, match=r"libnone.so: No such file or directory; put it there"):
        registry.load_backend("litert", absent)


def test_a_delegate_that_does_not_load_says_why(make: Make, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"libtoy.so cannot be made; it said: no such accelerator; look at"):
        make(fails="no such accelerator")
    text = tmp_path / "libtext.so"
    text.write_text("no library", encoding="utf-8")
    with pytest.raises(ConfigError, match=r"libtext.so does not load: .*native-tool runs them"):
        registry.load_backend("litert", settings(text))(threads=1)


def test_a_library_that_is_no_delegate_is_refused(tmp_path: Path) -> None:
    source, library = tmp_path / "plain.c", tmp_path / "libplain.so"
    source.write_text("int nothing;", encoding="utf-8")
    subprocess.run(["cc", "-shared", "-fPIC", "-o", library, source], check=True)
    with pytest.raises(ConfigError, match=r"no external delegate: it has no tflite_plugin_create_delegate"):
        registry.load_backend("litert", settings(library))(threads=1)


def test_without_a_delegate_everything_is_as_before() -> None:
    backend = registry.load_backend("litert")(threads=1)
    (key,) = backend.resolve(Workload(blocks=(CONV,)), seed=0)
    assert key == "tflite:CONV_2D[1x8x8x16->16,3x3,relu]"
    with pytest.raises(UnsupportedOpError, match="cannot run this"):
        backend.prepare(Workload(model=b"no model"), seed=0, slot=0)


def test_tables_of_a_delegate_and_of_xnnpack_do_not_mix(toy: Path, tmp_path: Path) -> None:
    digests = []
    for name, given in (("plain", BackendSettings()), ("toy", settings(toy, refuses=ADD_CODE))):
        config = AgentConfig(
            state_dir=tmp_path / name,
            backend="litert",
            cores=sysinfo.usable_cores()[-1:],
            settings=given,
        )
        with running(config) as agent, DeviceClient(agent.endpoint.address, agent.token, tls=None) as client:
            digests.append(Platform.of(client.describe()).digest)
            items = [Item(visit_id=unit.key, blocks=(unit.key,)) for unit in (CONV, ADDING)]
            visits = {visit.visit_id: visit for visit in client.measure(items, Policy(laps=3))}
    assert digests[0] != digests[1]
    assert visits[CONV.key].status == "ok"
    assert visits[ADDING.key].status == "fallback"
    assert visits[ADDING.key].samples_ns == ()
