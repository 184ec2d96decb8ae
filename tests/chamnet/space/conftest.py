"""Spaces small enough to list every genome of."""

from pathlib import Path

import pytest

from chamnet.space import SearchSpace, load_space

# A stage of one block, neighbours with equal filters, a fixed stem, stride 1 and 2, an absent expansion at 1; a choice
# of kernels, one of squeeze-excite.
MOBILE = """
name = "tiny-mobile"
family = "inverted_residual"
expand_at_e1 = false
resolution = [32, 33, 48]
stem = 8
head = [24, 40]

[[stages]]
name = "first"
expansion = 1
filters = [8, 12]
blocks = 1
stride = 1

[[stages]]
name = "second"
expansion = [1, 2]
filters = [8, 12]
blocks = [1, 3]
se = [false, true]
stride = 1

[[stages]]
name = "third"
expansion = { from = 2, to = 6, step = 2 }
filters = [8, 16, 20]
blocks = { from = 1, to = 2, step = 1 }
stride = 2
kernel = [3, 5]
"""

RES = """
name = "tiny-res"
family = "bottleneck"
resolution = [32, 64]
stem = [8, 16]

[[stages]]
name = "res1"
expansion = [2, 4]
filters = [16, 32]
blocks = [1, 2]
stride = 1

[[stages]]
name = "res2"
expansion = 4
filters = [32, 64]
blocks = [2, 3, 5]
stride = 2
"""


@pytest.fixture(scope="session", params=[MOBILE, RES], ids=["mobile", "res"])
def tiny(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> SearchSpace:
    path: Path = tmp_path_factory.mktemp("spaces") / "tiny.toml"
    path.write_text(request.param, encoding="utf-8")
    return load_space(str(path))


@pytest.fixture(scope="session")
def mobile() -> SearchSpace:
    return load_space("chamnet-mobile")


@pytest.fixture(scope="session")
def res() -> SearchSpace:
    return load_space("chamnet-res")
