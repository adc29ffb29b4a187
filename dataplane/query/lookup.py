"""`$lookup`: the documents of another collection that agree in a field."""

from collections.abc import Callable, Iterator
from typing import Any

from dataplane.documents.capture import Capture
from dataplane.documents.ordering import SortKey, sort_key
from dataplane.documents.paths import MISSING, terminals
from dataplane.documents.rendering import render_document
from dataplane.documents.tables import decode_document_row, document_id
from dataplane.query.pipeline import Lookup
from dataplane.query.projection import with_value
from dataplane.query.types import Document
from dataplane.query.work import Work, weigh

type Batches = Iterator[list[Document]]
type Find = Callable[[list[SortKey]], list[Document]]


def lookup_step(capture: Capture, work: Work, stage: Lookup) -> Callable[[Batches], Batches]:
    """Return the step of a lookup; the other collection is listed now, and read when needed."""
    if stage.foreign == ("_id",):
        by_id = _by_id(capture, work, stage)
        return lambda batches: _joined(batches, stage, work, by_id)
    rows = capture.rows(stage.collection)
    return lambda batches: _scanned(batches, stage, work, rows)


def _joined(batches: Batches, stage: Lookup, work: Work, find: Find) -> Batches:
    for batch in batches:
        joined: list[Document] = []
        for document in batch:
            found = find(join_keys(document, stage.local))
            work.did(1 + len(found))
            joined.append(with_value(document, stage.into, found))
            if len(joined) == work.batch:
                yield joined
                joined = []
        yield joined


def _scanned(
    batches: Batches, stage: Lookup, work: Work, rows: Iterator[tuple[bytes, bytes]]
) -> Batches:
    """Read the other collection once into a table of its values, and then join."""
    table: dict[SortKey, dict[str, Document]] = {}
    size = 0
    for count, (key, stored) in enumerate(rows, 1):
        work.examined(1, len(stored))
        document = render_document(decode_document_row(document_id(key), stored))
        work.hold(weigh(document), stage.pointer)
        for value in join_keys(document, stage.foreign):
            table.setdefault(value, {})[document["_id"]] = document
        size += len(stored)
        if count % work.batch == 0 or size > 64 * 1024:
            size = 0
            yield []

    def find(keys: list[SortKey]) -> list[Document]:
        if len(keys) == 1:
            return list(table.get(keys[0], {}).values())
        found: dict[str, Document] = {}
        for key in keys:
            found |= table.get(key, {})
        return [found[name] for name in sorted(found)]

    yield from _joined(batches, stage, work, find)


def _by_id(capture: Capture, work: Work, stage: Lookup) -> Find:
    def find(keys: list[SortKey]) -> list[Document]:
        found: list[Document] = []
        for name in sorted({value for _, value in keys if isinstance(value, str)}):
            stored = capture.row(stage.collection, name)
            if stored is not None:
                work.examined(1, len(stored))
                found.append(render_document(decode_document_row(name, stored)))
        return found

    return find


def join_keys(document: Document, path: tuple[str, ...]) -> list[SortKey]:
    """Return the values by which a document is joined: those of arrays too; missing is null."""
    values: list[Any] = []
    name, *rest = path
    for value in terminals(document.get(name, MISSING), tuple(rest)):
        if value is MISSING:
            values.append(None)
        elif type(value) is list:
            values += value
        else:
            values.append(value)
    return [sort_key(value) for value in values]
