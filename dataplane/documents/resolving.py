"""Refused writes that are kept as documents of `_conflicts`, and how they are settled."""

from collections.abc import Callable, Mapping
from typing import Any

from dataplane.documents import tables
from dataplane.documents.collections import Collections
from dataplane.documents.commands import Delete, Get, OpResult, Put, Resolve
from dataplane.documents.conflicts import (
    CONFLICTS,
    Write,
    own_operation,
    record_body,
    record_id,
)
from dataplane.documents.errors import NOT_FOUND, PRECONDITION_FAILED, Refusal, invalid
from dataplane.documents.stubs import body_of
from dataplane.documents.tables import Batch
from dataplane.documents.values import Json, unpack_document
from dataplane.documents.writing import Writing

type Handler = Callable[[Batch, Any], OpResult]


class Conflicts:
    """Keeps refused writes, and settles them by the handlers of single operations."""

    def __init__(
        self, collections: Collections, writing: Writing, handlers: Mapping[type, Handler]
    ) -> None:
        self._collections = collections
        self._writing = writing
        self._handlers = handlers

    def record(self, batch: Batch, operation: Any, refusal: Refusal) -> str:
        """Keep a refused write, with what it met, and return the id of the record."""
        key = self._key(operation)
        row = None if key is None else batch.get(key)
        record = Put(CONFLICTS, record_id(operation), record_body(operation, refusal, row))
        known = self._recorded(batch, record.id)
        place = (CONFLICTS, record.id)
        if known is None:
            self._writing.insert(batch, place, record.document)
        else:
            self._writing.replace(batch, place, known, record.document, change="replace")
        return record.id

    def _recorded(self, batch: Batch, conflict: str) -> bytes | None:
        prefix = self._collections.prefixes.get(CONFLICTS)
        return None if prefix is None else batch.get(prefix + conflict.encode())

    def resolve(self, batch: Batch, operation: Resolve) -> OpResult:
        """Do what was decided about a conflict, and forget the conflict, or change nothing."""
        kept = self._recorded(batch, operation.conflict)
        record = None if kept is None else unpack_document(kept[tables.HEADER_BYTES :])
        if kept is None or record is None or record["collection"] != operation.collection:
            raise Refusal(NOT_FOUND, "no such conflict")
        target = Get(operation.collection, record["id"])
        target_key = self._key(target)
        target_row = None if target_key is None else batch.get(target_key)
        if target_row is not None:
            body_of(target_row)  # The answer has it: see that it is there before anything goes.
        if operation.take == "theirs":
            result = OpResult(200, id=record["id"])
        else:
            result = self._overrule(batch, operation, record)
        self._writing.remove(batch, (CONFLICTS, operation.conflict), kept)
        key = self._key(target)
        return (
            result if key is None or batch.get(key) is None else self._handlers[Get](batch, target)
        )

    def _overrule(self, batch: Batch, operation: Resolve, record: Json) -> OpResult:
        key = self._key(Get(operation.collection, record["id"]))
        row = None if key is None else batch.get(key)
        version = 0 if row is None else tables.decode_document_header(row)[0]
        expected = operation.if_version
        if version != (record["their_version"] if expected is None else expected):
            raise Refusal(PRECONDITION_FAILED, "changed since the conflict", version=version)
        if operation.take == "mine":
            write: Write = own_operation(record)
        elif operation.take == "document" and operation.document is not None:
            write = Put(operation.collection, record["id"], operation.document)
        else:
            raise invalid("/take", "one of mine, theirs, document (with a document)")
        if isinstance(write, Delete) and row is None:
            return OpResult(200, id=record["id"])
        self._handlers[type(write)](batch, write)
        return OpResult(200, id=record["id"])

    def _key(self, operation: Write | Get) -> bytes | None:
        prefix = self._collections.prefixes.get(operation.collection)
        return None if prefix is None else prefix + operation.id.encode()
