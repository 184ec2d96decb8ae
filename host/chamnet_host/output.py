"""What the commands print: tables and notes for people, one JSON object for programs.

JSON goes to stdout alone; progress, notes and errors go to stderr. `host/README.md` documents the schema.
"""

import json
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.table import Table

from chamnet.errors import ConfigError

__all__ = [
    "SCHEMA",
    "note",
    "plain",
    "print_error",
    "print_error_json",
    "print_json",
    "print_table",
    "print_text",
    "progress_bar",
    "write_text",
]

_WIDEST = 400
_NUMBER = 20  # longer cells that start with a digit are genomes
SCHEMA = 1  # of the JSON; grows when a key changes its meaning or goes away


def print_json(command: str, body: Mapping[str, Any]) -> None:
    """Print one JSON object: `schema`, `command`, then the body."""
    json.dump({"schema": SCHEMA, "command": command, **body}, sys.stdout, indent=1, allow_nan=False)
    sys.stdout.write("\n")
    sys.stdout.flush()


def write_text(option: str, path: Path, text: str) -> None:
    """Write a file that an option named.

    Raises:
        ConfigError: It cannot be written; the option is named.
    """
    try:
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise ConfigError(f"{option} {path}: cannot be written ({error})") from error


def print_error_json(kind: str, message: str, exit_code: int) -> None:
    """Print an error as JSON."""
    error = {"type": kind, "message": message, "exit_code": exit_code}
    json.dump({"schema": SCHEMA, "error": error}, sys.stdout, indent=1)
    sys.stdout.write("\n")


def print_error(message: str) -> None:
    """Print an error to stderr."""
    Console(stderr=True, highlight=False, soft_wrap=True).print(f"[bold red]error:[/] {plain(message)}")


def note(message: str) -> None:
    """Print a remark to stderr, so that stdout stays the answer alone."""
    Console(stderr=True, highlight=False, soft_wrap=True).print(f"[dim]{plain(message)}[/]")


def print_text(message: str) -> None:
    """Print a line of the answer; rich markup is allowed."""
    Console(highlight=False, soft_wrap=True).print(message)


def print_table(columns: Sequence[str], rows: Sequence[Sequence[str]], title: str = "") -> None:
    """Print rows under headings; columns that hold numbers are right-aligned."""
    table = Table(title=title or None, title_justify="left", box=None, pad_edge=False, header_style="bold")
    for i, column in enumerate(columns):
        cells = [row[i] for row in rows]
        numeric = i > 0 and all(
            len(cell) <= _NUMBER and (cell[:1] in "-+." or cell[:1].isdigit()) for cell in cells
        )
        table.add_column(column, justify="right" if numeric else "left", overflow="fold")
    for row in rows:
        table.add_row(*row)
    console = Console(highlight=False)
    console.width = max(console.width, _WIDEST)  # genomes and keys stay whole, so that they can be copied
    console.print(table, crop=False, overflow="ignore", no_wrap=True)


@contextmanager
def progress_bar(label: str, unit: str = "visits") -> Iterator[Callable[[int, int, str], None]]:
    """Show progress on stderr; yields a function of (done, total, remark)."""
    columns = (
        TextColumn("{task.description}"),
        BarColumn(bar_width=24),
        MofNCompleteColumn(),
        TextColumn(unit),
        TextColumn("{task.fields[rate]}"),
        TimeElapsedColumn(),
        TextColumn("so far,"),
        TimeRemainingColumn(),
        TextColumn("left"),
        TextColumn("{task.fields[remark]}"),
    )
    console = Console(stderr=True)
    with Progress(
        *columns, console=console, transient=not console.is_terminal, disable=not console.is_terminal
    ) as bar:
        task = bar.add_task(label, total=None, rate="", remark="")

        def show(done: int, total: int, remark: str = "") -> None:
            speed = bar.tasks[0].speed
            bar.update(
                task, completed=done, total=total, remark=remark, rate=f"{speed:.0f}/s" if speed else ""
            )

        yield show


def plain(message: str) -> str:
    """Return a text of which nothing is taken for markup."""
    return message.replace("[", r"\[")
