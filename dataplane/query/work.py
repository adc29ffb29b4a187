"""What a running query has used of its limits, and when it lets others run."""

from typing import Any, Final

from dataplane.query.types import SLICE_BYTES, Limits, QueryTooCostlyError
from dataplane.query.values import Falling

_BYTES_PER_UNIT: Final = 4_096
_VALUE_BYTES: Final = 48
_ENTRY_BYTES: Final = 16


class Work:
    """Counts what one query does."""

    def __init__(self, limits: Limits, *, weight: int = 1) -> None:
        self._limits = limits
        self._weight = weight
        self.documents = 0
        self.keys = 0
        self._size_bytes = 0
        self._units = 0
        self._slice_end = limits.slice_units
        self.memory_bytes = 0

    def slice(self) -> tuple[int, int]:
        """Return how many documents, and how many bytes of them, one step may look at."""
        count = max(1, self._limits.slice_units // self._weight)
        return min(count, self._limits.documents - self.documents + 1), SLICE_BYTES

    def examined(self, count: int, size_bytes: int) -> None:
        """Count documents looked at.

        Raises:
            QueryTooCostlyError: That was more than the query may.
        """
        self.documents += count
        self.keys += count
        self._size_bytes += size_bytes
        limits = self._limits
        if self.documents > limits.documents or self._size_bytes > limits.size_bytes:
            raise _too_costly("/filter", f"stopped after {self.documents - 1} documents")
        self.did((count + size_bytes // _BYTES_PER_UNIT) * self._weight)

    def did(self, units: int) -> None:
        """Count other work.

        Raises:
            QueryTooCostlyError: That was more than the query may.
        """
        self._units += units
        if self._units > self._limits.units:
            raise _too_costly("/filter", f"stopped after {self._limits.units} units of work")

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


def weigh(value: Any) -> int:
    """Return about how many bytes of memory a value takes."""
    if isinstance(value, str):
        return _VALUE_BYTES + len(value)
    if isinstance(value, dict):
        return _VALUE_BYTES + sum(
            [2 * _ENTRY_BYTES + len(name) + weigh(item) for name, item in value.items()]
        )
    if isinstance(value, list | tuple):
        return _VALUE_BYTES + sum([_ENTRY_BYTES + weigh(item) for item in value])
    if isinstance(value, Falling):
        return _VALUE_BYTES + weigh(value.value)
    return _VALUE_BYTES if isinstance(value, int | float | bytes) else _ENTRY_BYTES
