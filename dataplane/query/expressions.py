"""Expressions of aggregation stages: parsed, checked, and written as Python."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, assert_never

from dataplane.documents.values import escape_pointer
from dataplane.query.compiler import Code, Root
from dataplane.query.filters import DEPTH_MAX, Path, Place, fail, split_path
from dataplane.query.functions import FUNCTIONS, bounded, is_true, object_of, reach

type Expression = FieldPath | Literal | Call | ObjectOf | ArrayOf

EXPRESSIONS_MAX: Final = 500
WHOLE: Final = "$$ROOT"
_LAZY: Final = {"$cond": (3, 3), "$ifNull": (2, 20), "$and": (0, 50), "$or": (0, 50)}
"""Functions that do not look at all of their arguments -> how many these may be."""


@dataclass(frozen=True, slots=True)
class FieldPath:
    """What a path leads to; without parts, the whole document."""

    path: Path


@dataclass(frozen=True, slots=True)
class Literal:
    """A value."""

    value: Any


@dataclass(frozen=True, slots=True)
class Call:
    """A function of other expressions."""

    name: str
    arguments: tuple[Expression, ...]
    pointer: str


@dataclass(frozen=True, slots=True)
class ObjectOf:
    """An object; members that are missing are left out."""

    members: tuple[tuple[str, Expression], ...]
    pointer: str


@dataclass(frozen=True, slots=True)
class ArrayOf:
    """An array; elements that are missing are null."""

    items: tuple[Expression, ...]
    pointer: str


class ExpressionParser:
    """Reads expressions, counting them."""

    def __init__(self) -> None:
        self.count = 0

    def take(self, pointer: str) -> None:
        """Count one expression, or something as costly.

        Raises:
            QueryError: There are too many.
        """
        self.count += 1
        if self.count > EXPRESSIONS_MAX:
            raise fail(pointer, f"more than {EXPRESSIONS_MAX} expressions")

    def expression(self, value: Any, place: Place) -> Expression:
        """Return the tree of an expression.

        Raises:
            QueryError: It is not valid.
        """
        pointer, depth = place
        self.take(pointer)
        if depth > DEPTH_MAX:
            raise fail(pointer, f"more than {DEPTH_MAX} levels")
        if isinstance(value, str) and value.startswith("$"):
            return FieldPath(field_path(value, pointer))
        if isinstance(value, list):
            return ArrayOf(self._each(value, place), pointer)
        if not isinstance(value, Mapping):
            return Literal(value)
        if any(name.startswith("$") for name in value):
            return self._call(value, place)
        members = [
            (_plain_name(name, f"{pointer}/{escape_pointer(name)}"), item)
            for name, item in value.items()
        ]
        items = self._each([item for _, item in members], place)
        return ObjectOf(tuple(zip(value, items, strict=True)), pointer)

    def _each(self, values: list[Any], place: Place) -> tuple[Expression, ...]:
        pointer, depth = place
        return tuple(
            [
                self.expression(value, (f"{pointer}/{index}", depth + 1))
                for index, value in enumerate(values)
            ]
        )

    def _call(self, value: Mapping[str, Any], place: Place) -> Expression:
        name = next(iter(value))
        pointer = f"{place[0]}/{escape_pointer(name)}"
        if len(value) != 1:
            raise fail(place[0], "one function is needed, and nothing beside it")
        operand = value[name]
        if name == "$literal":
            return Literal(operand)
        if name in _LAZY:
            fewest, most = _LAZY[name]
        elif name in FUNCTIONS:
            fewest, most = FUNCTIONS[name].arguments
        else:
            raise fail(pointer, "unknown function")
        given = self._arguments(name, operand, pointer)
        if not fewest <= len(given) <= most:
            counts = f"{fewest}" if fewest == most else f"{fewest} to {most}"
            raise fail(pointer, f"{counts} arguments are needed")
        return Call(name, self._each(given, (pointer, place[1])), pointer)

    def _arguments(self, name: str, operand: Any, pointer: str) -> list[Any]:
        if name == "$cond" and isinstance(operand, Mapping):
            if set(operand) != {"if", "then", "else"}:
                raise fail(pointer, "if, then and else are needed")
            return [operand["if"], operand["then"], operand["else"]]
        return operand if isinstance(operand, list) else [operand]


def field_path(value: str, pointer: str) -> Path:
    """Return the path in `$a.b`.

    Raises:
        QueryError: It is not valid.
    """
    if value == WHOLE:
        return ()
    if value.startswith("$$"):
        raise fail(pointer, f"{WHOLE} is the only variable")
    return split_path(value[1:], pointer)


def _plain_name(name: str, pointer: str) -> str:
    if not name or "." in name:
        raise fail(pointer, "a name without dots is needed")
    return name


def expression_roots(expression: Expression) -> set[str] | None:
    """Return the top-level names that an expression reads, None for all."""
    match expression:
        case FieldPath(path):
            return {path[0]} if path else None
        case Literal():
            return set()
        case Call(_, parts, _) | ArrayOf(parts, _):
            return all_roots(parts)
        case ObjectOf(members, _):
            return all_roots(tuple(item for _, item in members))
        case _:
            assert_never(expression)


def all_roots(expressions: tuple[Expression, ...]) -> set[str] | None:
    """Return the top-level names that any of the expressions reads, None for all."""
    found: set[str] = set()
    for expression in expressions:
        names = expression_roots(expression)
        if names is None:
            return None
        found |= names
    return found


def expression_text(  # noqa: PLR0911 - a table
    code: Code, expression: Expression, root: Root
) -> str:
    """Return the text of an expression over documents; `root("")` is the document itself."""
    match expression:
        case FieldPath(path):
            if len(path) <= 1:
                return root("".join(path))
            return f"{code.bind(reach)}({root(path[0])}, {code.bind(path[1:])})"
        case Literal(value):
            return code.bind(value)
        case Call(name, arguments, pointer):
            texts = [expression_text(code, argument, root) for argument in arguments]
            if name in _LAZY:
                return _lazy_text(code, name, texts)
            return f"{code.bind(FUNCTIONS[name].at(pointer))}({', '.join(texts)})"
        case ObjectOf(members, pointer):
            texts = [expression_text(code, item, root) for _, item in members]
            names = code.bind(tuple(name for name, _ in members))
            made = f"{code.bind(object_of)}({names}, ({''.join(f'{text}, ' for text in texts)}))"
            return f"{code.bind(bounded)}({made}, {code.bind(pointer)})"
        case ArrayOf(items, pointer):
            texts = [_present(code, expression_text(code, item, root)) for item in items]
            return f"{code.bind(bounded)}([{', '.join(texts)}], {code.bind(pointer)})"
        case _:
            assert_never(expression)


def _present(code: Code, text: str) -> str:
    name = code.fresh()
    return f"(None if ({name} := {text}) is MISSING else {name})"


def _lazy_text(code: Code, name: str, texts: list[str]) -> str:
    if name == "$ifNull":
        result = texts[-1]
        for text in reversed(texts[:-1]):
            value = code.fresh()
            given = f"({value} := {text}) is not None and {value} is not MISSING"
            result = f"({value} if {given} else {result})"
        return result
    truth = code.bind(is_true)
    if name == "$cond":
        condition, yes, no = texts
        return f"({yes} if {truth}({condition}) else {no})"
    word, empty = (" and ", "True") if name == "$and" else (" or ", "False")
    return f"({word.join(f'{truth}({text})' for text in texts)})" if texts else empty
