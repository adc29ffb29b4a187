"""`$group`: the lines that put a document into its group, and what the groups come to."""

import itertools
from collections.abc import Iterator
from typing import Any, Final

from dataplane.query.accumulators import ACCUMULATORS
from dataplane.query.compiler import Code, Root
from dataplane.query.expressions import expression_text
from dataplane.query.pipeline import Group
from dataplane.query.types import Document

_GROUP_BYTES: Final = 400


def group_lines(code: Code, stage: Group, root: Root) -> list[str]:
    """Return the lines that put a document into its group.

    A group is the value of its key and then the slots of its accumulators.
    """
    key = code.bind(stage.pointer)
    starts = [ACCUMULATORS[name].start for _, name, _, _ in stage.fields]
    start = code.bind(lambda value: [value, *[slot for make in starts for slot in make()]])
    lines = [
        f"value = {expression_text(code, stage.key, root)}",
        "if value is MISSING:",
        "    value = None",
        "rank = value if type(value) is str else sort_key(value)",
        "group = groups.get(rank)",
        "if group is None:",
        f"    hold(weigh(value) + {_GROUP_BYTES} + {len(starts)} * 64, {key})",
        f"    group = groups[rank] = {start}(value)",
    ]
    at = 1
    for (_, name, expression, pointer), make in zip(stage.fields, starts, strict=True):
        lines.append(f"x = {expression_text(code, expression, root)}")
        lines.append(f"place = {code.bind(pointer)}")
        lines += ACCUMULATORS[name].lines(at)
        at += len(make())
    return lines


def group_results(
    stage: Group, groups: dict[Any, list[Any]], batch: int
) -> Iterator[list[Document]]:
    """Return a document for each group, in the order in which they came up."""
    accumulators = [
        (name, pointer, ACCUMULATORS[accumulator]) for name, accumulator, _, pointer in stage.fields
    ]

    def result(group: list[Any]) -> Document:
        document = {"_id": group[0]}
        at = 1
        for name, pointer, accumulator in accumulators:
            size = len(accumulator.start())
            document[name] = accumulator.result(group[at : at + size], pointer)
            at += size
        return document

    for some in itertools.batched(groups.values(), batch):
        yield list(map(result, some))
