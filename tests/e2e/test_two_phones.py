"""Two phones in all but their chips share a campaign, and the cable of one is pulled in the middle."""

import os
import platform
from pathlib import Path

import pytest
from adbd_fixtures import AdbServer, DeviceStarter
from machine_bundle import binds, make_bundle, summed_up

from chamnet_agent import sysinfo
from chamnet_host.bundles.downloads import default_cache
from chamnet_host.bundles.recipe import Recipe
from chamnet_host.measuring.campaign import Tally
from chamnet_host.session import Session

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.timeout(300),
    pytest.mark.skipif(platform.machine() != "x86_64", reason="adbd is fetched for x86_64"),
]
SMALL = str(Path(__file__).parents[1] / "data" / "small-mobile.toml")
LEFT = "/data/local/tmp/left"
# A phone's first request is the calibration networks', ten items of its own: with these it is stopped in its second one.
PREPARED = 20
BACKEND = f"""
import time
from pathlib import Path

from chamnet_agent.testing import FakeBackend


class Backend(FakeBackend):
    def prepare(self, *arguments, **more):
        if (left := Path({LEFT!r})).exists():
            while left.read_text() == "0":
                time.sleep(1)
            left.write_text(str(int(left.read_text()) - 1))
        return super().prepare(*arguments, **more)
"""


@pytest.fixture
def profiles(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, adb_server: AdbServer) -> Path:
    """Return a folder with the profile `phone`; its bundle runs this machine's Python, with a fake backend.

    On a phone that has a number in `LEFT`, it prepares so many models and then stands still.
    """
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("HOME", str(adb_server.home))
    monkeypatch.setenv("ANDROID_ADB_SERVER_PORT", "9")  # none runs there: HOST:PORT needs none
    bundle = make_bundle(Recipe.read("android-x86_64").folder(default_cache(os.environ)))
    (bundle / "plugin/chamnet_fake_backend.py").write_text(BACKEND)
    summed_up(bundle)
    (tmp_path / "phone.toml").write_text(
        "transport = 'adb'\nbundle = 'android-x86_64'\nbackend = 'fake'\npatience_s = 2\n"
        f"cores = '{sysinfo.usable_cores()[0]}'\n"
    )
    return tmp_path


def test_the_cable_of_one_of_two_phones_is_pulled(start_device: DeviceStarter, profiles: Path) -> None:
    first, second = (start_device(binds=binds()) for _ in range(2))
    second.path(LEFT).write_text(str(PREPARED))  # or it might be done before its cable is pulled

    def pull(tally: Tally) -> None:
        if pulled or not tally.shares[second.address].stored:
            return
        pulled.append(tally.stored)
        second.unplug()

    pulled: list[int] = []
    with Session.open(profiles / "s.db", target="phone", space=SMALL, profiles=profiles) as session:
        tally = session.profile(serials=[first.address, second.address], progress=pull)
        lut_id, _ = session.measured
        visits = [(each.visit.visit_id, each.serial) for each in session.store.visits(lut_id)]
        ids = [visit_id for visit_id, _ in visits if "!" not in visit_id]
        assert len(set(ids)) == len(ids) == tally.total == tally.stored
        assert pulled
        assert second.address in tally.shares[second.address].lost
        assert session.store.serials(lut_id) == {s: share.stored for s, share in tally.shares.items()}

        second.plug()
        assert session.profile(serials=[second.address]).stored == 0
