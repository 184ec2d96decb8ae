"""A space file says only what can be built; everything else is refused by name."""

from pathlib import Path

import pytest

from chamnet.errors import ConfigError
from chamnet.space import load_space

GOOD = """
name = "good"
family = "inverted_residual"
resolution = [32, 48]
stem = 8
head = [16, 24]

[[stages]]
name = "one"
expansion = [1, 2]
filters = { from = 8, to = 24, step = 8 }
blocks = [1, 2]
stride = 2
"""


def _load(folder: Path, text: str) -> None:
    path = folder / "space.toml"
    path.write_text(text, encoding="utf-8")
    load_space(str(path))


def test_a_range_includes_both_ends(tmp_path: Path) -> None:
    path = tmp_path / "space.toml"
    path.write_text(GOOD, encoding="utf-8")
    assert load_space(str(path)).stages[0].filters.values == (8, 16, 24)


@pytest.mark.parametrize(
    ("old", "new", "reason"),
    [
        ("stem = 8", "stem = 8\nstems = 9", r"unknown keys \['stems'\]"),
        ("stem = 8", "", r"missing keys \['stem'\]"),
        ('family = "inverted_residual"', 'family = "ghost"', "family 'ghost'; known: inverted_residual"),
        ("stem = 8", 'stem = 8\nactivation = "gelu"', "activation 'gelu'; known"),
        ("stem = 8", "stem = [16, 8]", "stem needs ascending"),
        ("stem = 8", "stem = [8, 8]", "stem needs ascending"),
        ("stem = 8", "stem = []", "stem needs ascending"),
        ("stem = 8", "stem = 0", "stem needs ascending values of at least 1"),
        ("stem = 8", 'stem = "8"', "stem is not a number"),
        ("stem = 8", "stem = 8.5", "stem is not a number"),
        ("stem = 8", "stem = true", "stem is not a number"),
        ("stem = 8", "stem = [true, 8]", "stem is not a number"),
        ("step = 8 }", "step = 0 }", "one.filters is not a number"),
        ("step = 8 }", "step = 8, by = 2 }", "one.filters is not a number"),
        ("head = [16, 24]", "head = [0, 24]", "head .*0"),
        ("stride = 2", "strides = 2", r"stage 1: unknown keys \['strides'\]"),
        ("stride = 2", "stride = 0", "stage 1: stride"),
        ("stride = 2", 'stride = "2"', "stage 1: stride"),
        ("stride = 2", "stride = 2\nkernel = 4", "stage 1: one.kernel .*odd"),
        ("stride = 2", "stride = 2\nkernel = [3, 4]", "stage 1: one.kernel .*odd"),
        ("stride = 2", "stride = 2\nkernel = [5, 3]", "one.kernel needs ascending"),
        ("stride = 2", "stride = 2\nse = 1", "one.se is not true"),
        ("stride = 2", "stride = 2\nse = [true, true]", "one.se is not true"),
        ("stride = 2", "stride = 2\nse = []", "one.se is not true"),
        ("stem = 8", "stem = 8\nclasses = 0", "classes"),
        ("stem = 8", 'stem = 8\nbatch = "1"', "batch"),
        ("stem = 8", 'stem = 8\nexpand_at_e1 = "no"', "expand_at_e1"),
        ('name = "good"', "name = 3", "name"),
        ("[[stages]]", "[stages]", "stages"),
        ("stem = 8", "stem = 8 9", "not TOML"),
    ],
)
def test_what_a_space_cannot_mean_is_refused(tmp_path: Path, old: str, new: str, reason: str) -> None:
    assert old in GOOD
    with pytest.raises(ConfigError, match=reason) as caught:
        _load(tmp_path, GOOD.replace(old, new))
    assert "space.toml" in str(caught.value)


def test_stages_of_one_name_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="two stages are called 'one'"):
        _load(tmp_path, GOOD + GOOD[GOOD.index("[[stages]]") :])


def test_a_bottleneck_whose_expansion_leaves_nothing_is_refused(tmp_path: Path) -> None:
    text = GOOD.replace("inverted_residual", "bottleneck").replace("head = [16, 24]", "")
    with pytest.raises(ConfigError, match="cannot be built"):  # both corners can: 8 filters at 1, 24 at 16
        _load(tmp_path, text.replace("expansion = [1, 2]", "expansion = [1, 2, 16]"))


@pytest.mark.parametrize("more", ["kernel = [3, 5]", "kernel = 5", "se = true"])
def test_a_bottleneck_has_no_other_kernel_and_no_squeeze_excite(tmp_path: Path, more: str) -> None:
    text = GOOD.replace("inverted_residual", "bottleneck").replace("head = [16, 24]", "")
    _load(tmp_path, text)
    with pytest.raises(ConfigError, match=r"one.kernel, one.se: a bottleneck"):
        _load(tmp_path, f"{text}{more}\n")


def test_kernels_and_squeeze_excite_may_be_decisions(tmp_path: Path) -> None:
    path = tmp_path / "space.toml"
    path.write_text(f"{GOOD}kernel = [3, 5, 7]\nse = [true, false]\n", encoding="utf-8")
    (stage,) = load_space(str(path)).stages
    assert (stage.kernel.values, stage.se.values) == ((3, 5, 7), (0, 1))


def test_a_missing_file_and_an_unknown_name_say_so(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot be read"):
        load_space(str(tmp_path / "none.toml"))
    with pytest.raises(
        ConfigError, match="known: chamnet-mobile, chamnet-mobile-28, chamnet-res, mobile-wide"
    ):
        load_space("chamnet-moble")


def test_a_file_that_is_no_text_says_so(tmp_path: Path) -> None:
    path = tmp_path / "space.toml"
    path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ConfigError, match="cannot be read"):
        load_space(str(path))
