"""What the commands print: tables for people, JSON for programs, progress beside both."""

import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Final

import msgspec
from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    SpinnerColumn,
    TextColumn,
    TimeElapsedColumn,
)
from rich.table import Table
from rich.text import Text

CELL_CHARS_MAX: Final = 60
LINE_CHARS_MAX: Final = 2_000
type Column = tuple[str, Callable[[Mapping[str, Any]], object]]


def console(*, err: bool = False) -> Console:
    """Return a console of the moment: streams may have been replaced."""
    return Console(stderr=err, highlight=False, soft_wrap=True)


def is_terminal() -> bool:
    """Tell whether a person reads the standard output."""
    return sys.stdout.isatty()


def line(text: str) -> None:
    """Print one line as it is."""
    sys.stdout.write(text + "\n")


def note(text: str) -> None:
    """Tell the person something that is no part of the result."""
    sys.stderr.write(text + "\n")


def json_value(value: Any) -> None:
    """Print one value: indented for people, on one line for programs."""
    data = msgspec.json.encode(value)
    if is_terminal():
        data = msgspec.json.format(data, indent=2)
    line(data.decode())


def json_line(value: Any) -> None:
    """Print one value on one line."""
    line(msgspec.json.encode(value).decode())


def cell(value: object) -> str:
    """Return a value as the text of a cell; what controls terminals is made visible."""
    if value is None:
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    text = value if isinstance(value, str) else msgspec.json.encode(value).decode()
    text = "".join(char if char.isprintable() else "\N{REPLACEMENT CHARACTER}" for char in text)
    return text if len(text) <= CELL_CHARS_MAX else text[: CELL_CHARS_MAX - 1] + "…"


def table(rows: Iterable[Mapping[str, Any]], columns: Sequence[Column]) -> None:
    """Print rows under headings; without any, say so."""
    drawn = Table(box=None, pad_edge=False, header_style="bold")
    for title, _ in columns:
        drawn.add_column(title, no_wrap=True)
    for row in rows:
        drawn.add_row(*(Text(cell(read(row))) for _, read in columns))
    if drawn.row_count:
        _print_table(drawn)
    else:
        note("There are none.")


def facts(pairs: Sequence[tuple[str, object]]) -> None:
    """Print names with their values."""
    drawn = Table(box=None, pad_edge=False, show_header=False)
    drawn.add_column(style="bold", no_wrap=True)
    drawn.add_column(no_wrap=True)
    for name, value in pairs:
        drawn.add_row(Text(name), Text(cell(value)))
    _print_table(drawn)


def _print_table(drawn: Table) -> None:
    """Print a table in its own width: a line that is cut off tells less than one that wraps."""
    out = console()
    unbounded = out.options.update(max_width=LINE_CHARS_MAX)
    out.width = max(out.width, out.measure(drawn, options=unbounded).maximum)
    with out.capture() as captured:
        out.print(drawn)
    for text in captured.get().splitlines():
        line(text.rstrip())


def listing(rows: Iterable[Mapping[str, Any]], columns: Sequence[Column], *, as_json: bool) -> None:
    """Print rows as a table, or as one JSON array."""
    if as_json:
        json_value(list(rows))
    else:
        table(rows, columns)


def progress() -> Progress:
    """Return bars on the error stream; where that is no terminal, nothing is drawn."""
    return Progress(
        SpinnerColumn(),
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        console=console(err=True),
        transient=True,
        disable=not sys.stderr.isatty(),
    )
