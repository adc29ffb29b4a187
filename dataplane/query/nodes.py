"""What a checked filter says, as a tree: the parser builds it, the compiler writes code from it."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

type Node = Every | Some | Negation | Condition
type Test = Comparison | Present | OfType | Matched | Sized | ElementMeets | ElementFits
type Comparison = Equal | Among | Ordered


@dataclass(frozen=True, slots=True)
class Every:
    """All of the parts hold; true when there are none."""

    parts: tuple[Node, ...]


@dataclass(frozen=True, slots=True)
class Some:
    """One of the parts holds; false when there are none."""

    parts: tuple[Node, ...]


@dataclass(frozen=True, slots=True)
class Negation:
    """The part does not hold."""

    part: Node


@dataclass(frozen=True, slots=True)
class Condition:
    """A value that the path leads to passes the test; without a path, the element at hand does.

    An array passes by itself or by one of its elements, except where it is the element at hand.
    """

    path: tuple[str, ...]
    test: Test


@dataclass(frozen=True, slots=True)
class Equal:
    """The value equals; null equals a missing field."""

    value: Any


@dataclass(frozen=True, slots=True)
class Among:
    """The value equals one of several."""

    values: tuple[Any, ...]


@dataclass(frozen=True, slots=True)
class Ordered:
    """The value is of the same type and is `$gt`, `$gte`, `$lt` or `$lte`."""

    operator: str
    value: Any


@dataclass(frozen=True, slots=True)
class Present:
    """There is a value."""


@dataclass(frozen=True, slots=True)
class OfType:
    """The value has one of these types."""

    kinds: frozenset[type]


@dataclass(frozen=True, slots=True)
class Matched:
    """The value is a string in which the search finds something."""

    search: Callable[[str], Any]


@dataclass(frozen=True, slots=True)
class Sized:
    """The value is an array of so many elements."""

    count: int


@dataclass(frozen=True, slots=True)
class ElementMeets:
    """The value is an array with an element that meets conditions without a path."""

    part: Node


@dataclass(frozen=True, slots=True)
class ElementFits:
    """The value is an array with an object that a filter fits."""

    part: Node


def roots(node: Node) -> set[str]:
    """Return the top-level names that a filter reads."""
    match node:
        case Every(parts) | Some(parts):
            return {name for part in parts for name in roots(part)}
        case Negation(part):
            return roots(part)
        case Condition(path):
            return {path[0]} if path else set()
