"""What is remembered of one query."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Trace:
    """What one query was like, and what it took."""

    shape: str
    fields: tuple[tuple[str, int], ...]
    """Of the index that would suit it best, empty when none would."""
    used: tuple[tuple[int, int], ...]
    """(index, entries examined) of those that it used."""
    documents: int
    returned: int
