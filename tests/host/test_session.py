"""Profiling, verifying and validating against a real agent whose backend is a fake."""

import shutil
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from chamnet.errors import ConfigError, NotProfiledError
from chamnet.lut import EFFORTS, Platform
from chamnet.networks import find
from chamnet_agent import sysinfo
from chamnet_agent.config import AgentConfig
from chamnet_agent.server import running
from chamnet_agent.testing import Script, install_fake_backend
from chamnet_host.measuring.campaign import Tally
from chamnet_host.measuring.planner import batches, find_effort, fitted_effort
from chamnet_host.measuring.validation import draw_networks, validate
from chamnet_host.session import Session
from chamnet_host.subjects import published_networks

DATA = Path(__file__).parents[1] / "data"
TINY, SMALL = str(DATA / "tiny-mobile.toml"), str(DATA / "small-mobile.toml")
REFUSED = "conv1x1_relu+dwconv3x3_relu+se+conv1x1"  # only published networks hold it

Opener = Callable[..., AbstractContextManager[Session]]


@pytest.fixture(scope="module")
def board(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Run an agent with a fake backend; return a folder with its device profile, `board`."""
    folder = tmp_path_factory.mktemp("board")
    plugin = folder / "plugin"
    plugin.mkdir()
    install_fake_backend(plugin, Script(unsupported=frozenset({REFUSED})))
    config = AgentConfig(state_dir=folder / "state", backend="fake", cores=sysinfo.usable_cores()[-1:])
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(plugin)
        patch.setenv("PYTHONPATH", str(plugin))
        with running(config) as agent:
            (folder / "board.toml").write_text(
                f"transport = 'direct'\naddress = '{agent.endpoint.address}'\n"
                f"token_file = '{agent.endpoint.token_file}'\n"
            )
            yield folder


def opener(board: Path, db: Path) -> Opener:
    def start(space: str = SMALL, **options: Any) -> Session:
        return Session.open(db, target="board", space=space, profiles=board, **options)

    return start


@pytest.fixture
def open_session(board: Path, tmp_path: Path) -> Opener:
    """Return a function that opens a session with an empty store."""
    return opener(board, tmp_path / "s.db")


@pytest.fixture(scope="module")
def store(board: Path) -> Path:
    """Profile both spaces once."""
    path = board / "profiled.db"
    for space in (TINY, SMALL):
        with opener(board, path)(space) as session:
            session.profile()
    return path


@pytest.fixture
def profiled(board: Path, store: Path, tmp_path: Path) -> Opener:
    """Return a function that opens a session with a store of its own where both spaces are profiled."""
    shutil.copy(store, tmp_path / "s.db")
    return opener(board, tmp_path / "s.db")


def ids(session: Session) -> set[str]:
    """Return the ids of the visits that were asked for, without what was repeated."""
    stored = session.store.visit_ids(session.measured[0])
    return {visit_id for visit_id in stored if "!" not in visit_id}


def test_a_second_run_asks_for_the_same_and_measures_nothing(profiled: Opener) -> None:
    with profiled(TINY) as session:
        held = ids(session)
        for _ in range(2):
            tally = session.profile()
            assert (tally.stored, tally.before) == (0, tally.total)
        assert ids(session) == held


def test_batches_go_on_after_a_kill_where_they_stopped(open_session: Opener) -> None:
    def kill(tally: Tally) -> None:
        seen.add(tally.total)
        if len(seen) == 2 and tally.stored > min(seen) + 50:  # in the second batch
            raise KeyboardInterrupt

    seen: set[int] = set()
    with open_session(TINY) as session:
        with pytest.raises(KeyboardInterrupt):
            session.profile(progress=kill)
        before = ids(session)
        walks = {visit_id.split("/")[2] for visit_id in before if "/walk/" in visit_id}
        assert walks == {"0", "1"}
    with open_session(TINY) as session:
        tally = session.profile()
        assert (tally.before, tally.stored) == (len(before), tally.total - len(before))
        assert before < ids(session)
        assert len(ids(session)) == tally.total


def test_a_greater_effort_adds_to_what_a_small_one_measured(profiled: Opener) -> None:
    with profiled() as session:
        quick = session.profile(effort="quick")
        before = ids(session)
        normal = session.profile(effort="normal")
        assert (quick.stored, normal.before) == (0, quick.total)
        added = ids(session) - before
        assert added  # the space is too small for more walks: only the calibration grows
        assert all("/whole/0/" in visit_id for visit_id in added)


@pytest.mark.slow
def test_a_full_effort_ends_when_every_unit_was_visited(open_session: Opener) -> None:
    with open_session() as session:
        session.profile(effort="full")
        assert {unit.key for unit in session.grid("op").units} == session.table.units.keys()


def test_budgets_change_the_walks_after_the_first_batch(profiled: Opener) -> None:
    with profiled(TINY) as session:
        before = ids(session)
        session.profile(budgets_ms=[2.0])
        added = ids(session) - before
        assert added
        assert {visit_id.split("/")[2] for visit_id in added} == {"1"}


def test_networks_outside_the_space_are_walked_through_too(profiled: Opener) -> None:
    network = find("resnet-50").build()
    with profiled() as session:
        tally = session.profile(also=[network])
        assert tally.stored == 3 * len(list(network.units("op")))
        assert {unit.key for unit in network.units("op")} <= session.table.units.keys()
        assert session.profile(also=[network]).stored == 0


def test_a_seed_of_its_own_draws_other_walks(open_session: Opener) -> None:
    def first_walks(seed: int) -> list[str]:
        with open_session(TINY, seed=seed) as session, session.connect() as client:
            platform = session.platform_now(client)
            session.remember(platform, "op")
            batch = next(batches(session, EFFORTS["quick"], platform, "op"))
            return [network.digest for network in batch.walks]

    one = first_walks(1)
    assert len(set(one)) == len(one) == 60
    assert first_walks(1) == one
    assert first_walks(2) != one


def test_a_calibration_is_made_anew_where_asked_for(profiled: Opener) -> None:
    with profiled() as session:
        digests = [network.digest for network in session.calibration]
        first = {digest: session.network_rows[digest] for digest in digests}
        tally = session.profile(recalibrate=True)
        anew = {visit_id for visit_id in ids(session) if "/whole/1/" in visit_id}
        assert len(anew) == tally.stored == len(digests) * EFFORTS["quick"].network_visits
        for digest in digests:
            assert session.network_rows[digest].visits >= EFFORTS["quick"].network_visits
            assert not set(session.network_rows[digest].visits_ms) & set(first[digest].visits_ms)
        assert session.profile().stored == 0  # the new one is the one that counts


def test_a_small_space_needs_no_more_walks_than_it_has_units() -> None:
    assert fitted_effort(EFFORTS["normal"], 90).walks == 90
    assert fitted_effort(EFFORTS["normal"], 36_000) == EFFORTS["normal"]
    assert fitted_effort(EFFORTS["full"], 90).walks is None


def test_an_unknown_effort_lists_the_known_ones() -> None:
    with pytest.raises(ConfigError, match="unknown effort 'huge'; known: quick, normal, full"):
        find_effort("huge")


def another_version(session: Session) -> Platform:
    """Make the target's table look as if another version of the runtime had made it."""
    older = replace(session.measured[1], version="0.9")
    lut_id = session.store.add_platform(older)
    with session.store.transaction() as db:
        db.execute("DELETE FROM lut WHERE id = ?", (session.measured[0],))
        db.execute("UPDATE visit SET lut_id = ?", (lut_id,))
    session.remember(older, "op")
    session.forget_table()
    return older


def test_a_table_of_another_version_is_not_compared_unless_asked(profiled: Opener) -> None:
    network = find("chamnet-f").build()
    with profiled() as session:
        older = another_version(session)
        with pytest.raises(
            ConfigError, match=r"fake 0\.9 .*the device now has .*fake 1 .*--allow-version-mismatch"
        ):
            session.verify([network])
        with pytest.raises(ConfigError, match="profile it anew"):
            validate(session, {"named": [network]}, seed=1, visits=2)
    with profiled(allow_version_mismatch=True) as session:
        before = ids(session)
        (result,) = session.verify([network])
        assert result.row.latency_ms > 0
        judged = validate(session, {"named": [network]}, seed=1, visits=2, naive=False)
        assert judged.platform == replace(older, version="1")
        assert ids(session) == before  # what another version measured is not the table's


def test_networks_are_measured_without_a_table_too(open_session: Opener) -> None:
    with open_session() as session:
        (result,) = session.verify([find("chamnet-f").build()])
        assert result.row.visits == 20
        assert (result.prediction.latency, result.error) == (None, None)


@pytest.mark.skipif(len(sysinfo.usable_cores()) < 2, reason="needs two cores")
def test_a_table_of_several_threads_is_compared_with_as_many(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    with Session.open(tmp_path / "s.db", target="local", space=SMALL, threads=2) as session:
        with session.connect() as client:
            session.remember(session.platform_now(client), "op")
        assert session.measured[1].threads == 2
    with Session.open(tmp_path / "s.db", target="local", space=SMALL) as session:
        assert session.device.threads == 1
        with session.connect_measured() as client:
            assert session.platform_measured(client) == session.measured[1]


def test_an_element_type_that_the_backend_lacks_names_those_it_runs(open_session: Opener) -> None:
    with (
        open_session(dtype="int8") as session,
        pytest.raises(
            ConfigError, match="backend 'fake' runs f32, not int8; choose another with --backend or"
        ),
    ):
        session.profile()


def test_an_unknown_backend_lists_the_usable_ones(open_session: Opener) -> None:
    with (
        open_session(backend="cuda") as session,
        pytest.raises(ConfigError, match=r"'cuda' does not work on .*: no such backend; usable: .*fake"),
    ):
        session.profile()


def test_a_backend_that_was_not_profiled_has_no_table(profiled: Opener) -> None:
    with profiled(backend="fake") as session:
        assert session.measured[1].backend == "fake"
    with (
        profiled(backend="onnxruntime") as session,
        pytest.raises(NotProfiledError, match="'board' with backend 'onnxruntime' has not been profiled"),
    ):
        _ = session.measured


def test_an_isolated_unit_is_a_kind_of_its_own(profiled: Opener) -> None:
    """Naive measurements are kept, and never take part in predictions."""
    with profiled() as session:
        before = {key: (row.visits, row.samples) for key, row in session.table.units.items()}
        network = session.space.decode(session.space.extreme(largest=True))
        validate(session, {"named": [network]}, seed=1, visits=2)
        session.forget_table()
        after = {key: (row.visits, row.samples) for key, row in session.table.units.items()}
        assert after == before
        isolated = {stored.key for stored in session.store.visits(session.measured[0], "isolated")}
        assert {unit.key for unit in network.units("op")} <= isolated
        assert {unit.key for unit in network.units("block")} <= isolated


def test_what_is_judged_was_fitted_to_by_nobody(profiled: Opener) -> None:
    with profiled(TINY) as session:
        drawn = draw_networks(session, 4, seed=5)
        assert drawn == draw_networks(session, 4, seed=5)
        assert [n.digest for n in drawn] != [n.digest for n in draw_networks(session, 4, seed=6)]
        digests = {network.digest for network in drawn}
        assert len(digests) == 4
        assert not digests & {network.digest for network in session.calibration}
        assert not digests & session.walked
        assert session.walked
        macs = [network.macs for network in drawn]
        assert min(macs) >= 20e6
        assert np.all(np.diff(macs) >= 0)
        with pytest.raises(ConfigError, match=r"fresh, not 200; ask for fewer with --networks"):
            draw_networks(session, 200, seed=5)


def test_a_validation_continues_with_its_seed_and_measures_nothing_twice(profiled: Opener) -> None:
    told: list[tuple[str, int, int]] = []
    with profiled(TINY) as session:
        groups = {"random": draw_networks(session, 3, seed=5)}

        def stop(what: str, done: int, total: int) -> None:
            told.append((what, done, total))
            if done == 4:
                raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            validate(session, groups, seed=5, visits=3, progress=stop)
        assert told[0][2] == 9
        whole = validate(session, groups, seed=5, visits=3)
        before = ids(session)
        again = validate(session, groups, seed=5, visits=3)
        assert ids(session) == before
        assert again == whole
        assert [len(each.visits_ms) for each in whole.judged] == [3, 3, 3]
        assert [each.name for each in whole.judged] == [network.name for network in groups["random"]]
        assert len(whole.known) == len(session.calibration)
        assert set(whole.judged[0].sums_ms) == {"isolated operators", "isolated blocks"}
        other = validate(session, groups, seed=6, visits=2, naive=False)
        assert other.judged[0].sums_ms == {}
        assert len(ids(session) - before) == 3 * 2


def test_what_the_backend_cannot_run_is_left_out(profiled: Opener) -> None:
    with profiled(TINY) as session:
        published = published_networks(session.space)
        groups = {"random": draw_networks(session, 3, seed=5), "published": published}
        judged = validate(session, groups, seed=5, visits=2, naive=False).judged
        names = {each.name for each in judged if each.group == "published"}
        refused = [n for n in published if REFUSED in {unit.signature for unit in n.blocks}]
        assert 0 < len(refused) < len(published)
        assert names == {network.name for network in published} - {network.name for network in refused}
