"""Runs an aggregation over one moment of the state, in slices like a query."""

import time
from collections.abc import Generator, Iterator, Mapping
from typing import Any

from dataplane.documents.capture import Capture
from dataplane.documents.view import NO_SEGMENTS, StateView
from dataplane.query.access import Access, Wanted
from dataplane.query.compiler import Code, compiled_count
from dataplane.query.executor import (
    DEFAULT_LIMITS,
    Scan,
    compile_scan,
    finish,
    scan_function,
)
from dataplane.query.expressions import all_roots
from dataplane.query.grouping import group_lines, group_results
from dataplane.query.lookup import lookup_step
from dataplane.query.nodes import Every, Node, roots
from dataplane.query.observed import trace_of
from dataplane.query.pipeline import Count, Group, Match, Sort, Stage, needed_names
from dataplane.query.requests import AggregateRequest, AggregateResult
from dataplane.query.rows import RowShape, document_reader
from dataplane.query.stages import Batches, Stages, wanted_of
from dataplane.query.tiers import tiers_of
from dataplane.query.types import (
    PAGE_BYTES_MAX,
    RESULT_MAX,
    Document,
    Limits,
    QueryTooCostlyError,
)
from dataplane.query.work import Work, weigh


def run_aggregate(
    view: StateView, request: AggregateRequest, *, limits: Limits = DEFAULT_LIMITS
) -> AggregateResult:
    """Answer an aggregation from the executed state, at one go.

    Raises:
        QueryError: A stage met a value that it cannot work with.
        QueryTooCostlyError: The aggregation would use more than it may.
    """
    return finish(aggregate_steps(view, request, limits=limits))


def aggregate_steps(
    view: StateView,
    request: AggregateRequest,
    *,
    limits: Limits = DEFAULT_LIMITS,
    segments: Mapping[int, bytes] = NO_SEGMENTS,
) -> Generator[None, None, AggregateResult]:
    """Answer an aggregation from the state at the first step, yielding after each slice of work.

    Raises:
        QueryError: A stage met a value that it cannot work with.
        QueryTooCostlyError: The aggregation would use more than it may.
        MissingSegmentsError: It met cold documents of segments that are not among `segments`.
    """
    capture = view.capture(segments)
    try:
        return (yield from _Run((view, capture), request, limits).result())
    except RecursionError as error:
        # Paths of many parts, one stage after another, can nest values deeper than any document.
        raise QueryTooCostlyError([("/pipeline", "a value would be too deep")]) from error
    finally:
        capture.release()


class _Run:
    """One execution of one aggregation.

    The filters in front, and an order by id behind them, decide which rows are read. A group
    behind those takes the rows as they come; otherwise they become documents with the fields that
    the stages need.
    """

    def __init__(
        self, state: tuple[StateView, Capture], request: AggregateRequest, limits: Limits
    ) -> None:
        self._started = time.perf_counter()
        self._view, capture = state
        self._cold = capture.met
        self._request = request
        self._work = Work(limits, "/pipeline", weight=request.weight)
        compiled = compiled_count()
        left = list(request.stages)
        self._where = _leading_filter(left)
        self._reverse = _leading_direction(left) == -1
        wanted = wanted_of(left)
        asked = Wanted(direction=-1 if self._reverse else 1, count=wanted)
        self._access = Access(capture, (request.collection, self._where), asked, self._work)
        self._rows: Iterator[tuple[bytes, bytes]] = iter(())
        self._names = needed_names(tuple(left))
        batch = self._work.batch
        self._wanted = batch if wanted is None else min(wanted, batch)
        self._is_known = self._where == Every(()) and isinstance(next(iter(left), None), Count)
        """Whether only the number of all documents is asked for, which the state knows."""
        self._batches = self._known(left, capture) if self._is_known else self._first(left)
        stages = Stages(self._work, lambda stage: lookup_step(capture, self._work, stage))
        for step in stages.steps(tuple(left)):
            self._batches = step(self._batches)
        self._is_new_shape = compiled_count() > compiled

    def result(self) -> Generator[None, None, AggregateResult]:
        """Return the documents that the last stage gives."""
        self._rows = yield from self._access.rows()
        documents: list[Document] = []
        room = PAGE_BYTES_MAX
        for batch in self._batches:
            for document in batch:
                room -= weigh(document, room)
                if room < 0 or len(documents) == RESULT_MAX:
                    detail = f"more than {RESULT_MAX} documents or 16 MiB: add $limit or $project"
                    raise QueryTooCostlyError([("/pipeline", detail)])
                documents.append(document)
            if self._work.due():
                yield
        return AggregateResult(
            documents=documents,
            scanned=self._work.documents,
            trace=trace_of(
                (self._where, ()), self._access.used, self._work.documents, len(documents)
            ),
            plan=self._explain(len(documents)) if self._request.explain else None,
        )

    def _first(self, left: list[Stage]) -> Batches:
        """Return what goes into the stages that are left, taking off a group in front."""
        if left and isinstance(left[0], Group) and self._names is not None:
            group = left.pop(0)
            assert isinstance(group, Group)
            return self._grouped(group, compile_group(self._where, group))
        return self._documents(compile_scan(self._where))

    def _known(self, left: list[Stage], capture: Capture) -> Batches:
        """Return the count of all documents, taking off the stage that asks for it."""
        stage = left.pop(0)
        assert isinstance(stage, Count)
        count = capture.count(self._request.collection)
        return iter([[{stage.name: count}] if count else []])

    def _documents(self, scan: Scan) -> Batches:
        read = document_reader(self._names)
        ended = False
        while not ended:
            found, count, size, ended = scan(self._rows, *self._work.slice(), self._wanted)
            self._work.examined(count, size)
            yield [read(key, stored) for key, stored in found]

    def _grouped(self, group: Group, scan: Scan) -> Batches:
        groups: dict[Any, list[Any]] = {}
        ended = False
        while not ended:
            _, count, size, ended = scan(self._rows, *self._work.slice(), groups, self._work.hold)
            self._work.examined(count, size)
            self._work.did(count * len(group.fields))
            yield []
        yield from group_results(group, groups, self._work.batch)

    def _explain(self, returned: int) -> dict[str, Any]:
        return {
            **self._access.describe(self._work.documents),
            **({"stage": "collection_count"} if self._is_known else {}),
            "order": "id_order",
            "fields": None if self._names is None else sorted(self._names | roots(self._where)),
            "documents_examined": self._work.documents,
            "memory_bytes": self._work.memory_bytes,
            "returned": returned,
            "tiers": {"memory": 0, **tiers_of(self._view, self._work.documents, self._cold)},
            "compiled": "new" if self._is_new_shape else "cached",
            "time_ms": round((time.perf_counter() - self._started) * 1000, 3),
        }


def _leading_filter(left: list[Stage]) -> Node:
    """Take the filters off the front and return them as one."""
    parts: list[Node] = []
    while left and isinstance(left[0], Match):
        stage = left.pop(0)
        assert isinstance(stage, Match)
        parts.append(stage.where)
    return parts[0] if len(parts) == 1 else Every(tuple(parts))


def _leading_direction(left: list[Stage]) -> int:
    """Take an order by id off the front and return its direction."""
    if left and isinstance(left[0], Sort) and left[0].order[0][0] == "_id":
        direction = left[0].order[0][1]
        del left[0]
        return direction
    return 1


def compile_group(where: Node, stage: Group) -> Scan:
    """Return the loop that puts matching rows into groups; the stage reads named fields only."""
    code = Code()
    names = all_roots((stage.key, *[expression for _, _, expression, _ in stage.fields]))
    assert names is not None, "the rows are taken whole otherwise"
    shape = RowShape(code, names | roots(where))
    return scan_function(code, shape, where, ("groups, hold", group_lines(code, stage, shape.root)))
