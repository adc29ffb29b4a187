"""The shape of a filter and an order: what they ask for, without what they compare with."""

from typing import Final, assert_never

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
from dataplane.query.sorting import Order

LENGTH_MAX: Final = 400


def shape_of(where: Node, order: Order = ()) -> str:
    """Return the shape as text; filters that differ only in values, or in their order, share it."""
    text = _node(where) or "everything"
    if order:
        text += " by " + ", ".join([("-" if way == -1 else "") + path for path, way in order])
    return text if len(text) <= LENGTH_MAX else text[: LENGTH_MAX - 1] + "…"


def _node(node: Node) -> str:
    match node:
        case Every(parts):
            return " and ".join(sorted(filter(None, map(_node, parts))))
        case Some((part,)):
            return _node(part)
        case Some(parts):
            return f"({' or '.join(sorted(map(_node, parts)))})"
        case Negation(part):
            return f"not ({_node(part)})"
        case Condition(path, test):
            return f"{'.'.join(path)} {_test(test)}".strip()
        case _:
            assert_never(node)


def _test(test: Test) -> str:
    match test:
        case Ordered(operator):
            return operator
        case ElementMeets(part) | ElementFits(part):
            return f"$elemMatch ({_node(part)})"
        case Equal() | Among() | Present() | OfType() | Matched() | Sized():
            return _NAMES[type(test)]
        case _:
            assert_never(test)


_NAMES: Final[dict[type, str]] = {
    Equal: "$eq",
    Among: "$in",
    Present: "$exists",
    OfType: "$type",
    Matched: "$regex",
    Sized: "$size",
}
