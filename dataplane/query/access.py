"""Which documents a query looks at: by id, by an index, or all of them.

Theory of operation. Nothing depends on the choice but time: whatever is found is filtered, and
comes in the order of ids, or of an index that has the order asked for. Estimates would need
statistics that are right; instead entries within the bounds are counted by reading them, up to a
number from which on looking at all documents would not take longer. Everything that may be read is
opened in the first step of a query, before the state changes.
"""

from collections.abc import Generator, Iterator
from dataclasses import dataclass
from functools import lru_cache
from itertools import chain, islice
from math import isqrt
from typing import Any, Final

from dataplane.documents.capture import Capture
from dataplane.documents.index_entries import entry_id
from dataplane.documents.tables import document_id
from dataplane.documents.types import IndexRecord
from dataplane.query.cursor import Place
from dataplane.query.index_bounds import Bounds, Conditions, bounds_of, conditions_of, everything
from dataplane.query.nodes import Node, Some
from dataplane.query.ordered import OrderedRead, ordering_of
from dataplane.query.planner import find_rows, plan_filter
from dataplane.query.shapes import shape_of
from dataplane.query.sorting import Order
from dataplane.query.work import Work

KEYS_MIN: Final = 100
"""So many entries are read before an index is given up, whatever the collection."""
PEEK: Final = 200
"""Entries read of each of several indexes to find the best."""
SOURCES_MAX: Final = 4
UNION_MAX: Final = 16
PLANS_MAX: Final = 256
_ID_BYTES: Final = 120
_KEYS_PER_UNIT: Final = 4
_SLICE_KEYS: Final = 1_000

type Row = tuple[bytes, bytes]


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """What a query wants of the documents that it looks at."""

    order: Order = ()
    """What the result is sorted by, where that is not the order of ids."""
    direction: int | None = 1
    """That of the ids, None when the result is sorted by something else."""
    count: int | None = None
    """How many matches are enough; None for all."""
    behind: Place | None = None


@lru_cache(PLANS_MAX)
def remembered(_shape: tuple[Any, ...]) -> list[int]:
    """Return where the index chosen for a shape of query is kept: nothing, or its number."""
    return []


class Source:
    """The entries within some bounds."""

    def __init__(self, capture: Capture, bounds: Bounds) -> None:
        self.bounds = bounds
        self._entries: Iterator[Row] = chain.from_iterable(
            [capture.entries(low, high) for low, high in bounds.ranges]
        )
        self.keys = 0
        self.is_read = False
        self.ids: set[bytes] = set()

    def read(self, count: int) -> None:
        """Read some more entries."""
        index = self.bounds.index
        fields, unique = len(index.fields), index.unique
        entries = list(islice(self._entries, count))
        self.keys += len(entries)
        self.is_read = len(entries) < count
        self.ids.update([entry_id(key, row, fields, is_unique=unique) for key, row in entries])


class Access:
    """The documents that one query looks at."""

    def __init__(
        self, capture: Capture, place: tuple[str, Node], wanted: Wanted, work: Work
    ) -> None:
        """Choose, and open what may be read; `place` is a collection and a filter."""
        self._capture, self._work, self._wanted = capture, work, wanted
        self._collection, where = place
        self._reverse = wanted.direction == -1
        self._plan = plan_filter(where)
        self._rejected: list[dict[str, str]] = []
        self._used: list[Bounds] = []
        self._sources: list[Source] = []
        self._is_union = self._is_known = False
        self._chosen: list[int] = []
        self._count = capture.count(self._collection)
        self._keys = 0
        self.ordered: OrderedRead | None = None
        """Documents in the order of the result, to be read instead if it is there."""
        self._one_value: Bounds | None = None
        if self._plan.ids is None:
            indexes = capture.indexes(self._collection)
            if indexes:
                self._consider(where, indexes)
        self._rows = self._open()

    # --- Choosing -------------------------------------------------------------------------------

    def _consider(self, where: Node, indexes: list[IndexRecord]) -> None:
        """Open what may turn out to be the best way."""
        shape = shape_of(where, self._wanted.order)
        ids = tuple([index.id for index in indexes])
        self._chosen = remembered((self._collection, ids, shape, self._count.bit_length()))
        conditions, alternatives = conditions_of(where)
        usable: list[Bounds] = []
        for index in indexes:
            found = bounds_of(index, conditions)
            if isinstance(found, Bounds):
                usable.append(found)
            else:
                self._rejected.append({"index": index.name, "reason": found})
        usable.sort(key=lambda bounds: (bounds.rank, -bounds.index.id), reverse=True)
        if self._wanted.order and self._order_by(usable, indexes, conditions):
            return
        known = [bounds for bounds in usable if bounds.index.id in self._chosen]
        self._is_known = bool(known)
        candidates = (known or usable)[:SOURCES_MAX]
        self._reject([bounds for bounds in usable if bounds not in candidates], "another is better")
        if len(candidates) == 1 and candidates[0].is_one_value and self._wanted.direction:
            self._one_value = candidates[0]
        elif usable:
            self._sources = [Source(self._capture, bounds) for bounds in candidates]
        else:
            self._sources = self._branches(indexes, conditions, alternatives)
            self._is_union = bool(self._sources)

    def _order_by(
        self, usable: list[Bounds], indexes: list[IndexRecord], conditions: Conditions
    ) -> bool:
        """Open an index that has the order; say whether nothing can be better."""
        bounded = {bounds.index.id for bounds in usable}
        whole = [
            everything(index)
            for index in indexes
            if index.id not in bounded and not index.sparse and index.partial is None
        ]
        for bounds in [*usable, *whole]:
            ordering = ordering_of(bounds, self._wanted.order)
            if ordering is None:
                continue
            is_best = bounds.points > 0 and bounds.rank >= usable[0].rank
            if is_best or self.ordered is None:
                read = OrderedRead(self._capture, self._collection, ordering, self._wanted.behind)
                self.ordered = read
            if is_best:
                others = [other for other in usable if other is not bounds]
                self._reject(others, "another has the order too")
                return True
        return False

    def _branches(
        self, indexes: list[IndexRecord], conditions: Conditions, alternatives: list[Some]
    ) -> list[Source]:
        """Return a source for each of some alternatives, one of which every match is among."""
        for alternative in alternatives:
            if len(alternative.parts) > UNION_MAX:
                continue
            best = [_best(indexes, conditions, part) for part in alternative.parts]
            found = [bounds for bounds in best if bounds is not None]
            if found and len(found) == len(best):
                return [Source(self._capture, bounds) for bounds in found]
        return []

    def _reject(self, others: list[Bounds], reason: str) -> None:
        self._rejected += [{"index": bounds.index.name, "reason": reason} for bounds in others]

    # --- Reading --------------------------------------------------------------------------------

    def _open(self) -> Iterator[Row]:
        """Open what is looked at without an index, or the entries that are in the order of ids."""
        behind = self._wanted.behind
        place = None if behind is None or self._wanted.direction is None else behind.id
        if self._one_value is not None:
            return self._by_one_value(self._one_value, place)
        plan = self._plan if place is None else self._plan.behind(place, reverse=self._reverse)
        rows = find_rows(self._capture, self._collection, plan, reverse=self._reverse)
        if place is None:
            return rows
        first = next(rows, None)
        if first is None or document_id(first[0]) == place:
            return rows
        return chain((first,), rows)

    def _by_one_value(self, bounds: Bounds, place: str | None) -> Iterator[Row]:
        ((low, high),) = bounds.ranges
        if place is not None and self._reverse:
            high = bounds.base + place.encode()
        elif place is not None:
            low = bounds.base + place.encode() + b"\0"
        entries = self._capture.entries(low, max(low, high), reverse=self._reverse)
        self._used = [bounds]
        return self._counted(entry[len(bounds.base) :] for entry, _ in entries)

    def _counted(self, ids: Iterator[bytes]) -> Iterator[Row]:
        for encoded in ids:
            self._keys += 1
            yield self._row(encoded.decode())

    def _row(self, document: str) -> Row:
        stored = self._capture.row(self._collection, document)
        assert stored is not None, "an entry has its document"
        return self._capture.key(self._collection, document), stored

    def rows(self) -> Generator[None, None, Iterator[Row]]:
        """Return the documents to look at, in the order of ids or the reverse."""
        if not self._sources:
            return self._rows
        sources = self._sources if self._is_union else [self._best_source()]
        ids = yield from self._gather(sources)
        if ids is None:
            self._chosen.clear()
            return self._rows
        self.ordered = None
        self._used = [source.bounds for source in sources]
        if not self._is_union:
            self._chosen[:] = [sources[0].bounds.index.id]
        return map(self._row, self._in_order(ids))

    def give_up_order(self) -> None:
        """Go back to looking at all documents: too few fit the filter for an order to help."""
        assert self.ordered is not None
        self._keys += self.ordered.keys
        self._reject([self.ordered.bounds], "its order has too few matches")
        self.ordered = None

    def _in_order(self, ids: set[bytes]) -> list[str]:
        behind = self._wanted.behind
        if behind is not None and self._wanted.direction is not None:
            place, reverse = behind.id.encode(), self._reverse
            ids = {name for name in ids if (name < place if reverse else name > place)}
        return [name.decode() for name in sorted(ids, reverse=self._reverse)]

    def _best_source(self) -> Source:
        """Return the source with the fewest entries, as far as a look at a few can tell."""
        if len(self._sources) == 1:
            return self._sources[0]
        for source in self._sources:
            source.read(PEEK)
        best = min(self._sources, key=lambda source: source.keys + (not source.is_read))
        others = [source.bounds for source in self._sources if source is not best]
        self._keys += sum([source.keys for source in self._sources if source is not best])
        self._reject(others, "another has fewer entries")
        return best

    def _gather(self, sources: list[Source]) -> Generator[None, None, set[bytes] | None]:
        """Return the ids within all bounds, None when they are too many to be worth it."""
        keys_max, before, held = self._keys_max(), self._keys, 0
        self._keys += sum([source.keys for source in sources])
        ids: set[bytes] = set()
        for source in sources:
            while not source.is_read:
                known = source.keys
                source.read(_SLICE_KEYS)
                self._keys += source.keys - known
                self._work.did((source.keys - known) // _KEYS_PER_UNIT)
                size = len(source.ids) * _ID_BYTES
                if self._keys - before > keys_max or not self._work.fits(size):
                    self._work.hold(-held, "/filter")
                    self._reject([source.bounds], f"more than {keys_max} entries")
                    return None
                if self._work.due():
                    yield
            ids |= source.ids
            self._work.hold(len(source.ids) * _ID_BYTES, "/filter")
            held += len(source.ids) * _ID_BYTES
        return ids

    def _keys_max(self) -> int:
        """Return from how many entries on another way is taken.

        A page is full after about `wanted * count / keys` documents of a scan, so entries beyond
        the square root are more work than that; to find all, an entry and its document cost about
        three documents of a scan.
        """
        wanted = self._wanted
        if self.ordered is not None:
            return max(KEYS_MIN, self._count // 10)
        if wanted.count is None or wanted.direction is None:
            return max(KEYS_MIN, self._count // 3)
        return max(KEYS_MIN, 4 * isqrt(wanted.count * self._count))

    # --- Telling --------------------------------------------------------------------------------

    @property
    def used(self) -> list[tuple[int, int]]:
        """Return (index, entries examined) of the indexes that led to documents."""
        if self.ordered is not None:
            return [(self.ordered.bounds.index.id, self.ordered.keys)]
        share = self._keys // max(1, len(self._used))
        return [(bounds.index.id, share) for bounds in self._used]

    def describe(self, documents: int) -> dict[str, Any]:
        """Return what `explain` says, after so many documents were looked at."""
        told: dict[str, Any]
        if self.ordered is not None:
            told = _told("index_scan", [self.ordered.bounds])
            told["keys_examined"] = self._keys + self.ordered.keys
        elif self._used:
            told = _told("index_union" if self._is_union else "index_scan", self._used)
            told["keys_examined"] = self._keys
        else:
            told = self._plan.describe()
            ids = self._plan.ids
            told["keys_examined"] = self._keys + (documents if ids is None else len(ids))
        told["choice"] = "cached" if self._is_known else "new"
        return {**told, "rejected": self._rejected}


def _best(indexes: list[IndexRecord], conditions: Conditions, part: Node) -> Bounds | None:
    """Return the best bounds of what meets conditions and one part of an alternative."""
    own, _ = conditions_of(part)
    merged = {path: [*conditions.get(path, []), *own.get(path, [])] for path in conditions | own}
    found = [bounds for index in indexes if isinstance(bounds := bounds_of(index, merged), Bounds)]
    return max(found, key=lambda bounds: (bounds.rank, -bounds.index.id), default=None)


def _told(stage: str, used: list[Bounds]) -> dict[str, Any]:
    if len(used) == 1:
        (bounds,) = used
        return {"stage": stage, "index": bounds.index.name, "bounds": bounds.describe()}
    scans = [{"index": bounds.index.name, "bounds": bounds.describe()} for bounds in used]
    return {"stage": stage, "indexes": scans}
