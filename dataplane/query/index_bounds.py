"""What a filter says about the keys of an index.

Theory of operation. A field of an index is bounded by pairs of prefixes: a part of a key lies in
(low, high) when it is not before `low`, and what of it is as long as `high` is not behind that.
Bounds may take in too much, never too little: the filter is applied to whatever is found. So
values at the edges are always taken in, and long values bound by their first bytes.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Final

from dataplane.documents.index_definitions import meets, parse_partial, value_meets
from dataplane.documents.index_entries import entry_prefix
from dataplane.documents.index_keys import PART_BYTES, encode_value, inverted, tag_of
from dataplane.documents.types import IndexRecord
from dataplane.query.nodes import (
    Among,
    Condition,
    ElementMeets,
    Equal,
    Every,
    Node,
    OfType,
    Ordered,
    Some,
    Test,
)

RANGES_MAX: Final = 256
_SHOWN_MAX: Final = 10

type Path = tuple[str, ...]
type Interval = tuple[bytes, bytes]
type Conditions = dict[Path, list[Test]]


@dataclass(frozen=True, slots=True)
class Bounds:
    """The ranges of an index that hold every match."""

    index: IndexRecord
    ranges: tuple[tuple[bytes, bytes], ...]
    """From a key to before another, in order and apart from each other."""
    points: int
    """Leading fields that are each one of a few whole values."""
    has_range: bool
    tests: tuple[tuple[str, Test], ...]
    """What the bounds come from."""
    base: bytes
    """What all keys begin with when the points are one value each."""

    @property
    def rank(self) -> tuple[int, bool, bool]:
        """How much is known of the keys; more is better."""
        return self.points, self.has_range, self.index.unique

    @property
    def is_one_value(self) -> bool:
        """Whether all entries have the same values, and so are in the order of ids."""
        whole = self.points == len(self.index.fields) and not self.index.unique
        return whole and len(self.ranges) == 1

    def describe(self) -> list[dict[str, Any]]:
        """Return what `explain` says of the bounds."""
        return [{"field": path, **_shown(test)} for path, test in self.tests]


def conditions_of(where: Node) -> tuple[Conditions, list[Some]]:
    """Return the conditions that every match meets, and the alternatives among which it is."""
    conditions: Conditions = {}
    alternatives: list[Some] = []
    left = [where]
    while left:
        node = left.pop()
        match node:
            case Every(parts):
                left += reversed(parts)
            case Some((part,)):
                left.append(part)
            case Some():
                alternatives.append(node)
            case Condition(path, test) if path:
                conditions.setdefault(path, []).append(test)
            case _:
                pass
    return conditions, alternatives


def bounds_of(index: IndexRecord, conditions: Conditions) -> Bounds | str:
    """Return the bounds that conditions set to the keys of an index, or why it is of no use."""
    unsafe = _why_unsafe(index, conditions)
    if unsafe is not None:
        return unsafe
    prefixes = [b""]
    tests: list[tuple[str, Test]] = []
    points = 0
    ranges: list[Interval] | None = None
    for bit, (path, direction) in enumerate(index.fields):
        is_multikey = bool(index.multikey >> bit & 1)
        found = _field(conditions.get(tuple(path.split("."))), is_multikey=is_multikey)
        if found is None or len(prefixes) * len(found[0]) > RANGES_MAX:
            break
        intervals, used = found
        tests += [(path, test) for test in used]
        if direction == -1:
            intervals = [(inverted(high), inverted(low)) for low, high in reversed(intervals)]
        if not all(low == high and len(low) < PART_BYTES for low, high in intervals):
            ranges = [
                (prefix + low, prefix + high) for prefix in prefixes for low, high in intervals
            ]
            break
        prefixes = [prefix + low for prefix in prefixes for low, _ in intervals]
        points += 1
    if points == 0 and ranges is None and index.partial is None:
        return "the filter says nothing about its first field"
    own = entry_prefix(index.id)
    has_range = ranges is not None
    if ranges is None:
        ranges = [(prefix, prefix) for prefix in prefixes]
    keys = [(own + low, after(own + high)) for low, high in ranges]
    return Bounds(index, tuple(keys), points, has_range, tuple(tests), own + (prefixes or [b""])[0])


def everything(index: IndexRecord) -> Bounds:
    """Return the bounds of all entries of an index."""
    own = entry_prefix(index.id)
    return Bounds(index, ((own, after(own)),), points=0, has_range=False, tests=(), base=own)


def after(prefix: bytes) -> bytes:
    """Return the first key behind all that begin with a prefix, which has a byte below 255."""
    stripped = prefix.rstrip(b"\xff")
    return stripped[:-1] + bytes([stripped[-1] + 1])


def part_prefix(value: Any, direction: int) -> bytes:
    """Return what the part of every entry begins with whose value equals."""
    data = encode_value(value)[:PART_BYTES]
    return data if direction == 1 else inverted(data)


# --- One field ------------------------------------------------------------------------------------


def _field(
    tests: list[Test] | None, *, is_multikey: bool
) -> tuple[list[Interval], list[Test]] | None:
    """Return the intervals of a field, and the tests that they come from."""
    known = [(found, test) for test in tests or () if (found := _intervals(test)) is not None]
    if not known:
        return None
    if is_multikey:
        # Each test may be met by another value of the array: only one of them can be used.
        intervals, test = min(known, key=lambda item: _width(item[0]))
        return intervals, [test]
    intervals = known[0][0]
    for further, _ in known[1:]:
        intervals = _intersection(intervals, further)
    return intervals, [test for _, test in known]


def _width(intervals: list[Interval]) -> tuple[bool, int]:
    return any(low != high for low, high in intervals), len(intervals)


def _intervals(test: Test) -> list[Interval] | None:
    """Return where the values are that pass a test, None when it says nothing of that."""
    match test:
        case Equal(value):
            return [_point(value)]
        case Among(values):
            return sorted({_point(value) for value in values})
        case Ordered(operator, value):
            kind = bytes([tag_of(value)])
            edge = encode_value(value)[:PART_BYTES]
            return [(edge, kind)] if operator in {"$gt", "$gte"} else [(kind, edge)]
        case ElementMeets(part):
            found = _field(_element_tests(part), is_multikey=False)
            return None if found is None else found[0]
        case _:
            return None


def _element_tests(part: Node) -> list[Test]:
    """Return tests that one and the same element passes; of elements of it there are no entries."""
    tests: list[Test] = []
    left = [part]
    while left:
        node = left.pop()
        if isinstance(node, Every):
            left += node.parts
        elif isinstance(node, Condition) and not isinstance(node.test, ElementMeets):
            tests.append(node.test)
    return tests


def _point(value: Any) -> Interval:
    data = encode_value(value)[:PART_BYTES]
    return data, data


def _intersection(left: list[Interval], right: list[Interval]) -> list[Interval]:
    found = [
        (max(low, other_low), min(high, other_high, key=after))
        for low, high in left
        for other_low, other_high in right
    ]
    return sorted({(low, high) for low, high in found if low < after(high)})


# --- Which indexes hold every match ---------------------------------------------------------------


def _why_unsafe(index: IndexRecord, conditions: Conditions) -> str | None:
    if not index.fields:
        return "it has no entries to find documents by"
    if index.partial is not None:
        for path, operator, operand in parse_partial(index.partial):
            tests = conditions.get(path, ())
            if not any(_implies(test, operator, operand) for test in tests):
                return "the filter does not imply that of the partial index"
    if index.sparse:
        paths = [tuple(path.split(".")) for path, _ in index.fields]
        tests_of = [test for path in paths for test in conditions.get(path, ())]
        if not any(_needs_presence(test) for test in tests_of):
            return "it is sparse, and the filter fits documents without its fields"
    return None


def _needs_presence(test: Test) -> bool:
    """Say whether only a field that is there passes."""
    match test:
        case Equal(value):
            return value is not None
        case Among(values):
            return None not in values
        case _:
            return True


def _implies(test: Test, operator: str, operand: Any) -> bool:
    """Say whether every value that passes a test meets the operator of a partial index."""
    match test:
        case _ if operator == "$exists":
            return _needs_presence(test)
        case Equal(value):
            return _all_meet([value], operator, operand)
        case Among(values):
            return _all_meet(values, operator, operand)
        case OfType(kinds):
            return operator == "$type" and kinds <= _kinds(operand)
        case Ordered(own, value):
            return _ordered_implies(own, value, operator, operand)
        case _:
            return False


def _all_meet(values: Iterable[Any], operator: str, operand: Any) -> bool:
    # What equals null may be missing, which is of no type.
    is_fit = meets(operator, operand)
    return all(is_fit(value) and not (value is None and operator == "$type") for value in values)


def _kinds(name: str) -> frozenset[type]:
    samples: tuple[Any, ...] = (None, True, 0, 0.5, "", {}, [])
    return frozenset({type(sample) for sample in samples if value_meets(sample, "$type", name)})


def _ordered_implies(own: str, value: Any, operator: str, operand: Any) -> bool:
    """Say whether an order implies another: the same side, and an edge that lies within."""
    if operator not in {"$gt", "$gte", "$lt", "$lte"} or own[:3] != operator[:3]:
        return False
    if value_meets(value, operator, operand):
        return True
    # The edges are equal, and neither takes it in.
    closed = own[:3] + "e"
    return own == operator and value_meets(value, closed, operand)


def _shown(test: Test) -> dict[str, Any]:
    match test:
        case Equal(value):
            return {"$eq": value}
        case Among(values):
            shown: dict[str, Any] = {"$in": list(values[:_SHOWN_MAX])}
            return shown if len(values) <= _SHOWN_MAX else {**shown, "values": len(values)}
        case Ordered(operator, value):
            return {operator: value}
        case _:
            return {"$elemMatch": True}
