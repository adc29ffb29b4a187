"""The stages of an aggregation at work: each turns batches of documents into others.

A stage that must see all of its input first yields an empty batch for each one it takes, so that
whoever drives the stages comes to turn often. Documents are never changed, only replaced: stages
share them and their parts.
"""

import heapq
import itertools
from collections.abc import Callable, Iterable, Iterator
from typing import Any, assert_never

from dataplane.documents.paths import MISSING
from dataplane.query.compiler import Code, filter_text
from dataplane.query.expressions import Expression, expression_text
from dataplane.query.functions import COMPUTED_BYTES_MAX
from dataplane.query.grouping import group_lines, group_results
from dataplane.query.pipeline import (
    Count,
    Group,
    Limit,
    Lookup,
    Match,
    Project,
    Skip,
    Sort,
    Stage,
    Unwind,
)
from dataplane.query.projection import drop, keep, tree_of, with_value, without_value
from dataplane.query.sorting import Entry, Firsts, entry_text
from dataplane.query.types import SLICE_BYTES, Document, QueryTooCostlyError
from dataplane.query.work import Work, weigh

type Batches = Iterator[list[Document]]
type Step = Callable[[Batches], Batches]


class Stages:
    """Makes the steps of one run; a lookup is made by the caller, who has the collections."""

    def __init__(self, work: Work, lookup: Callable[[Lookup], Step]) -> None:
        self._work = work
        self._lookup = lookup

    def steps(self, stages: tuple[Stage, ...]) -> list[Step]:
        """Return a step for each stage, or for a sort and the limit behind it together."""
        steps: list[Step] = []
        left = list(stages)
        while left:
            stage = left.pop(0)
            wanted = wanted_of(left) if isinstance(stage, Sort) else None
            if isinstance(stage, Sort) and wanted is not None:
                steps.append(self._first(stage, wanted))
            else:
                steps.append(self._step(stage))
        return steps

    def _step(self, stage: Stage) -> Step:  # noqa: PLR0911 - a table
        match stage:
            case Match():
                return self._match(stage)
            case Project():
                return self._project(stage)
            case Group():
                return self._group(stage)
            case Sort():
                return self._sort(stage)
            case Limit(count):
                return lambda batches: _limit(batches, count)
            case Skip(count):
                return lambda batches: _skip(batches, count)
            case Unwind():
                return lambda batches: self._unwind(batches, stage)
            case Count(name):
                return lambda batches: _count(batches, name)
            case Lookup():
                return self._lookup(stage)
            case _:
                assert_never(stage)

    def _match(self, stage: Match) -> Step:
        code = Code()
        condition = filter_text(code, stage.where, code.member("doc"))
        fits = code.function("doc, work", [f"return {condition}"])

        def run(batches: Batches) -> Batches:
            for batch in batches:
                self._work.did(len(batch))
                kept: list[Document] = []
                for document in batch:
                    self._work.begin()
                    if fits(document, self._work):
                        kept.append(document)
                    if self._work.is_full:
                        yield kept
                        kept = []
                self._work.end()
                yield kept

        return run

    def _project(self, stage: Project) -> Step:
        tree = tree_of(stage.paths)
        take = keep if stage.keeps else drop
        compute = _computed(tuple(expression for _, expression in stage.computed))

        def project(document: Document) -> tuple[Document, int]:
            result, size = take(document, tree), 0
            for (path, _), value in zip(stage.computed, compute(document), strict=True):
                if value is not MISSING:
                    size += len(value) if type(value) is str else 0
                    result = with_value(result, path, value)
            if size > COMPUTED_BYTES_MAX:
                raise QueryTooCostlyError([(stage.pointer, "a document would be too large")])
            return result, size

        def run(batches: Batches) -> Batches:
            units = 1 + len(stage.computed)
            for batch in batches:
                self._work.did(units * len(batch))
                results: list[Document] = []
                size = 0
                for document in batch:
                    result, added = project(document)
                    results.append(result)
                    size += added
                    if size > SLICE_BYTES:
                        yield results
                        results, size = [], 0
                yield results

        return run

    def _group(self, stage: Group) -> Step:
        code = Code()
        lines = group_lines(code, stage, code.member("doc"))
        take = code.function(
            "batch, groups, hold",
            ["for doc in batch:", *[f"    {line}" for line in lines]],
        )

        def run(batches: Batches) -> Batches:
            groups: dict[Any, list[Any]] = {}
            for batch in batches:
                self._work.did((1 + len(stage.fields)) * len(batch))
                take(batch, groups, self._work.hold)
                yield []
            yield from group_results(stage, groups, self._work.batch)

        return run

    def _sort(self, stage: Sort) -> Step:
        """Sort each batch, and merge them; a document carries its place among equals."""
        entries_of = _entries(stage)

        def run(batches: Batches) -> Batches:
            numbers = itertools.count()
            runs: list[list[Entry]] = []
            for batch in batches:
                entries: list[Entry] = sorted(entries_of(batch, numbers, None, self._work))
                self._work.did(2 * len(entries))
                self._work.hold(sum(map(weigh, entries)), stage.pointer)
                runs.append(entries)
                yield []
            for some in itertools.batched(heapq.merge(*runs), self._work.batch):
                self._work.did(2 * len(some))
                yield [entry[-1] for entry in some]

        return run

    def _first(self, stage: Sort, wanted: int) -> Step:
        entries_of = _entries(stage)

        def run(batches: Batches) -> Batches:
            numbers = itertools.count()
            firsts = Firsts(wanted, self._work, stage.pointer)
            for batch in batches:
                self._work.did(len(batch))
                firsts.add(entries_of(batch, numbers, firsts.bound, self._work))
                yield []
            for entries in itertools.batched(firsts.done(), self._work.batch):
                yield [entry[-1] for entry in entries]

        return run

    def _unwind(self, batches: Batches, stage: Unwind) -> Batches:
        for batch in batches:
            if not batch:
                yield batch
            opened = (found for document in batch for found in unwound(document, stage))
            for some in itertools.batched(opened, self._work.batch):
                self._work.did(len(some))
                yield list(some)


def wanted_of(following: list[Stage]) -> int | None:
    """Return how many documents a limit leaves of a sort that these stages follow."""
    skipped = 0
    for stage in following:
        if isinstance(stage, Skip):
            skipped += stage.count
        else:
            return skipped + stage.count if isinstance(stage, Limit) else None
    return None


def _entries(stage: Sort) -> Callable[..., list[Entry]]:
    code = Code()
    entry = entry_text(code, stage.order, code.member("doc"), f"{code.bind(next)}(numbers), doc")
    lines = [
        f"entries = [{entry} for doc in batch]",
        "if high is None:",
        "    return entries",
        "return [entry for entry in entries if entry < high]",
    ]
    return code.function("batch, numbers, high, work", lines)


def _computed(expressions: tuple[Expression, ...]) -> Callable[[Document], tuple[Any, ...]]:
    code = Code()
    texts = [expression_text(code, expression, code.member("doc")) for expression in expressions]
    return code.function("doc", [f"return ({''.join(f'{text}, ' for text in texts)})"])


def _limit(batches: Batches, count: int) -> Batches:
    for batch in batches:
        yield batch[:count]
        count -= len(batch)
        if count <= 0:
            return


def _skip(batches: Batches, count: int) -> Batches:
    for batch in batches:
        yield batch[count:]
        count = max(0, count - len(batch))


def _count(batches: Batches, name: str) -> Batches:
    count = 0
    for batch in batches:
        count += len(batch)
        yield []
    if count:
        yield [{name: count}]


def unwound(document: Document, stage: Unwind) -> Iterable[Document]:
    """Return a document for each element of an array; what is no array is its own only element."""
    value: Any = document
    for name in stage.path:
        value = value.get(name, MISSING) if isinstance(value, dict) else MISSING
    if isinstance(value, list) and value:
        for index, element in enumerate(value):
            opened = with_value(document, stage.path, element)
            yield opened if stage.index is None else with_value(opened, stage.index, index)
        return
    if value is MISSING or value is None or value == []:
        if not stage.keeps_empty:
            return
        if value == []:
            document = without_value(document, stage.path)
    yield document if stage.index is None else with_value(document, stage.index, None)
