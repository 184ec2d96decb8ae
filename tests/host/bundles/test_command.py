"""`bundle` through the command line's own entry."""

import json
from pathlib import Path
from typing import Any

import pytest

from chamnet_host.app import run


def call(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, str, str]:
    code = run(["bundle", *map(str, arguments)])
    said = capsys.readouterr()
    return code, said.out, said.err


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--arch", "mips"], "known: aarch64, x86_64"),
        (["--os", "windows"], "known: android, linux"),
        (["--kind", "tiny"], "known: full, onnx, core"),
        (["--archive", "x.zip"], ".tar.xz or .tar.gz"),
        (["--target", "127.0.0.1:8799"], "does not say which bundle it takes"),
        (["--target", "nobody"], "unknown target 'nobody'"),
    ],
)
def test_mistakes_are_told_at_once(
    capsys: pytest.CaptureFixture[str], arguments: list[str], words: str
) -> None:
    code, _, err = call(capsys, *arguments)
    assert code == 2
    assert words in err


def test_an_empty_cache_without_a_network_is_a_failure(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    code, out, err = call(capsys, "--offline", "--cache", tmp_path, "--json")
    assert code == 1
    assert "without --offline" in err
    assert json.loads(out)["error"]["exit_code"] == 1
    assert not (tmp_path / "bundles" / "android-aarch64-full").exists()


def test_a_mirror_that_does_not_answer_is_named_with_what_to_do(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    code, _, err = call(capsys, "--cache", tmp_path, "--mirror", (tmp_path / "absent").as_uri())
    assert code == 1
    assert "absent/dists/bookworm/InRelease" in err
    assert "--mirror" in err


def test_a_profile_names_its_bundle(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    (tmp_path / "board.toml").write_text("bundle = 'linux-riscv64'")
    options: list[Any] = ["--target", "board", "--profiles", tmp_path, "--offline", "--cache", tmp_path]
    assert "unknown arch 'riscv64'" in call(capsys, *options)[2]
