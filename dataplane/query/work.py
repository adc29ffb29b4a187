"""What a running query has used of its limits, and when it lets others run."""

from typing import Any, Final

from dataplane.query.types import MEMORY_BYTES_MAX, SLICE_BYTES, Limits, QueryTooCostlyError
from dataplane.query.values import Falling

DEPTH_MAX: Final = 150
"""Levels of a result; documents have fewer, and encoders take more."""
DOCUMENT_UNITS_MAX: Final = 1_000_000
"""Work that one document may take: it is not split."""
_ELEMENTS_PER_UNIT: Final = 16
_BYTES_PER_UNIT: Final = 4_096
_VALUE_BYTES: Final = 48
_ENTRY_BYTES: Final = 16


class Work:
    """Counts what one query does."""

    def __init__(self, limits: Limits, pointer: str, *, weight: int) -> None:
        self._pointer = pointer
        self._limits = limits
        self._weight = weight
        self.documents = 0
        self._size_bytes = 0
        self._units = 0
        self._full_at = 0
        self._most_at = limits.units
        self.is_full = False
        """Whether a step should end after the document at hand."""
        self._slice_end = limits.slice_units
        self.memory_bytes = 0

    def begin(self) -> None:
        """Note that documents are looked at from here on, of which each must stay bearable."""
        self.is_full = False
        self._full_at = self._units + self._limits.slice_units
        self._most_at = self._units + DOCUMENT_UNITS_MAX

    def end(self) -> None:
        """Note that no document is looked at."""
        self._most_at = self._limits.units

    def slice(self) -> "tuple[int, int, Work]":
        """Return how many documents, and bytes of them, one step may look at, and this."""
        self.begin()
        return min(self.batch, self._limits.documents - self.documents + 1), SLICE_BYTES, self

    def spend(self, elements: list[Any]) -> bool:
        """Count the looking through an array; it is true, to stand in conditions.

        Raises:
            QueryTooCostlyError: That was more than the query may.
        """
        self.did(1 + len(elements) // _ELEMENTS_PER_UNIT)
        if self._units > self._full_at:
            self.is_full = True
        if self._units > self._most_at:
            raise _too_costly(self._pointer, "stopped at one document, whose arrays are too long")
        return True

    @property
    def batch(self) -> int:
        """How many documents to work on between two turns of others."""
        return max(1, self._limits.slice_units // self._weight)

    def examined(self, count: int, size_bytes: int) -> None:
        """Count documents looked at.

        Raises:
            QueryTooCostlyError: That was more than the query may.
        """
        self.end()
        self.documents += count
        self._size_bytes += size_bytes
        limits = self._limits
        if self.documents > limits.documents or self._size_bytes > limits.size_bytes:
            raise _too_costly(self._pointer, f"stopped after {self.documents - 1} documents")
        self.did((count + size_bytes // _BYTES_PER_UNIT) * self._weight)

    def did(self, units: int) -> None:
        """Count other work.

        Raises:
            QueryTooCostlyError: That was more than the query may.
        """
        self._units += units
        if self._units > self._limits.units:
            raise _too_costly(self._pointer, f"stopped after {self._limits.units} units of work")

    def due(self) -> bool:
        """Say whether it is the turn of others, once for each slice of work."""
        if self._units < self._slice_end:
            return False
        self._slice_end = self._units + self._limits.slice_units
        return True

    def fits(self, size_bytes: int) -> bool:
        """Say whether so much more may be kept."""
        return self.memory_bytes + size_bytes <= self._limits.memory_bytes

    def hold(self, size_bytes: int, pointer: str) -> None:
        """Count memory that is kept; a negative size lets go of it.

        Raises:
            QueryTooCostlyError: That was more than the query may keep.
        """
        self.memory_bytes += size_bytes
        if self.memory_bytes > self._limits.memory_bytes:
            allowed = self._limits.memory_bytes // (1024 * 1024)
            raise _too_costly(pointer, f"needs more than {allowed} MiB of memory")


def _too_costly(pointer: str, detail: str) -> QueryTooCostlyError:
    return QueryTooCostlyError([(pointer, f"{detail}: narrow the filter")])


def weigh(value: Any, most: int = MEMORY_BYTES_MAX, depth: int = 0) -> int:
    """Return about how many bytes of memory a value takes, or any number over `most`.

    Values that stages put together may hold one part many times over, and so be larger than
    anything that was ever stored: they are not walked through further than is needed.
    """
    kind = type(value)
    if kind is str:
        return _VALUE_BYTES + len(value)
    if kind is dict or kind is list or kind is tuple:
        return _weigh_parts(value, most, depth)
    if kind is Falling:
        return _VALUE_BYTES + weigh(value.value, most, depth)
    return _VALUE_BYTES


def _weigh_parts(value: Any, most: int, depth: int) -> int:
    if depth > DEPTH_MAX:
        return most + 1
    total = _VALUE_BYTES
    parts = value
    if type(value) is dict:
        total += sum(map(len, value)) + _ENTRY_BYTES * len(value)
        parts = value.values()
    for part in parts:
        total += _ENTRY_BYTES + weigh(part, most - total, depth + 1)
        if total > most:
            break
    return total
