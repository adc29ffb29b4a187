"""Documents in a real state machine, for the tests of queries."""

import itertools
from collections.abc import Mapping
from typing import Any

import msgspec

from dataplane.documents.commands import Op, OpenSession, Put, encode_op, session_id
from dataplane.documents.state import StateMachine
from dataplane.documents.tables import encode_document_row
from dataplane.documents.types import Genesis
from dataplane.documents.values import pack_document
from dataplane.query import (
    AggregateResult,
    QueryPage,
    parse_aggregate,
    parse_query,
    run_aggregate,
    run_query,
)
from dataplane.storage.engine import MemoryStore
from dataplane.storage.ports import KeyValueStore

CLIENT = b"c" * 32


class Sent(msgspec.Struct, frozen=True):
    ops: tuple[bytes, ...]
    cseq: int
    ack: int = 0
    client: bytes = CLIENT
    session: bytes = session_id(CLIENT, b"n")


class Database:
    """A state machine with documents, and ways to ask it."""

    def __init__(
        self, documents: Mapping[str, dict[str, Any]], store: KeyValueStore | None = None
    ) -> None:
        self.store = store or MemoryStore()
        self.machine = StateMachine(self.store, Genesis())
        self.machine.apply(1, 1000, [Sent((encode_op(OpenSession(b"n")),), 0)])
        self.put("c", documents)

    def put(self, collection: str, documents: Mapping[str, dict[str, Any]]) -> None:
        ops = [Put(collection, key, pack_document(value)) for key, value in documents.items()]
        self.write(*ops)

    def fill(self, collection: str, documents: Mapping[str, dict[str, Any]]) -> None:
        """Write rows straight into the store: a state machine takes long over very many."""
        name, first = next(iter(documents.items()))
        self.put(collection, {name: first})
        prefix = self.machine.view.capture().key(collection, "")
        self.store.write(
            {
                prefix + key.encode(): encode_document_row(1, 0, 0, pack_document(value))
                for key, value in documents.items()
            }
        )

    def write(self, *ops: Op) -> None:
        for chunk in itertools.batched(ops, 256):
            number = self.machine.applied
            sent = Sent(tuple(map(encode_op, chunk)), number, number - 1)
            self.machine.apply(number + 1, 1000 + number, [sent])

    def page(self, **body: Any) -> QueryPage:
        return run_query(self.machine.view, parse_query("c", body))

    def aggregate(self, *stages: dict[str, Any], **options: Any) -> list[dict[str, Any]]:
        return self.aggregation(*stages, **options).documents

    def aggregation(self, *stages: dict[str, Any], **options: Any) -> AggregateResult:
        request = parse_aggregate("c", {"pipeline": list(stages), **options})
        return run_aggregate(self.machine.view, request)

    def ids(self, **body: Any) -> list[str]:
        return [document["_id"] for document in self.page(**body).documents]

    def all_pages(self, *, most: int = 1_000_000, **body: Any) -> list[str]:
        ids: list[str] = []
        after = None
        while True:
            page = self.page(**body, after=after)
            ids += [document["_id"] for document in page.documents]
            after = page.next
            if after is None or len(ids) >= most:
                return ids
            assert len(page.documents) == body["limit"]
