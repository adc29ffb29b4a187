"""An order that an index has already: which one, and reading its entries group by group."""

from dataclasses import dataclass
from itertools import islice

from dataplane.documents.capture import Capture
from dataplane.documents.index_entries import entry_end, entry_id
from dataplane.documents.index_keys import PART_BYTES
from dataplane.query.cursor import Place
from dataplane.query.index_bounds import Bounds, after, part_prefix
from dataplane.query.sorting import Order

type Row = tuple[bytes, bytes]


@dataclass(frozen=True, slots=True)
class Ordering:
    """How an index has the order of a query, or the beginning of it."""

    bounds: Bounds
    covered: tuple[tuple[int, int], ...]
    """(place in the order, field of the index) of what is in order, most significant first."""
    reverse: bool
    is_exact: bool
    """Whether entries come just as the documents are to come, but for cut values."""


def ordering_of(bounds: Bounds, order: Order) -> Ordering | None:
    """Return how an index within its bounds has an order, None when it has not.

    A document must have one entry within the bounds, at the place of what it sorts by: so arrays
    may be only where one value is asked for, and there they decide nothing of the order.
    """
    index, points = bounds.index, bounds.points
    if len(bounds.ranges) != 1 or index.multikey >> points:
        return None
    fixed = {
        path for bit, (path, _) in enumerate(index.fields[:points]) if not index.multikey >> bit & 1
    }
    wanted = [(place, path, way) for place, (path, way) in enumerate(order) if path not in fixed]
    fields = list(enumerate(index.fields))[points:]
    covered: list[tuple[int, int]] = []
    turns: set[bool] = set()
    for (place, path, way), (field, (own, direction)) in zip(wanted, fields, strict=False):
        if path != own or turns - {way != direction}:
            break
        turns.add(way != direction)
        covered.append((place, field))
    if not covered:
        return None
    (reverse,) = turns
    is_whole = len(covered) == len(wanted) == len(fields)
    return Ordering(bounds, tuple(covered), reverse, is_whole and not reverse)


class OrderedRead:
    """Reads the documents of an ordering; made before the state next changes."""

    def __init__(
        self, capture: Capture, collection: str, ordering: Ordering, behind: Place | None
    ) -> None:
        self._capture = capture
        self._collection = collection
        self._ordering = ordering
        self.bounds = ordering.bounds
        self._index = ordering.bounds.index
        ((low, high),) = ordering.bounds.ranges
        if behind is not None:
            low, high = self._cut(low, high, behind)
        self._entries = capture.entries(low, max(low, high), reverse=ordering.reverse)
        self._end = ordering.covered[-1][1] + 1
        self.keys = 0

    def _cut(self, low: bytes, high: bytes, behind: Place) -> tuple[bytes, bytes]:
        """Return the bounds of what comes at a place or behind it."""
        key = self._ordering.bounds.base
        for place, field in self._ordering.covered:
            part = part_prefix(behind.values[place], self._index.fields[field][1])
            key += part
            if len(part) == PART_BYTES:
                break
        return (low, min(high, after(key))) if self._ordering.reverse else (max(low, key), high)

    def read(self, count: int) -> tuple[list[Row], bytes, bytes]:
        """Return the next documents, and the groups of the first and the last of them.

        Those of a group have no order among them.
        """
        rows: list[Row] = []
        first = last = b""
        for key, value in islice(self._entries, count):
            last = self._group(key, value)
            first = first or last
            rows.append(self._row(key, value))
        self.keys += len(rows)
        return rows, first, last

    def _group(self, key: bytes, value: bytes) -> bytes:
        end = entry_end(value, self._end, ordered=True)
        whole = entry_end(value, self._end)
        return key if self._ordering.is_exact and end == whole else key[:end]

    def _row(self, key: bytes, value: bytes) -> Row:
        index = self._index
        encoded = entry_id(key, value, len(index.fields), is_unique=index.unique)
        document_id = encoded.decode()
        stored = self._capture.row(self._collection, document_id)
        assert stored is not None, "an entry has its document"
        return self._capture.key(self._collection, document_id), stored
