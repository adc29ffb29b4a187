"""Storing any number of documents, which both clients do batch by batch."""

from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import msgspec

from dataplane.client import calls
from dataplane.client.calls import Json
from dataplane.client.index_calls import AsyncIndexCalls, IndexCalls

IMPORT_BATCH: Final = 500
IMPORT_BYTES: Final = 8 * 1024 * 1024
"""Half of what a node takes as one body: a batch must not be refused for its size."""
OPERATION_BYTES: Final = 256
"""What an operation takes beside its document: its name, and an id in the longest encoding."""
REFUSED_MAX: Final = 1_000
"""So many refused documents are told of; all are counted."""


@dataclass(frozen=True, slots=True)
class RefusedDocument:
    """A document that was not stored: which one of those given, from 0, and why."""

    number: int
    code: str
    detail: str


@dataclass(slots=True)
class ImportReport:
    """How far an import is: what was stored and what was refused."""

    stored: int = 0
    refused: int = 0
    batches: int = 0
    refusals: list[RefusedDocument] = field(default_factory=list)

    @property
    def done(self) -> int:
        """How many documents were dealt with."""
        return self.stored + self.refused

    def take(self, results: Sequence[Json]) -> None:
        """Take the results of the next batch."""
        for number, result in enumerate(results, self.done):
            if int(result["status"]) < 300:
                self.stored += 1
                continue
            self.refused += 1
            if len(self.refusals) < REFUSED_MAX:
                told = (str(result.get("code", "unknown")), str(result.get("detail", "")))
                self.refusals.append(RefusedDocument(number, *told))
        self.batches += 1


def import_batches(documents: Iterable[Json]) -> Iterator[list[dict[str, Any]]]:
    """Yield bulk operations that store documents, in batches that fit into one request.

    Each document is encoded once, here, so that the size of a batch is known.
    """
    batch: list[dict[str, Any]] = []
    size = 0
    for document in documents:
        encoded = msgspec.json.encode(document)
        if batch and (len(batch) == IMPORT_BATCH or size + len(encoded) > IMPORT_BYTES):
            yield batch
            batch, size = [], 0
        operation = {"op": "create", "document": msgspec.Raw(encoded)}
        if "_id" in document:
            operation |= {"op": "put", "id": document["_id"]}
        batch.append(operation)
        size += len(encoded) + OPERATION_BYTES
    if batch:
        yield batch


type Progress = Callable[[ImportReport], None]


def _key(idempotency_key: str | None, number: int) -> str | None:
    """Return the key of a batch: the same documents in the same order make the same batches."""
    return None if idempotency_key is None else f"{idempotency_key}-{number}"


class ImportCalls(IndexCalls):
    """Those of the blocking client."""

    def import_documents(
        self, collection: str, documents: Iterable[Json]
    ) -> Iterator[dict[str, Any]]:
        """Store any number of documents, batch by batch; yield one result for each, in order.

        A document with an `_id` replaces what is there; one without gets a new id.
        """
        for batch in import_batches(documents):
            yield from self._run(calls.bulk(collection, batch))["results"]

    def import_all(
        self,
        collection: str,
        documents: Iterable[Json],
        *,
        progress: Progress | None = None,
        idempotency_key: str | None = None,
    ) -> ImportReport:
        """Store any number of documents; tell `progress` after each batch, and return the report.

        With an idempotency key (at most 100 letters) the same import can be run again within a
        day, after whatever ended it: what is stored already is not stored twice.
        """
        report = ImportReport()
        for batch in import_batches(documents):
            key = _key(idempotency_key, report.batches)
            report.take(self._run(calls.bulk(collection, batch), key)["results"])
            if progress is not None:
                progress(report)
        return report


class AsyncImportCalls(AsyncIndexCalls):
    """Those of the asyncio client."""

    async def import_documents(
        self, collection: str, documents: Iterable[Json]
    ) -> AsyncIterator[dict[str, Any]]:
        """Store any number of documents, batch by batch; yield one result for each, in order.

        A document with an `_id` replaces what is there; one without gets a new id.
        """
        for batch in import_batches(documents):
            answer = await self._run(calls.bulk(collection, batch))
            for result in answer["results"]:
                yield result

    async def import_all(
        self,
        collection: str,
        documents: Iterable[Json],
        *,
        progress: Progress | None = None,
        idempotency_key: str | None = None,
    ) -> ImportReport:
        """Store any number of documents; tell `progress` after each batch, and return the report.

        With an idempotency key (at most 100 letters) the same import can be run again within a
        day, after whatever ended it: what is stored already is not stored twice.
        """
        report = ImportReport()
        for batch in import_batches(documents):
            key = _key(idempotency_key, report.batches)
            answer = await self._run(calls.bulk(collection, batch), key)
            report.take(answer["results"])
            if progress is not None:
                progress(report)
        return report
