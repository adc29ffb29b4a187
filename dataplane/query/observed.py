"""What the queries of this node were like: shapes, how long they took, and which index would help.

All of it is one node's own, in bounded memory, and holds no value that anybody compared with: a
shape names fields and operators only (`shapes.py`).
"""

from collections import OrderedDict
from dataclasses import dataclass, field
from typing import Any, Final

from dataplane.documents.types import IndexRecord
from dataplane.query.index_bounds import conditions_of
from dataplane.query.nodes import Among, Equal, Node, Ordered
from dataplane.query.shapes import shape_of
from dataplane.query.sorting import Order
from dataplane.query.traces import Trace

SHAPES_MAX: Final = 500
INDEXES_MAX: Final = 2_000
WAYS_MAX: Final = 8
COUNT_MIN: Final = 5
"""Queries of a shape from which on it is worth an index."""
EXAMINED_MIN: Final = 200
"""Documents that they look at on average."""
RATIO_MIN: Final = 5
"""Documents looked at for each that is returned."""
PROPOSALS_MAX: Final = 10
FIELDS_MAX: Final = 8
SCAN: Final = "scan"
_BUCKETS: Final = 72
_FIRST_MS: Final = 0.02
_GROWTH: Final = 1.25


def trace_of(
    asked: tuple[Node, Order], used: list[tuple[int, int]], documents: int, returned: int
) -> Trace:
    """Return the trace of a query; `asked` is its filter and what it sorts by."""
    where, order = asked
    return Trace(shape_of(where, order), _suited(where, order), tuple(used), documents, returned)


def _suited(where: Node, order: Order) -> tuple[tuple[str, int], ...]:
    """Return fields of one value first, then those of the order, then one of a range."""
    conditions, _ = conditions_of(where)
    paths = {".".join(path): tests for path, tests in conditions.items() if path != ("_id",)}
    equal = [p for p, tests in paths.items() if any(isinstance(t, Equal | Among) for t in tests)]
    fields = dict.fromkeys(sorted(equal), 1)
    fields |= {path: way for path, way in order if path not in fields and path != "_id"}
    for path in sorted(paths):
        if path not in fields and any(isinstance(test, Ordered) for test in paths[path]):
            fields[path] = 1
            break
    return tuple(fields.items())[:FIELDS_MAX]


@dataclass(slots=True)
class Figures:
    """What queries took that found their documents in one way."""

    count: int = 0
    examined: int = 0
    returned: int = 0
    buckets: list[int] = field(default_factory=lambda: [0] * _BUCKETS)

    def add(self, trace: Trace, elapsed_ms: float) -> None:
        """Count one query."""
        self.count += 1
        self.examined += trace.documents
        self.returned += trace.returned
        bucket, edge = 0, _FIRST_MS
        while elapsed_ms > edge and bucket < _BUCKETS - 1:
            bucket, edge = bucket + 1, edge * _GROWTH
        self.buckets[bucket] += 1

    def percentile(self, share: float) -> float:
        """Return the time that a share of the queries took at most, to a quarter."""
        left = share * self.count
        for bucket, count in enumerate(self.buckets):
            left -= count
            if left <= 0:
                return round(_FIRST_MS * _GROWTH**bucket, 3)
        return 0.0

    def told(self) -> dict[str, Any]:
        """Return the figures as JSON."""
        return {
            "count": self.count,
            "p50_ms": self.percentile(0.5),
            "p99_ms": self.percentile(0.99),
            "examined": self.examined,
            "returned": self.returned,
        }


@dataclass(slots=True)
class Seen:
    """The queries of one shape of one collection, by the way in which they went."""

    fields: tuple[tuple[str, int], ...]
    ways: dict[str, Figures] = field(default_factory=dict)


class QueryLog:
    """The shapes seen most recently, and how often each index was used."""

    def __init__(self) -> None:
        self._seen: OrderedDict[tuple[str, str], Seen] = OrderedDict()
        self._usage: OrderedDict[int, list[int]] = OrderedDict()

    def note(self, collection: str, trace: Trace, names: dict[int, str], elapsed_ms: float) -> None:
        """Count one query; `names` are those of the indexes of its collection."""
        key = collection, trace.shape
        seen = self._seen.setdefault(key, Seen(trace.fields))
        self._seen.move_to_end(key)
        if len(self._seen) > SHAPES_MAX:
            self._seen.popitem(last=False)
        way = " + ".join(sorted({names.get(index, SCAN) for index, _ in trace.used})) or SCAN
        if way not in seen.ways and len(seen.ways) >= WAYS_MAX:
            del seen.ways[next(iter(seen.ways))]
        seen.ways.setdefault(way, Figures()).add(trace, elapsed_ms)
        for index, keys in trace.used:
            usage = self._usage.setdefault(index, [0, 0])
            self._usage.move_to_end(index)
            usage[0] += 1
            usage[1] += keys
        while len(self._usage) > INDEXES_MAX:
            self._usage.popitem(last=False)

    def usage(self, index: int) -> dict[str, int]:
        """Return how often an index was used here, and how many of its entries were read."""
        used, keys = self._usage.get(index, (0, 0))
        return {"used": used, "keys_examined": keys}

    def advice(self, collection: str, indexes: list[IndexRecord]) -> dict[str, Any]:
        """Return the shapes of a collection, indexes to make, and what those there are did."""
        seen = {shape: found for (name, shape), found in self._seen.items() if name == collection}
        shapes = [
            {"shape": shape, "ways": {way: figures.told() for way, figures in found.ways.items()}}
            for shape, found in seen.items()
        ]
        shapes.sort(key=_weight, reverse=True)
        return {
            "shapes": shapes,
            "proposals": _proposals(seen, indexes),
            "effects": _effects(seen),
        }


def _weight(shape: dict[str, Any]) -> int:
    return sum(figures["examined"] + figures["count"] for figures in shape["ways"].values())


def _proposals(seen: dict[str, Seen], indexes: list[IndexRecord]) -> list[dict[str, Any]]:
    wanted: dict[tuple[tuple[str, int], ...], list[tuple[str, Figures]]] = {}
    for shape, found in seen.items():
        figures = found.ways.get(SCAN)
        if figures is None or not found.fields or not _is_costly(figures):
            continue
        if not any(index.fields[: len(found.fields)] == found.fields for index in indexes):
            wanted.setdefault(found.fields, []).append((shape, figures))
    proposals = [
        {
            "fields": dict(fields),
            "shapes": [shape for shape, _ in shapes],
            "examined": sum(figures.examined for _, figures in shapes),
            "reason": _reason([figures for _, figures in shapes]),
        }
        for fields, shapes in wanted.items()
    ]
    proposals.sort(key=lambda proposal: int(str(proposal["examined"])), reverse=True)
    return proposals[:PROPOSALS_MAX]


def _is_costly(figures: Figures) -> bool:
    is_often = figures.count >= COUNT_MIN
    is_much = figures.examined >= EXAMINED_MIN * figures.count
    return is_often and is_much and figures.examined >= RATIO_MIN * figures.returned


def _reason(figures: list[Figures]) -> str:
    count = sum(found.count for found in figures)
    examined = sum(found.examined for found in figures) // count
    returned = sum(found.returned for found in figures) / count
    return (
        f"{count} queries looked at {examined} documents each, without an index, "
        f"to return {round(returned, 1):g}"
    )


def _effects(seen: dict[str, Seen]) -> list[dict[str, Any]]:
    """Return the figures of shapes that were asked both without an index and by one."""
    return [
        {"shape": shape, "index": way, "before": before.told(), "after": after.told()}
        for shape, found in seen.items()
        if (before := found.ways.get(SCAN)) is not None
        for way, after in found.ways.items()
        if way != SCAN
    ]
