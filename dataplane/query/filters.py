"""From the JSON of a filter to its checked tree."""

from collections.abc import Callable, Mapping
from typing import Any, Final

import re2  # type: ignore[import-untyped]  # The wheel carries no stubs.

from dataplane.documents.values import escape_pointer
from dataplane.query.nodes import (
    Among,
    Condition,
    ElementFits,
    ElementMeets,
    Equal,
    Every,
    Matched,
    Negation,
    Node,
    OfType,
    Ordered,
    Present,
    Sized,
    Some,
    Test,
)
from dataplane.query.types import QueryError

type Path = tuple[str, ...]
type Place = tuple[str, int]
"""JSON Pointer and depth of nesting."""

DEPTH_MAX: Final = 20
CONDITIONS_MAX: Final = 200
PATH_PARTS_MAX: Final = 32
IN_MAX: Final = 1_000
REGEX_COUNT_MAX: Final = 32
REGEX_LENGTH_MAX: Final = 1_000
REGEX_MEMORY_BYTES: Final = 2 * 1024 * 1024

TYPES: Final[dict[str, tuple[type, ...]]] = {
    "null": (type(None),),
    "bool": (bool,),
    "int": (int,),
    "double": (float,),
    "number": (int, float),
    "string": (str,),
    "object": (dict,),
    "array": (list,),
}
_CONDITIONS_PER_UNIT: Final = 8
_LOGICAL: Final = ("$and", "$or", "$nor")
_NEVER: Final = Some(())


def fail(pointer: str, detail: str) -> QueryError:
    """Return the error of one place in the query."""
    return QueryError([(pointer, detail)])


def split_path(path: str, pointer: str) -> Path:
    """Split a dotted path.

    Raises:
        QueryError: The path is empty in some part or too long.
    """
    parts = tuple(path.split("."))
    if "" in parts or len(parts) > PATH_PARTS_MAX:
        raise fail(pointer, "not a valid path")
    return parts


def is_operators(operand: Any) -> bool:
    """Say whether an object is one of operators rather than a value."""
    return isinstance(operand, Mapping) and any(name.startswith("$") for name in operand)


class FilterParser:
    """Reads filters, counting their conditions."""

    def __init__(self) -> None:
        self.conditions = 0
        self._patterns = 0
        self._tests: dict[str, Callable[[Any, Place], Test]] = {
            "$eq": lambda value, _place: Equal(value),
            "$ne": lambda value, _place: Equal(value),
            "$in": self._among,
            "$nin": self._among,
            "$exists": self._present,
            "$type": self._of_type,
            "$size": self._sized,
            "$elemMatch": self._element,
        }

    @property
    def weight(self) -> int:
        """How many units of work the filters read so far take for one document."""
        return 1 + (self.conditions + 4 * self._patterns) // _CONDITIONS_PER_UNIT

    def filter(self, filter_: Any, place: Place) -> Node:
        """Return the tree of a filter object.

        Raises:
            QueryError: The filter is not valid.
        """
        pointer, depth = place
        if not isinstance(filter_, Mapping):
            raise fail(pointer, "an object is needed")
        if depth > DEPTH_MAX:
            raise fail(pointer, f"more than {DEPTH_MAX} levels")
        parts: list[Node] = []
        for name, operand in filter_.items():
            inner = (f"{pointer}/{escape_pointer(name)}", depth)
            if name in _LOGICAL:
                parts.append(self._logical(name, operand, inner))
            elif name.startswith("$"):
                raise fail(inner[0], "unknown operator")
            else:
                path = split_path(name, inner[0])
                parts.append(self._conditions(path, operand, inner))
        return Every(tuple(parts))

    def _logical(self, name: str, operand: Any, place: Place) -> Node:
        pointer, depth = place
        if not isinstance(operand, list) or not operand:
            raise fail(pointer, "an array of filters is needed")
        parts = tuple(
            [
                self.filter(part, (f"{pointer}/{index}", depth + 1))
                for index, part in enumerate(operand)
            ]
        )
        if name == "$and":
            return Every(parts)
        return Some(parts) if name == "$or" else Negation(Some(parts))

    def _conditions(self, path: Path, operand: Any, place: Place) -> Node:
        """Return what a value or an object of operators asks of a path."""
        pointer, depth = place
        if not is_operators(operand):
            return self._condition(path, Equal(operand), pointer)
        parts = [
            self._operator(path, (name, operand), (f"{pointer}/{escape_pointer(name)}", depth))
            for name in operand
        ]
        return Every(tuple(part for part in parts if part is not None))

    def _condition(self, path: Path, test: Test, pointer: str) -> Condition:
        self.conditions += 1
        if self.conditions > CONDITIONS_MAX:
            raise fail(pointer, f"more than {CONDITIONS_MAX} conditions")
        return Condition(path, test)

    def _operator(
        self, path: Path, named: tuple[str, Mapping[str, Any]], place: Place
    ) -> Node | None:
        name, operators = named
        value = operators[name]
        if name == "$options":
            if "$regex" not in operators:
                raise fail(place[0], "$options belongs to $regex")
            return None
        if name == "$regex":
            options = operators.get("$options", "")
            return self._condition(path, self._matched(value, options, place[0]), place[0])
        if name == "$not":
            return Negation(self._only_operators(path, value, place))
        if name == "$all":
            return self._all(path, value, place)
        return self._tested(path, name, value, place)

    def _tested(self, path: Path, name: str, value: Any, place: Place) -> Node:
        if name in {"$gt", "$gte", "$lt", "$lte"}:
            return self._ordered(path, name, value, place[0])
        build = self._tests.get(name)
        if build is None:
            raise fail(place[0], "unknown operator")
        condition = self._condition(path, build(value, place), place[0])
        negated = name in {"$ne", "$nin"} or (name == "$exists" and value is False)
        return Negation(condition) if negated else condition

    def _ordered(self, path: Path, name: str, value: Any, pointer: str) -> Node:
        if value is not None:
            return self._condition(path, Ordered(name, value), pointer)
        if name in {"$gte", "$lte"}:
            return self._condition(path, Equal(None), pointer)
        return _NEVER

    def _only_operators(self, path: Path, operand: Any, place: Place) -> Node:
        pointer, depth = place
        if depth > DEPTH_MAX:
            raise fail(pointer, f"more than {DEPTH_MAX} levels")
        if not isinstance(operand, Mapping) or not operand:
            raise fail(pointer, "an object of operators is needed")
        if not all(name.startswith("$") for name in operand):
            raise fail(pointer, "only operators are allowed here")
        return self._conditions(path, operand, (pointer, depth + 1))

    def _all(self, path: Path, operand: Any, place: Place) -> Node:
        """Return what `$all` asks: each may be met by another value that the path leads to."""
        pointer, depth = place
        parts: list[Node] = []
        for index, item in enumerate(_values(operand, pointer)):
            test: Test = Equal(item)
            if isinstance(item, Mapping) and list(item) == ["$elemMatch"]:
                test = self._element(item["$elemMatch"], (f"{pointer}/{index}/$elemMatch", depth))
            parts.append(self._condition(path, test, pointer))
        return Every(tuple(parts)) if parts else _NEVER

    def _among(self, operand: Any, place: Place) -> Among:
        return Among(tuple(_values(operand, place[0])))

    def _present(self, operand: Any, place: Place) -> Present:
        if not isinstance(operand, bool):
            raise fail(place[0], "true or false is needed")
        return Present()

    def _of_type(self, operand: Any, place: Place) -> OfType:
        names = operand if isinstance(operand, list) else [operand]
        if not names or any(not isinstance(name, str) or name not in TYPES for name in names):
            raise fail(place[0], f"a type is one of {', '.join(sorted(TYPES))}")
        return OfType(frozenset(kind for name in names for kind in TYPES[name]))

    def _sized(self, operand: Any, place: Place) -> Sized:
        if isinstance(operand, bool) or not isinstance(operand, int) or operand < 0:
            raise fail(place[0], "a number of elements is needed")
        return Sized(operand)

    def _element(self, operand: Any, place: Place) -> Test:
        pointer, depth = place
        if not isinstance(operand, Mapping):
            raise fail(pointer, "an object is needed")
        if operand and all(name.startswith("$") and name not in _LOGICAL for name in operand):
            return ElementMeets(self._only_operators((), operand, place))
        return ElementFits(self.filter(operand, (pointer, depth + 1)))

    def _matched(self, operand: Any, options: Any, pointer: str) -> Matched:
        if not isinstance(operand, str) or len(operand) > REGEX_LENGTH_MAX:
            raise fail(pointer, f"a pattern of at most {REGEX_LENGTH_MAX} characters is needed")
        if not isinstance(options, str) or not set(options) <= set("ims"):
            raise fail(pointer, "$options are letters out of i, m and s")
        self._patterns += 1
        if self._patterns > REGEX_COUNT_MAX:
            raise fail(pointer, f"more than {REGEX_COUNT_MAX} patterns")
        settings = re2.Options()
        settings.max_mem = REGEX_MEMORY_BYTES
        settings.log_errors = False
        pattern = f"(?{options}){operand}" if options else operand
        try:
            return Matched(re2.compile(pattern, settings).search)
        except re2.error as error:
            raise fail(pointer, f"not an RE2 pattern: {_reason(error)}") from error


def _reason(error: Exception) -> str:
    """Return what RE2 says, which it does in bytes."""
    said = error.args[0]
    return said.decode(errors="replace") if isinstance(said, bytes) else str(said)


def _values(operand: Any, pointer: str) -> list[Any]:
    if not isinstance(operand, list) or len(operand) > IN_MAX:
        raise fail(pointer, f"an array of at most {IN_MAX} values is needed")
    return operand
