"""Python modules compiled and their sources dropped; run as a script, so that nothing but the sources decides the bytes.

`marshal` writes an object differently when something else in the process refers to it, too.
"""

import os
import py_compile
import re
import subprocess
import sys
from collections.abc import Collection, Sequence
from pathlib import Path

__all__ = ["compile_all", "magic_of"]

_TIMEOUT_S = 600.0


def magic_of(stdlib: Path) -> bytes:
    """Return the magic number of the bytecode that an interpreter reads; empty if its library does not tell.

    Args:
        stdlib: Folder of its standard library, as source.
    """
    path = stdlib / "importlib" / "_bootstrap_external.py"
    text = path.read_text(encoding="utf-8") if path.is_file() else ""
    found = re.search(r"^MAGIC_NUMBER = \((\d+)\)\.to_bytes\(2, 'little'\) \+ b'\\r\\n'$", text, re.MULTILINE)
    return int(found[1]).to_bytes(2, "little") + b"\r\n" if found else b""


def compile_all(root: Path, *, kept: Sequence[str] = ()) -> None:
    """Put a `.pyc` in the place of each `.py` below a folder; one that does not compile stays.

    Tracebacks name files by their path below `root`.

    Args:
        root: Folder.
        kept: Paths of sources that stay as they are.
    """
    environ = {**os.environ, "PYTHONHASHSEED": "0"}
    command = [sys.executable, "-I", __file__, str(root), *kept]
    subprocess.run(command, env=environ, check=True, timeout=_TIMEOUT_S)


def _compile(root: Path, kept: Collection[str]) -> None:
    unchecked = py_compile.PycInvalidationMode.UNCHECKED_HASH  # there is no source to compare with
    sources = {path.relative_to(root).as_posix(): path for path in sorted(root.rglob("*.py"))}
    for name, source in sources.items():
        if name in kept:
            continue
        try:
            py_compile.compile(
                str(source),
                cfile=str(source.with_suffix(".pyc")),
                dfile=name,
                doraise=True,
                invalidation_mode=unchecked,
            )
        except py_compile.PyCompileError:
            continue
        source.unlink()


if __name__ == "__main__":
    _compile(Path(sys.argv[1]), sys.argv[2:])
