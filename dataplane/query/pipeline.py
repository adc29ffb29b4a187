"""From the JSON of an aggregation to its checked stages."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from dataplane.documents.errors import Refusal
from dataplane.documents.values import check_readable_name, escape_pointer
from dataplane.query.accumulators import ACCUMULATORS
from dataplane.query.expressions import (
    Expression,
    ExpressionParser,
    Literal,
    all_roots,
    field_path,
)
from dataplane.query.filters import FilterParser, Path, fail, split_path
from dataplane.query.nodes import Node, roots
from dataplane.query.parser import parse_sort
from dataplane.query.sorting import Order
from dataplane.query.types import QueryError

type Stage = Match | Project | Group | Sort | Limit | Skip | Unwind | Count | Lookup

STAGE_NAMES: Final = (
    "$match",
    "$project",
    "$group",
    "$sort",
    "$limit",
    "$skip",
    "$unwind",
    "$count",
    "$lookup",
)
STAGES_MAX: Final = 50
FIELDS_MAX: Final = 200
COUNT_MAX: Final = 2**63 - 1


@dataclass(frozen=True, slots=True)
class Match:
    """Keep the documents that a filter fits."""

    where: Node
    pointer: str


@dataclass(frozen=True, slots=True)
class Project:
    """Keep some fields, or all but some, and add computed ones."""

    paths: tuple[str, ...]
    keeps: bool
    """Whether the paths are kept, or left out."""
    computed: tuple[tuple[Path, Expression], ...]
    pointer: str


@dataclass(frozen=True, slots=True)
class Group:
    """Gather the documents with one key."""

    key: Expression
    fields: tuple[tuple[str, str, Expression, str], ...]
    """(name, accumulator, expression, pointer)."""
    pointer: str


@dataclass(frozen=True, slots=True)
class Sort:
    """Put the documents in order."""

    order: Order
    pointer: str


@dataclass(frozen=True, slots=True)
class Limit:
    """Keep the first documents."""

    count: int


@dataclass(frozen=True, slots=True)
class Skip:
    """Leave out the first documents."""

    count: int


@dataclass(frozen=True, slots=True)
class Unwind:
    """Make a document of each element of an array."""

    path: Path
    index: Path | None
    """Where the place of the element goes."""
    keeps_empty: bool


@dataclass(frozen=True, slots=True)
class Count:
    """Replace the documents by their number."""

    name: str


@dataclass(frozen=True, slots=True)
class Lookup:
    """Add the documents of another collection that agree in a field."""

    collection: str
    local: Path
    foreign: Path
    into: Path
    pointer: str


class PipelineParser:
    """Reads the stages of one aggregation."""

    def __init__(self) -> None:
        self.filters = FilterParser()
        self.expressions = ExpressionParser()
        self._stages: dict[str, Callable[[Any, str], Stage]] = {
            "$match": self._match,
            "$project": self._project,
            "$group": self._group,
            "$sort": _sort,
            "$limit": lambda value, pointer: Limit(_number(value, pointer, least=1)),
            "$skip": lambda value, pointer: Skip(_number(value, pointer, least=0)),
            "$unwind": _unwind,
            "$count": lambda value, pointer: Count(_name(value, pointer)),
            "$lookup": _lookup,
        }

    def pipeline(self, value: Any) -> tuple[Stage, ...]:
        """Return the checked stages.

        Raises:
            QueryError: With the first fault of each stage.
        """
        if not isinstance(value, list) or len(value) > STAGES_MAX:
            raise fail("/pipeline", f"an array of at most {STAGES_MAX} stages is needed")
        stages: list[Stage] = []
        errors: list[tuple[str, str]] = []
        for index, item in enumerate(value):
            try:
                stages.append(self._stage(item, f"/pipeline/{index}"))
            except QueryError as error:
                errors += [(each["pointer"], each["detail"]) for each in error.errors]
        if errors:
            raise QueryError(errors)
        return tuple(stages)

    def _stage(self, item: Any, pointer: str) -> Stage:
        if not isinstance(item, Mapping) or len(item) != 1:
            raise fail(pointer, "an object with the name of one stage is needed")
        name, value = next(iter(item.items()))
        place = f"{pointer}/{escape_pointer(name)}"
        build = self._stages.get(name)
        if build is None:
            raise fail(place, f"a stage is one of {', '.join(STAGE_NAMES)}")
        return build(value, place)

    def _match(self, value: Any, pointer: str) -> Match:
        return Match(self.filters.filter(value, (pointer, 1)), pointer)

    def _project(self, value: Any, pointer: str) -> Project:
        paths: dict[bool, list[str]] = {True: [], False: []}
        computed: list[tuple[Path, Expression]] = []
        names = _flat(value, pointer)
        for path, (item, place) in names.items():
            parts = split_path(path, place)
            if isinstance(item, bool) or (isinstance(item, int | float) and item in {0, 1}):
                paths[bool(item)].append(path)
            else:
                computed.append((parts, self.expressions.expression(item, (place, 1))))
        _check_apart([tuple(path.split(".")) for path in names], pointer)
        kept, dropped = paths[True], paths[False]
        if (kept or computed) and dropped and dropped != ["_id"]:
            raise fail(pointer, "fields are either kept or left out; only _id may be both")
        if not kept and not computed:
            return Project(tuple(dropped), keeps=False, computed=(), pointer=pointer)
        if not dropped and "_id" not in names:
            kept.append("_id")
        return Project(tuple(kept), keeps=True, computed=tuple(computed), pointer=pointer)

    def _group(self, value: Any, pointer: str) -> Group:
        if not isinstance(value, Mapping) or "_id" not in value or len(value) > FIELDS_MAX:
            raise fail(pointer, f"an object with _id and at most {FIELDS_MAX} fields is needed")
        fields: list[tuple[str, str, Expression, str]] = []
        for name, item in value.items():
            place = f"{pointer}/{escape_pointer(name)}"
            if name != "_id":
                accumulator, expression = self._accumulated(item, place)
                fields.append((_name(name, place), accumulator, expression, place))
        key = self.expressions.expression(value["_id"], (f"{pointer}/_id", 1))
        return Group(key, tuple(fields), pointer)

    def _accumulated(self, item: Any, pointer: str) -> tuple[str, Expression]:
        if not isinstance(item, Mapping) or len(item) != 1:
            raise fail(pointer, "an object with one accumulator is needed")
        accumulator, operand = next(iter(item.items()))
        self.expressions.take(pointer)
        place = f"{pointer}/{escape_pointer(accumulator)}"
        if accumulator not in ACCUMULATORS:
            raise fail(place, f"an accumulator is one of {', '.join(ACCUMULATORS)}")
        if accumulator == "$count":
            if operand != {}:
                raise fail(place, "an empty object is needed")
            return accumulator, Literal(None)
        return accumulator, self.expressions.expression(operand, (place, 1))


def _flat(value: Any, pointer: str) -> dict[str, tuple[Any, str]]:
    """Return the fields of a `$project` under dotted paths, with their pointers."""
    if not isinstance(value, Mapping) or not value:
        raise fail(pointer, "an object with a field is needed")
    found: dict[str, tuple[Any, str]] = {}
    left: list[tuple[str, Any, str]] = [("", value, pointer)]
    while left:
        before, fields, above = left.pop(0)
        for name, item in fields.items():
            place = f"{above}/{escape_pointer(name)}"
            path = f"{before}{name}"
            if any(part.startswith("$") for part in split_path(path, place)):
                raise fail(place, "not a valid path")
            if isinstance(item, Mapping) and item and not any(key[:1] == "$" for key in item):
                left.append((f"{path}.", item, place))
            else:
                found[path] = item, place
        if len(found) + len(left) > FIELDS_MAX:
            raise fail(pointer, f"more than {FIELDS_MAX} fields")
    return found


def _check_apart(paths: list[Path], pointer: str) -> None:
    """Refuse a path that lies inside another."""
    known = set(paths)
    for path in paths:
        if any(path[:depth] in known for depth in range(1, len(path))):
            raise fail(pointer, f"{'.'.join(path)} lies inside another field named here")


def _sort(value: Any, pointer: str) -> Sort:
    errors: list[tuple[str, str]] = []
    order = parse_sort(value, pointer, errors)
    if not order and not errors:
        errors = [(pointer, "a field is needed")]
    if errors:
        raise QueryError(errors)
    return Sort(order, pointer)


def _unwind(value: Any, pointer: str) -> Unwind:
    options = value if isinstance(value, Mapping) else {"path": value}
    _check_known(options, {"path", "includeArrayIndex", "preserveNullAndEmptyArrays"}, pointer)
    path, index = options.get("path"), options.get("includeArrayIndex")
    keeps_empty = options.get("preserveNullAndEmptyArrays", False)
    if not isinstance(path, str) or not path.startswith("$") or path.startswith("$$"):
        raise fail(pointer, "a path that starts with $ is needed")
    if not isinstance(keeps_empty, bool):
        raise fail(f"{pointer}/preserveNullAndEmptyArrays", "true or false is needed")
    place = None if index is None else split_path(_text(index, pointer), pointer)
    return Unwind(field_path(path, pointer), place, keeps_empty)


def _lookup(value: Any, pointer: str) -> Lookup:
    if not isinstance(value, Mapping):
        raise fail(pointer, "an object is needed")
    needed = ("from", "localField", "foreignField", "as")
    _check_known(value, set(needed), pointer)
    for name in needed:
        if not isinstance(value.get(name), str):
            raise fail(f"{pointer}/{name}", "a string is needed")
    try:
        check_readable_name(value["from"])
    except Refusal as refusal:
        raise fail(f"{pointer}/from", refusal.errors[0][1]) from refusal
    paths = [split_path(value[name], f"{pointer}/{name}") for name in needed[1:]]
    return Lookup(value["from"], paths[0], paths[1], paths[2], pointer)


def _check_known(value: Mapping[str, Any], known: set[str], pointer: str) -> None:
    unknown = sorted(set(value) - known)
    if unknown:
        raise fail(f"{pointer}/{escape_pointer(unknown[0])}", "unknown field")


def _number(value: Any, pointer: str, *, least: int) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= COUNT_MAX:
        raise fail(pointer, f"a number from {least} is needed")
    return value


def _text(value: Any, pointer: str) -> str:
    if not isinstance(value, str):
        raise fail(pointer, "a string is needed")
    return value


def _name(value: Any, pointer: str) -> str:
    if not isinstance(value, str) or not value or value.startswith("$") or "." in value:
        raise fail(pointer, "a name without dots that does not start with $ is needed")
    return value


def needed_names(stages: tuple[Stage, ...]) -> set[str] | None:
    """Return the top-level fields of stored documents that the stages read, None for all."""
    found: set[str] = set()
    for stage in stages:
        names, is_all = stage_names(stage)
        if names is None:
            return None
        found |= names
        if is_all:
            return found
    return None


def stage_names(  # noqa: PLR0911 - a table
    stage: Stage,
) -> tuple[set[str] | None, bool]:
    """Return what a stage reads, and whether later stages see nothing else of its input."""
    match stage:
        case Match(where):
            return roots(where), False
        case Sort(order):
            return {path.split(".", 1)[0] for path, _ in order}, False
        case Unwind(path, index):
            return {path[0]} if index is None else {path[0], index[0]}, False
        case Lookup(local=local, into=into):
            return {local[0], into[0]}, False
        case Project(paths, keeps, computed):
            names = all_roots(tuple(expression for _, expression in computed))
            if names is not None:
                names |= {path.split(".", 1)[0] for path in paths}
            return names, keeps
        case Group(key, fields):
            return all_roots((key, *[expression for _, _, expression, _ in fields])), True
        case Count():
            return set(), True
        case Limit() | Skip():
            return set(), False
