from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest

from chamnet.errors import ConfigError, StoreError
from chamnet.lut import Store
from chamnet.records import Conditions, Visit
from chamnet.testing import make_energy, make_platform, make_visit
from chamnet_host.tablefile import COLUMNS, export_visits, import_visits

VISITS = [
    Visit(visit_id="a", status="ok", samples_ns=(1, 2**60), cpu_samples_ns=(3, 4), noop_ns=5, preempted=6),
    make_visit("b", noop_ns=None),
    make_visit("c", status="crashed"),
    Visit(
        visit_id="d",
        status="ok",
        samples_ns=(1,),
        conditions=Conditions(cpu_khz=7),
        message='words, "quoted"\nlines',
    ),
    replace(make_visit("e"), energy=make_energy()),
]


@pytest.fixture
def full(tmp_path: Path) -> Store:
    store = Store.open(tmp_path / "full.db")
    lut_id = store.add_platform(make_platform())
    for visit in VISITS:
        store.append(lut_id, "unit", "key", "ring", visit)
    return store


@pytest.mark.parametrize("ending", ["csv", "parquet"])
def test_a_table_survives_the_journey(full: Store, tmp_path: Path, ending: str) -> None:
    path = tmp_path / f"table.{ending}"
    assert export_visits(full, [1], path) == len(VISITS)
    with Store.open(tmp_path / "empty.db") as empty:
        assert import_visits(empty, path, "pixel") == (len(VISITS), 0, [make_platform()])
        assert [stored.visit for stored in empty.visits(1)] == VISITS
        assert import_visits(empty, path, None)[:2] == (0, len(VISITS))
        assert empty.get("table:pixel") == make_platform().digest


@pytest.mark.parametrize("ending", ["csv", "parquet"])
def test_which_device_made_a_visit_survives_too(full: Store, tmp_path: Path, ending: str) -> None:
    path = tmp_path / f"table.{ending}"
    for name, serial in (("f", "0123"), ("g", "B")):
        full.append(1, "unit", "key", "ring", make_visit(name), serial=serial)
    export_visits(full, [1], path)
    with Store.open(tmp_path / "all.db") as store:
        import_visits(store, path, None)
        assert store.serials(1) == {"": len(VISITS), "0123": 1, "B": 1}
    assert export_visits(full, [1], path, serial="0123") == 1
    with Store.open(tmp_path / "one.db") as store:
        import_visits(store, path, None)
        assert [(s.visit.visit_id, s.serial) for s in store.visits(1)] == [("f", "0123")]


def test_a_file_without_devices_is_one_of_an_earlier_version(full: Store, tmp_path: Path) -> None:
    path = tmp_path / "table.csv"
    export_visits(full, [1], path)
    pd.read_csv(path, dtype=str, keep_default_na=False).drop(columns="serial").to_csv(path, index=False)
    with Store.open(tmp_path / "empty.db") as empty:
        assert import_visits(empty, path, None)[0] == len(VISITS)
        assert empty.serials(1) == {"": len(VISITS)}


def test_other_endings_are_refused(full: Store, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"use .parquet or .csv"):
        export_visits(full, [1], tmp_path / "x.xlsx")


def test_a_folder_that_is_not_there(full: Store, tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="cannot be written"):
        export_visits(full, [1], tmp_path / "no" / "x.csv")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a,b\n1,2\n", "lacks columns"),
        ("", "cannot be read as csv"),
        (",".join(COLUMNS) + "\n" + ",".join("x" for _ in COLUMNS) + "\n", "cannot be read"),
    ],
)
def test_a_file_of_something_else(full: Store, tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "x.csv"
    path.write_text(text)
    with pytest.raises(ConfigError, match=message):
        import_visits(full, path, None)


def test_several_platforms_are_not_one_target(full: Store, tmp_path: Path) -> None:
    full.append(full.add_platform(make_platform("other")), "unit", "key", "ring", make_visit("z"))
    export_visits(full, [1, 2], tmp_path / "x.csv")
    with Store.open(tmp_path / "empty.db") as empty, pytest.raises(ConfigError, match="holds 2 platforms"):
        import_visits(empty, tmp_path / "x.csv", "pixel")
