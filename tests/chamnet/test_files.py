from pathlib import Path
from typing import IO

import pytest

from chamnet.files import parts_of, write_whole


def test_a_file_is_written_with_its_folder(tmp_path: Path) -> None:
    path = tmp_path / "new" / "file"
    for content in (b"first", b"second"):
        write_whole(path, lambda file, content=content: file.write(content))
        assert path.read_bytes() == content
    assert list(path.parent.iterdir()) == [path]


def test_what_is_interrupted_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    def interrupted(file: IO[bytes]) -> None:
        file.write(b"half")
        raise KeyboardInterrupt

    path = tmp_path / "file"
    path.write_bytes(b"old")
    with pytest.raises(KeyboardInterrupt):
        write_whole(path, interrupted)
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_folder_that_is_a_file_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "folder").write_bytes(b"a file")
    with pytest.raises(FileExistsError):
        write_whole(tmp_path / "folder" / "file", lambda file: file.write(b"content"))


def test_halves_of_a_file_are_found_and_no_others(tmp_path: Path) -> None:
    for name in ("a[1].pt.17.part", "a[1].pt", "a1.pt.17.part", "b.pt.17.part"):
        (tmp_path / name).touch()
    assert [path.name for path in parts_of(tmp_path / "a[1].pt")] == ["a[1].pt.17.part"]
