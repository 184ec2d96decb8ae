from collections.abc import Iterator
from pathlib import Path

import pytest

from chamnet.lut import Platform, Store
from chamnet.testing import make_platform


@pytest.fixture
def platform() -> Platform:
    return make_platform()


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with Store.open(tmp_path / "chamnet.db") as opened:
        yield opened
