"""Exports as streams: page after page, never a whole collection in memory."""

import csv
from collections.abc import AsyncIterator
from io import StringIO

import msgspec
from asgiref.sync import sync_to_async

from portal.clusters.models import Cluster
from portal.explorer.constants import EXPORT_COLUMNS_MAX, EXPORT_PAGE_COUNT
from portal.explorer.documents import Page, Query, connected, query
from portal.explorer.types import Document, Json


async def export_ndjson(cluster: Cluster, collection: str) -> AsyncIterator[bytes]:
    """Yield one document a line."""
    async for documents in _pages(cluster, collection):
        yield b"".join(msgspec.json.encode(document) + b"\n" for document in documents)


async def export_csv(cluster: Cluster, collection: str) -> AsyncIterator[bytes]:
    """Yield CSV: a first pass finds the columns, a second one writes; nested values are JSON."""
    names: dict[str, None] = {"_id": None}
    async for documents in _pages(cluster, collection):
        for document in documents:
            names.update(dict.fromkeys(document))
        if len(names) > EXPORT_COLUMNS_MAX:
            break
    columns = list(names)[:EXPORT_COLUMNS_MAX]
    yield _lines([columns])
    async for documents in _pages(cluster, collection):
        yield _lines([[_cell(document.get(name)) for name in columns] for document in documents])


async def _pages(cluster: Cluster, collection: str) -> AsyncIterator[list[Document]]:
    """Yield the documents page by page, by id, so that writes meanwhile disturb nothing."""
    after: str | None = None
    while True:
        page = await sync_to_async(_page, thread_sensitive=False)(cluster, collection, after)
        if page.documents:
            yield page.documents
        after = page.after
        if after is None:
            return


def _page(cluster: Cluster, collection: str, after: str | None) -> Page:
    """Fetch one page."""
    asked = Query(sort={"_id": 1}, limit=EXPORT_PAGE_COUNT, after=after)
    with connected(cluster) as client:
        return query(client, collection, asked)


def _cell(value: Json) -> str:
    """Print one value as a cell."""
    if value is None:
        return ""
    if isinstance(value, str):
        return value
    return msgspec.json.encode(value).decode()


def _lines(rows: list[list[str]]) -> bytes:
    """Print rows as CSV."""
    out = StringIO()
    csv.writer(out).writerows(rows)
    return out.getvalue().encode()
