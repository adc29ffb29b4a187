"""Runs a query over one moment of the state: find candidates, filter, sort, cut a page.

Theory of operation. A query is a generator: it looks at a slice of documents, yields so that others
get their turn, and goes on with the same moment's documents, whatever was written meanwhile. The
loop over the rows of a slice, with the filter and the sort key in it, is one compiled function.
"""

import time
from collections.abc import Callable, Generator, Iterator, Mapping
from typing import Any, Final

import msgspec

from dataplane.documents.capture import Capture
from dataplane.documents.paths import MISSING
from dataplane.documents.rendering import render_document
from dataplane.documents.tables import decode_document_row, document_id
from dataplane.documents.view import NO_SEGMENTS, StateView
from dataplane.query.access import Access, Wanted
from dataplane.query.compiler import Code, compiled_count, filter_text
from dataplane.query.cursor import Place, decode_cursor, encode_cursor
from dataplane.query.nodes import Node, roots
from dataplane.query.observed import trace_of
from dataplane.query.ordered import OrderedRead
from dataplane.query.planner import id_direction
from dataplane.query.projection import Projection
from dataplane.query.rows import RowShape
from dataplane.query.sorting import Entry, Firsts, Order, entry_of, entry_text
from dataplane.query.tiers import tiers_of
from dataplane.query.traces import Trace
from dataplane.query.types import (
    PAGE_BYTES_MAX,
    SLICE_BYTES,
    Document,
    Limits,
    QueryPage,
    QueryRequest,
)
from dataplane.query.values import greatest, least
from dataplane.query.work import Work

type Row = tuple[bytes, bytes]
"""Key and stored row."""
type Scan = Callable[..., tuple[list[Any], int, int, bool]]
"""Rows, what `Work.slice` gives, and more -> found, documents, bytes, whether at the end."""

DEFAULT_LIMITS: Final = Limits()
WALK_MIN: Final = 2_000
"""So many documents are looked at in the order of an index, whatever the collection."""
WALK_STEP: Final = 16


def run_query(
    view: StateView, request: QueryRequest, *, limits: Limits = DEFAULT_LIMITS
) -> QueryPage:
    """Answer a query from the executed state, at one go.

    Raises:
        QueryError: The cursor does not fit the query.
        QueryTooCostlyError: The query would use more than it may.
    """
    return finish(query_steps(view, request, limits=limits))


def finish[T](steps: Generator[None, None, T]) -> T:
    """Return what steps lead to, without giving others a turn."""
    while True:
        try:
            next(steps)
        except StopIteration as done:
            answer: T = done.value
            return answer


def query_steps(
    view: StateView,
    request: QueryRequest,
    *,
    limits: Limits = DEFAULT_LIMITS,
    segments: Mapping[int, bytes] = NO_SEGMENTS,
    as_text: bool = False,
) -> Generator[None, None, QueryPage]:
    """Answer a query from the state at the first step, yielding after each slice of work.

    `as_text` gives whole documents as JSON, from the memory tier where they are in it.

    Raises:
        QueryError: The cursor does not fit the query.
        QueryTooCostlyError: The query would use more than it may.
        MissingSegmentsError: It met cold documents of segments that are not among `segments`.
    """
    capture = view.capture(segments)
    try:
        return (yield from _Run((view, capture), request, limits, as_text=as_text).page())
    finally:
        capture.release()


def compile_scan(where: Node, *, order: Order | None = None) -> Scan:
    """Return the loop that picks matching rows, or entries that sort between two others."""
    code = Code()
    names = roots(where) | {path.split(".", 1)[0] for path, _ in order or ()}
    shape = RowShape(code, names)
    if order is None:
        lines = ["found.append((key, stored))", "if len(found) >= wanted:", "    break"]
        return scan_function(code, shape, where, ("wanted", lines))
    lines = [
        f"entry = {entry_text(code, order, shape.root, 'key')}",
        "if (high is None or entry < high) and (low is None or entry > low):",
        "    found.append(entry)",
    ]
    return scan_function(code, shape, where, ("low, high", lines))


def scan_function(code: Code, shape: RowShape, where: Node, then: tuple[str, list[str]]) -> Scan:
    """Return the loop over rows that does some work for each match.

    `then` is the names of the further parameters, and the lines.
    """
    parameters, lines = then
    condition = filter_text(code, where, shape.root)
    body = [
        "found, count, size = [], 0, 0",
        "for key, stored in rows:",
        "    count += 1",
        "    size += len(stored)",
        f"    row = {shape.decode_text()}",
        f"    if {condition}:",
        *[f"        {line}" for line in lines],
        "    if count >= count_max or size >= bytes_max or work.is_full:",
        "        break",
        "else:",
        "    return found, count, size, True",
        "return found, count, size, False",
    ]
    return code.function(f"rows, count_max, bytes_max, work, {parameters}", body)


def _document(key: bytes, stored: bytes) -> Document:
    return render_document(decode_document_row(document_id(key), stored))


class _Run:
    """One execution of one query; `as_text` makes JSON of whole documents."""

    def __init__(
        self,
        state: tuple[StateView, Capture],
        request: QueryRequest,
        limits: Limits,
        *,
        as_text: bool,
    ) -> None:
        self._started = time.perf_counter()
        self._view, self._capture = state
        capture = self._capture
        self._request = request
        self._direction = id_direction(request)
        self._after = decode_cursor(request)
        self._work = Work(limits, "/filter", weight=request.weight)
        wanted = Wanted(
            order=() if self._direction is not None else request.sort,
            direction=self._direction,
            count=self._wanted,
            behind=self._after,
        )
        place = request.collection, request.where
        self._access = Access(capture, place, wanted, self._work)
        self._rows: Iterator[Row] = iter(())
        # An order of the index may turn out to be too far from the filter.
        count = capture.count(request.collection)
        walk = max(WALK_MIN, count // 4)
        self._walk_max = walk if count + 2 * walk < limits.documents else limits.documents
        compiled = compiled_count()
        order = None if self._direction is not None else request.sort
        self._scan = compile_scan(request.where, order=order)
        self._is_new_shape = compiled_count() > compiled
        self._cold: dict[int, int] = {}
        self._from_memory = 0
        as_text = as_text and request.projection is None
        self._projection = Projection(request.projection)
        self._show = self._text if as_text else self._object

    def page(self) -> Generator[None, None, QueryPage]:
        """Return the page that the request asks for."""
        self._rows = yield from self._access.rows()
        found = yield from self._found()
        # Matches that are read again for the page were counted.
        self._cold = dict(self._capture.met)
        documents, place = yield from self._render(found)
        return QueryPage(
            documents=documents,
            next=None if place is None else encode_cursor(self._request, place),
            scanned=self._work.documents,
            trace=self._trace(len(documents)),
            plan=self._explain(len(documents)) if self._request.explain else None,
        )

    @property
    def _wanted(self) -> int:
        """One more than the page takes, to know whether there is another."""
        return self._request.offset + self._request.limit + 1

    def _found(self) -> Generator[None, None, Iterator[Row]]:
        """Return the matches that make the page, in order."""
        if self._direction is not None:
            return (yield from self._streamed())
        if self._access.ordered is not None:
            walked = yield from self._walked(self._access.ordered)
            if walked is not None:
                return walked
            self._access.give_up_order()
        return (yield from self._sorted())

    def _streamed(self) -> Generator[None, None, Iterator[Row]]:
        """Collect matches in id order until there are enough for a page."""
        found: list[Row] = []
        seen, size, ended = 0, 0, False
        offset = self._request.offset
        while not ended and seen < self._wanted and size <= PAGE_BYTES_MAX:
            matches, count, examined, ended = self._scan(
                self._rows, *self._work.slice(), self._wanted - seen
            )
            self._work.examined(count, examined)
            kept = matches[max(0, offset - seen) :]
            seen += len(matches)
            found += kept
            size += sum([len(stored) for _, stored in kept])
            if self._work.due():
                yield
        return iter(found)

    def _sorted(self) -> Generator[None, None, Iterator[Row]]:
        """Keep the first matches in sort order; their rows are read again at the end."""
        firsts = Firsts(self._wanted, self._work, "/sort")
        behind = self._behind()
        ended = False
        while not ended:
            entries, count, size, ended = self._scan(
                self._rows, *self._work.slice(), behind, firsts.bound
            )
            self._work.examined(count, size)
            firsts.add(entries)
            if self._work.due():
                yield
        return map(self._stored, firsts.done()[self._request.offset :])

    def _walked(self, read: OrderedRead) -> Generator[None, None, Iterator[Row] | None]:
        """Keep the first matches of an index that has the order, up to where no other can come.

        None: so few documents fit the filter that looking at all of them is better.
        """
        firsts = Firsts(self._wanted, self._work, "/sort")
        behind = self._behind()
        matched = 0
        reached: bytes | None = None
        while True:
            count = min(self._work.batch, max(WALK_STEP, self._wanted - matched))
            rows, first, last = read.read(count)
            # Whatever comes in another group sorts behind all that were found.
            if not rows or (reached is not None and first != reached):
                break
            if reached is None and self._work.documents > self._walk_max:
                return None
            left, ended = iter(rows), False
            while not ended:
                entries, count, size, ended = self._scan(
                    left, *self._work.slice(), behind, firsts.bound
                )
                self._work.examined(count, size)
                firsts.add(entries)
                matched += len(entries)
            if reached is None and matched >= self._wanted:
                reached = last
            if self._work.due():
                yield
        return map(self._stored, firsts.done()[self._request.offset :])

    def _behind(self) -> Entry | None:
        """Return the entry of the place to go on from."""
        if self._after is None:
            return None
        key = self._capture.key(self._request.collection, self._after.id)
        return entry_of(self._after.values, self._request.sort, key)

    def _stored(self, entry: Entry) -> Row:
        key: bytes = entry[-1]
        return key, self._capture.row(self._request.collection, document_id(key)) or b""

    def _render(self, rows: Iterator[Row]) -> Generator[None, None, tuple[list[Any], Place | None]]:
        """Build the documents of a page, and the place to go on from when there are more."""
        documents: list[Any] = []
        last: Row = b"", b""
        size, slice_end = 0, SLICE_BYTES
        for key, stored in rows:
            full = len(documents) == self._request.limit
            if full or (documents and size + len(stored) > PAGE_BYTES_MAX):
                return documents, self._place(*last)
            last = key, stored
            documents.append(self._show(key, stored))
            size += len(stored)
            if size > slice_end:
                slice_end = size + SLICE_BYTES
                yield
        return documents, None

    def _text(self, key: bytes, stored: bytes) -> msgspec.Raw:
        memory = self._view.memory
        before = memory.hits
        text = self._view.text_of(key, stored)
        self._from_memory += memory.hits - before
        return msgspec.Raw(text)

    def _object(self, key: bytes, stored: bytes) -> Document:
        return self._projection.apply(_document(key, stored))

    def _place(self, key: bytes, stored: bytes) -> Place:
        if self._direction is not None:
            return Place([], document_id(key))
        document = _document(key, stored)
        values: list[Any] = []
        for path, way in self._request.sort:
            name, *rest = path.split(".")
            choose = least if way == 1 else greatest
            values.append(choose(document.get(name, MISSING), tuple(rest)))
        return Place(values, document["_id"])

    def _trace(self, returned: int) -> Trace:
        order = self._request.sort if self._direction is None else ()
        asked = self._request.where, order
        return trace_of(asked, self._access.used, self._work.documents, returned)

    def _explain(self, returned: int) -> dict[str, Any]:
        order = "top_k" if self._direction is None else "id_order"
        if self._access.ordered is not None:
            order = "index_order"
        told = self._access.describe(self._work.documents)
        suited = self._trace(returned).fields
        if told["stage"] == "collection_scan" and suited:
            told["suited"] = dict(suited)
        return {
            **told,
            "order": order,
            "documents_examined": self._work.documents,
            "returned": returned,
            "tiers": {
                "memory": self._from_memory,
                **tiers_of(self._view, self._work.documents, self._cold),
            },
            "compiled": "new" if self._is_new_shape else "cached",
            "time_ms": round((time.perf_counter() - self._started) * 1000, 3),
        }
