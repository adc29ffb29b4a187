"""Spans of time as forms take them and pages write them: a whole number of a unit."""

from dataclasses import dataclass
from typing import Self

from portal.explorer.constants import EXPIRY_UNITS, UNIT_WORDS
from portal.explorer.errors import UnreadableQuery

DIGITS_MAX = 10
_WORDS = dict(UNIT_WORDS)


@dataclass(frozen=True, slots=True)
class Span:
    """A whole number of a unit."""

    count: int
    unit: str

    @classmethod
    def of(cls, seconds: int) -> Self:
        """Return seconds in the largest unit in which they are whole."""
        unit = next(name for name in reversed(EXPIRY_UNITS) if seconds % EXPIRY_UNITS[name] == 0)
        return cls(seconds // EXPIRY_UNITS[unit], unit)

    @property
    def short(self) -> str:
        """Write it with the sign of the unit."""
        return f"{self.count:,} {self.unit}"

    @property
    def words(self) -> str:
        """Write it with the unit's name."""
        name = _WORDS[self.unit]
        return f"{self.count:,} {name.removesuffix('s') if self.count == 1 else name}"


def read_span(field: str, number: str, unit: str) -> int | None:
    """Read seconds from the two boxes of a span; None when nothing is written.

    Raises:
        UnreadableQuery: It is no whole number of a unit that there is.
    """
    text = number.strip()
    if not text:
        return None
    if not (text.isascii() and text.isdigit() and len(text) <= DIGITS_MAX):
        raise UnreadableQuery(field, "A whole number from 0 is needed.")
    if unit not in EXPIRY_UNITS:
        raise UnreadableQuery(field, "Choose one of the units.")
    return int(text) * EXPIRY_UNITS[unit]
