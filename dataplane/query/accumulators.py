"""The accumulators of `$group`, each written as the lines that take up one document.

A group is a list of slots. An accumulator has the slots from `at` on; its lines find the value of
its expression under the name `x` and the slots under the name `group`.
"""

from collections.abc import Callable
from typing import Any, Final, NamedTuple

from dataplane.query.functions import in_range


class Accumulator(NamedTuple):
    """How a group starts, goes on and ends."""

    start: Callable[[], list[Any]]
    lines: Callable[[int], list[str]]
    result: Callable[[list[Any], str], Any]
    """Of its slots and its place in the query."""


def _sum_lines(at: int) -> list[str]:
    # Integers exactly; floats with the error of each addition kept (Kahan).
    return [
        "kind = type(x)",
        "if kind is int:",
        f"    group[{at}] += x",
        "elif kind is float:",
        f"    y = x - group[{at + 2}]",
        f"    z = group[{at + 1}] + y",
        f"    group[{at + 2}] = (z - group[{at + 1}]) - y",
        f"    group[{at + 1}] = z",
        f"    group[{at + 3}] = True",
    ]


def _sum(slots: list[Any], pointer: str) -> Any:
    whole, fraction, _, has_floats = slots[:4]
    return in_range(float(whole) + fraction if has_floats else whole, pointer)


def _average(slots: list[Any], pointer: str) -> Any:
    whole, fraction, _, _, count = slots
    return in_range((whole + fraction) / count, pointer) if count else None


def _extreme_lines(symbol: str) -> Callable[[int], list[str]]:
    return lambda at: [
        "if x is not None and x is not MISSING:",
        "    rank = sort_key(x)",
        f"    if group[{at}] is None or rank {symbol} group[{at}]:",
        *[f"        {line}" for line in _exchange_lines(at + 1)],
        f"        group[{at}] = rank",
        f"        group[{at + 1}] = x",
    ]


def _push_lines(at: int) -> list[str]:
    return [
        "if x is not MISSING:",
        "    hold(weigh(x), place)",
        f"    group[{at}].append(x)",
    ]


def _add_lines(at: int) -> list[str]:
    return [
        "if x is not MISSING:",
        "    rank = sort_key(x)",
        f"    if rank not in group[{at}]:",
        "        hold(2 * weigh(x), place)",
        f"        group[{at}][rank] = x",
    ]


def _exchange_lines(at: int) -> list[str]:
    """Count the memory of a value that takes the place of another; numbers take always the same."""
    return [
        f"if type(x) in BULKY or type(group[{at}]) in BULKY:",
        f"    hold(2 * (weigh(x) - weigh(group[{at}])), place)",
    ]


def _first_lines(at: int) -> list[str]:
    return [
        f"if not group[{at}]:",
        *[f"    {line}" for line in _exchange_lines(at + 1)],
        f"    group[{at}] = True",
        f"    group[{at + 1}] = None if x is MISSING else x",
    ]


ACCUMULATORS: Final[dict[str, Accumulator]] = {
    "$count": Accumulator(
        lambda: [0], lambda at: [f"group[{at}] += 1"], lambda slots, _pointer: slots[0]
    ),
    "$sum": Accumulator(lambda: [0, 0.0, 0.0, False], _sum_lines, _sum),
    "$avg": Accumulator(
        lambda: [0, 0.0, 0.0, False, 0],
        lambda at: [
            *_sum_lines(at),
            "if kind is int or kind is float:",
            f"    group[{at + 4}] += 1",
        ],
        _average,
    ),
    "$min": Accumulator(
        lambda: [None, None], _extreme_lines("<"), lambda slots, _pointer: slots[1]
    ),
    "$max": Accumulator(
        lambda: [None, None], _extreme_lines(">"), lambda slots, _pointer: slots[1]
    ),
    "$first": Accumulator(lambda: [False, None], _first_lines, lambda slots, _pointer: slots[1]),
    "$last": Accumulator(
        lambda: [None],
        lambda at: [*_exchange_lines(at), f"group[{at}] = None if x is MISSING else x"],
        lambda slots, _pointer: slots[0],
    ),
    "$push": Accumulator(lambda: [[]], _push_lines, lambda slots, _pointer: slots[0]),
    "$addToSet": Accumulator(
        lambda: [{}], _add_lines, lambda slots, _pointer: list(slots[0].values())
    ),
}
