"""Runs a query over a view: find candidates, filter, sort or stream, cut a page."""

import heapq
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, override

from dataplane.documents.ordering import SortKey, sort_key
from dataplane.documents.rendering import render_document
from dataplane.documents.tables import decode_document_row
from dataplane.documents.view import StateView
from dataplane.query.cursor import Place, decode_cursor, encode_cursor
from dataplane.query.filters import FilterCompiler, Predicate, roots
from dataplane.query.operators import MISSING, terminals
from dataplane.query.planner import Plan, id_direction, plan_query
from dataplane.query.projection import Projection
from dataplane.query.rows import RowReader, reader_for
from dataplane.query.types import (
    EXAMINED_BYTES_MAX,
    EXAMINED_MAX,
    PAGE_BYTES_MAX,
    Document,
    QueryPage,
    QueryRequest,
    QueryTooCostlyError,
)

type Row = tuple[bytes, bytes]
"""Id as UTF-8 and stored row."""


class Descending:
    """A sort key turned round."""

    __slots__ = ("key",)

    def __init__(self, key: SortKey) -> None:
        self.key = key

    def __lt__(self, other: "Descending") -> bool:
        return other.key < self.key

    @override
    def __eq__(self, other: object) -> bool:
        return isinstance(other, Descending) and other.key == self.key

    __hash__ = None  # type: ignore[assignment]  # Only ever compared.


@dataclass(slots=True)
class Budget:
    """What a query may still examine."""

    documents: int
    size_bytes: int = EXAMINED_BYTES_MAX
    scanned: int = 0

    def spend(self, stored: bytes) -> None:
        """Count one examined document.

        Raises:
            QueryTooCostlyError: The query examined too much.
        """
        self.scanned += 1
        self.size_bytes -= len(stored)
        if self.scanned > self.documents or self.size_bytes < 0:
            detail = f"stopped after {self.scanned - 1} documents: narrow the filter"
            raise QueryTooCostlyError([("/filter", detail)])


def run_query(
    view: StateView, request: QueryRequest, *, examined_max: int = EXAMINED_MAX
) -> QueryPage:
    """Answer a query from the executed state.

    Raises:
        QueryError: The cursor does not fit the query.
        QueryTooCostlyError: The query examined more than it may.
    """
    return _Run(view, request, examined_max).page()


class _Run:
    """One execution of one query."""

    def __init__(self, view: StateView, request: QueryRequest, examined_max: int) -> None:
        self._view = view
        self._request = request
        self._plan = plan_query(request)
        self._direction = id_direction(request)
        self._after = decode_cursor(request)
        sort_roots = {path.split(".", 1)[0] for path, _ in request.sort}
        self._reader: RowReader = reader_for(roots(request.filter) | sort_roots)
        self._matches: Predicate = FilterCompiler().compile(request.filter, self._reader.access)
        self._values = [self._value_of(path, way) for path, way in request.sort]
        self._budget = Budget(examined_max)

    def page(self) -> QueryPage:
        """Return the page that the request asks for."""
        wanted = self._request.offset + self._request.limit + 1
        found = self._sorted(wanted) if self._direction is None else self._streamed(wanted)
        documents, place = self._render(found[self._request.offset :])
        return QueryPage(
            documents=documents,
            next=None if place is None else encode_cursor(self._request, place),
            scanned=self._budget.scanned,
            plan=self._explain() if self._request.explain else None,
        )

    def _candidates(self, *, reverse: bool = False) -> Iterator[Row]:
        """Yield the rows that the plan leads to, counting each."""
        spend = self._budget.spend
        for key, stored in self._find(self._bounded(reverse=reverse), reverse=reverse):
            spend(stored)
            yield key, stored

    def _bounded(self, *, reverse: bool) -> Plan:
        """Narrow the plan to what lies behind the cursor, when the result is in id order."""
        plan = self._plan
        if self._after is None or self._direction is None:
            return plan
        place = self._after.id
        if reverse:
            high = place if plan.high is None else min(plan.high, place)
            return Plan(plan.ids, plan.low, high)
        low = place if plan.low is None else max(plan.low, place)
        return Plan(plan.ids, low, plan.high)

    def _find(self, plan: Plan, *, reverse: bool) -> Iterator[Row]:
        if plan.ids is not None:
            yield from self._lookup(plan.ids, reverse=reverse)
            return
        last = plan.low if reverse else plan.high
        last_key = None if last is None else last.encode()
        start = plan.high if reverse else plan.low
        rows = self._view.rows(self._request.collection, start=start, reverse=reverse)
        for key, stored in rows:
            if last_key is not None and (key < last_key if reverse else key > last_key):
                return
            yield key, stored

    def _lookup(self, ids: tuple[str, ...], *, reverse: bool) -> Iterator[Row]:
        for document_id in reversed(ids) if reverse else ids:
            stored = self._view.row(self._request.collection, document_id)
            if stored is not None:
                yield document_id.encode(), stored

    def _streamed(self, wanted: int) -> list[Row]:
        """Collect matches in id order until there are enough."""
        reverse = self._direction == -1
        after = None if self._after is None else self._after.id.encode()
        read, matches = self._reader.read, self._matches
        found: list[Row] = []
        for key, stored in self._candidates(reverse=reverse):
            if after is not None and (key >= after if reverse else key <= after):
                continue
            if matches(read(key, stored)):
                found.append((key, stored if len(found) >= self._request.offset else b""))
                if len(found) == wanted:
                    break
        return found

    def _sorted(self, wanted: int) -> list[Row]:
        """Keep the first matches in sort order in a heap; their rows are read again at the end."""
        first = heapq.nsmallest(wanted, self._keyed())
        return [
            (key, self._view.row(self._request.collection, key.decode()) or b"") for _, key in first
        ]

    def _keyed(self) -> Iterator[tuple[tuple[Any, ...], bytes]]:
        read, matches = self._reader.read, self._matches
        behind: tuple[tuple[Any, ...], bytes] | None = None
        if self._after is not None:
            keys = zip(self._request.sort, self._after.values, strict=True)
            place = tuple(_directed(sort_key(value), way) for (_, way), value in keys)
            behind = place, self._after.id.encode()
        for key, stored in self._candidates():
            row = read(key, stored)
            if matches(row):
                entry = self._sort_keys(row), key
                if behind is None or entry > behind:
                    yield entry

    def _sort_keys(self, row: Any) -> tuple[Any, ...]:
        ways = self._request.sort
        return tuple(
            [
                _directed(sort_key(value(row)), way)
                for value, (_, way) in zip(self._values, ways, strict=True)
            ]
        )

    def _value_of(self, path: str, way: int) -> Callable[[Any], Any]:
        """Return a function of a row that picks the value it sorts by.

        Of an array that is its least element, or its greatest when descending; what is missing
        sorts as null.
        """
        name, *rest = path.split(".")
        read = self._reader.access(name)
        tail = tuple(rest)
        choose = min if way == 1 else max

        def value(row: Any) -> Any:
            found = read(row)
            if not tail and type(found) is not list:
                return None if found is MISSING else found
            options: list[Any] = []
            for item in terminals(found, tail):
                if type(item) is list:
                    options += item
                else:
                    options.append(None if item is MISSING else item)
            return choose(options, key=sort_key) if options else None

        return value

    def _render(self, rows: list[Row]) -> tuple[list[Document], Place | None]:
        """Build the documents of a page, and the place to go on from when there are more."""
        projection = Projection(self._request.projection)
        documents: list[Document] = []
        size = 0
        for index, (key, stored) in enumerate(rows):
            full = len(documents) == self._request.limit
            if full or (documents and size + len(stored) > PAGE_BYTES_MAX):
                return documents, self._place(*rows[index - 1])
            record = decode_document_row(key.decode(), stored)
            documents.append(projection.apply(render_document(record)))
            size += len(stored)
        return documents, None

    def _place(self, key: bytes, stored: bytes) -> Place:
        if self._direction is not None:
            return Place([], key.decode())
        row = self._reader.read(key, stored)
        return Place([value(row) for value in self._values], key.decode())

    def _explain(self) -> dict[str, Any]:
        order = "top_k" if self._direction is None else "id_order"
        plan: dict[str, Any] = {"stage": self._plan.stage, "order": order}
        if self._plan.ids is not None:
            plan["ids"] = len(self._plan.ids)
        if self._plan.stage == "id_range":
            plan["range"] = {"from": self._plan.low, "to": self._plan.high}
        return plan | {"examined": self._budget.scanned}


def _directed(key: SortKey, way: int) -> SortKey | Descending:
    return key if way == 1 else Descending(key)
