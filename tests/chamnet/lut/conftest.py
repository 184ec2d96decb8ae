from collections.abc import Iterator
from pathlib import Path

import pytest

from chamnet.lut import Platform, Store
from chamnet.space import SearchSpace, load_space
from chamnet.testing import make_platform

TINY = """
name = "tiny"
family = "inverted_residual"
resolution = [32, 48, 64]
stem = [8, 16]
head = [64, 96]

[[stages]]
name = "one"
expansion = [1, 3]
filters = [8, 12, 16]
blocks = [1, 2]
stride = 1

[[stages]]
name = "two"
expansion = [2, 4, 6]
filters = { from = 16, to = 40, step = 8 }
blocks = [1, 2, 3]
stride = 2
"""


@pytest.fixture
def platform() -> Platform:
    return make_platform()


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with Store.open(tmp_path / "chamnet.db") as opened:
        yield opened


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> SearchSpace:
    path: Path = tmp_path_factory.mktemp("spaces") / "tiny.toml"
    path.write_text(TINY, encoding="utf-8")
    return load_space(str(path))
