"""Tables that people open in a spreadsheet."""

import csv
from collections.abc import Iterable, Sequence
from io import StringIO

_STARTS = frozenset({"=", "+", "-", "@", "\t", "\r"})


def csv_text(rows: Iterable[Sequence[str]]) -> str:
    """Print rows as CSV."""
    out = StringIO()
    csv.writer(out).writerows(rows)
    return out.getvalue()


def harmless(cell: str) -> str:
    """Quote a cell that a spreadsheet would run as a formula: names come from users."""
    return f"'{cell}" if cell[:1] in _STARTS else cell
