"""`aerolith.v1.DataService`: documents, questions, and what changes."""

import asyncio
from collections.abc import AsyncIterator, Callable, Generator
from contextlib import contextmanager
from functools import partial
from typing import Any, Final, override

from dataplane.documents.values import Json, parse_json_document
from dataplane.gateways.answers import Answer
from dataplane.gateways.auditing import Seen
from dataplane.gateways.auth import Caller
from dataplane.gateways.context import Context
from dataplane.gateways.errors import Problem
from dataplane.gateways.feeds import Event, FeedRequest, parse_place
from dataplane.gateways.operations import (
    BULK_OPERATIONS_MAX,
    TEXT_BYTES_MAX,
    Condition,
    idempotency_name,
)
from dataplane.gateways.rpc.calls import DATA, Call, Calls, needed
from dataplane.gateways.rpc.pb import aerolith_pb2 as pb
from dataplane.gateways.rpc.pb import aerolith_pb2_grpc as stubs
from dataplane.gateways.rpc.statuses import document, encode, position
from dataplane.gateways.services import documents, queries, transactions
from dataplane.gateways.services.reads import Reading, consistency_of
from dataplane.gateways.serving import opened, serve

VERSION_MAX: Final = 2**62
BULK_BYTES_MAX: Final = 16 * 1024 * 1024
HELD_BYTES_MAX: Final = 8 * BULK_BYTES_MAX
FILTER_BYTES_MAX: Final = 16 * 1024
PAGE_SIZE: Final = 100
ARRIVAL_S: Final = 60.0
BEHIND_MAX: Final = 50_000


class Held:
    """Counts what is kept of streams that arrive, over all callers."""

    def __init__(self) -> None:
        self.size_bytes = 0

    @contextmanager
    def stream(self) -> Generator[Callable[[int], None]]:
        """Give what to call with the bytes that a stream has more; all are let go at its end."""
        own = 0

        def more(size_bytes: int) -> None:
            nonlocal own
            if self.size_bytes + size_bytes > HELD_BYTES_MAX:
                raise Problem("rate_limited", "the node is receiving too much at once")
            self.size_bytes += size_bytes
            own += size_bytes

        try:
            yield more
        finally:
            self.size_bytes -= own


class DataService(stubs.DataServiceServicer):
    """Answers calls about documents."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._calls = Calls(context, DATA)
        self._held = Held()

    def _document(self, answer: Answer) -> pb.Document:
        return document(self._context, answer)

    @override
    async def Get(self, request: pb.GetRequest, context: Call) -> pb.Document:
        """Return a document."""

        async def work(caller: Caller) -> Answer:
            consistency = consistency_of(request.consistency or None)
            reading = Reading(consistency, _bounded(request.after, "after"), request.proof)
            place = request.collection, request.id
            return await documents.read(self._context, caller, place, reading)

        return await self._calls.answer(context, "Get", "read", work, render=self._document)

    @override
    async def Create(self, request: pb.CreateRequest, context: Call) -> pb.Document:
        """Store a document under a new id, or under its own."""

        async def work(caller: Caller) -> Answer:
            condition = _condition(caller, request.condition)
            return await documents.create(
                self._context, caller, request.collection, request.json, condition=condition
            )

        about = (request.collection,)
        return await self._calls.answer(
            context, "Create", "write", work, render=self._document, about=about
        )

    @override
    async def Put(self, request: pb.PutRequest, context: Call) -> pb.Document:
        """Create a document or replace it."""

        async def work(caller: Caller) -> Answer:
            condition = _condition(caller, request.condition)
            place = request.collection, request.id
            return await documents.put(
                self._context, caller, place, request.json, condition=condition
            )

        about = (request.collection, request.id)
        return await self._calls.answer(
            context, "Put", "write", work, render=self._document, about=about
        )

    @override
    async def Patch(self, request: pb.PatchRequest, context: Call) -> pb.Document:
        """Change a document."""

        async def work(caller: Caller) -> Answer:
            operators = request.WhichOneof("change") == "update_json"
            return await documents.patch(
                self._context,
                caller,
                (request.collection, request.id),
                request.update_json if operators else request.merge_patch_json,
                condition=_condition(caller, request.condition),
                operators=operators,
            )

        about = (request.collection, request.id)
        return await self._calls.answer(
            context, "Patch", "write", work, render=self._document, about=about
        )

    @override
    async def Delete(self, request: pb.DeleteRequest, context: Call) -> pb.DeleteResponse:
        """Delete a document."""

        async def work(caller: Caller) -> Answer:
            condition = _condition(caller, request.condition)
            place = request.collection, request.id
            return await documents.delete(self._context, caller, place, condition)

        def render(answer: Answer) -> pb.DeleteResponse:
            return pb.DeleteResponse(position=position(self._context, answer.facts))

        about = (request.collection, request.id)
        return await self._calls.answer(
            context, "Delete", "delete", work, render=render, about=about
        )

    @override
    async def Bulk(
        self, request_iterator: AsyncIterator[pb.BulkRequest], context: Call
    ) -> pb.BulkResponse:
        """Do the operations of a stream together."""

        async def work(caller: Caller) -> Answer:
            self._context.require_room()
            with self._held.stream() as more:
                try:
                    async with asyncio.timeout(ARRIVAL_S):
                        name, key, items = await _bulk(request_iterator, caller, more)
                except TimeoutError as error:
                    raise Problem("timeout", f"the stream took over {ARRIVAL_S:.0f} s") from error
                body = {"operations": items}
                return await documents.bulk(self._context, caller, name, body, idempotency_key=key)

        def render(answer: Answer) -> pb.BulkResponse:
            assert answer.body is not None
            return pb.BulkResponse(
                results=[_bulk_result(item) for item in answer.body["results"]],
                position=position(self._context, answer.facts),
            )

        return await self._calls.answer(context, "Bulk", "write", work, render=render)

    @override
    async def Query(
        self, request: pb.QueryRequest, context: Call
    ) -> AsyncIterator[pb.QueryResponse]:
        """Yield pages of documents."""
        async for page in self._calls.stream(context, "Query", lambda c: self._pages(request, c)):
            yield page

    async def _pages(
        self, request: pb.QueryRequest, caller: Caller
    ) -> AsyncIterator[pb.QueryResponse]:
        ours, left, cursor = self._context, request.limit or None, request.cursor
        while True:
            body = _object(request.body_json, queries.BODY_BYTES_MAX)
            size = request.page_size or PAGE_SIZE
            body["limit"] = size if left is None else min(size, left)
            if cursor:
                body["after"] = cursor
                body.pop("offset", None)
            if request.consistency:
                body["consistency"] = request.consistency
            after = _bounded(request.after, "after")
            caller = ours.admission.renewed(caller)
            answer = await serve(
                ours,
                caller,
                "query",
                partial(queries.query, ours, caller, request.collection, body, after=after),
                seen=Seen("document.query", request.collection),
            )
            assert answer.body is not None
            found, cursor = answer.body["documents"], answer.body["next"] or ""
            plan = answer.body.get("plan")
            yield pb.QueryResponse(
                documents_json=[encode(item) for item in found],
                next=cursor,
                scanned=answer.body["scanned"],
                plan_json=b"" if plan is None else encode(plan),
                position=position(ours, answer.facts),
            )
            left = None if left is None else left - len(found)
            if not cursor or left == 0:
                return

    @override
    async def Aggregate(self, request: pb.AggregateRequest, context: Call) -> pb.AggregateResponse:
        """Run a pipeline."""

        async def work(caller: Caller) -> Answer:
            text = b'{"pipeline":%b}' % (request.pipeline_json or b"[]")
            body = parse_json_document(text, bytes_max=queries.BODY_BYTES_MAX)
            if request.consistency:
                body["consistency"] = request.consistency
            after = _bounded(request.after, "after")
            return await queries.aggregate(
                self._context, caller, request.collection, body, after=after
            )

        def render(answer: Answer) -> pb.AggregateResponse:
            assert answer.body is not None
            return pb.AggregateResponse(
                documents_json=[encode(item) for item in answer.body["documents"]],
                scanned=answer.body["scanned"],
                position=position(self._context, answer.facts),
            )

        return await self._calls.answer(context, "Aggregate", "query", work, render=render)

    @override
    async def Transact(self, request: pb.TransactRequest, context: Call) -> pb.TransactResponse:
        """Do all operations or none."""

        async def work(caller: Caller) -> Answer:
            text = b'{"operations":%b}' % (request.operations_json or b"[]")
            body = parse_json_document(text, bytes_max=TEXT_BYTES_MAX)
            key = request.idempotency_key if request.HasField("idempotency_key") else None
            return await transactions.transact(self._context, caller, body, idempotency_key=key)

        def render(answer: Answer) -> pb.TransactResponse:
            assert answer.body is not None
            return pb.TransactResponse(
                results_json=encode(answer.body["results"]),
                position=position(self._context, answer.facts),
            )

        return await self._calls.answer(context, "Transact", "write", work, render=render)

    @override
    async def Watch(
        self, request: pb.WatchRequest, context: Call
    ) -> AsyncIterator[pb.WatchResponse]:
        """Yield what happens to documents."""
        async for told in self._calls.stream(context, "Watch", lambda c: self._told(request, c)):
            yield told

    async def _told(
        self, request: pb.WatchRequest, caller: Caller
    ) -> AsyncIterator[pb.WatchResponse]:
        filter_ = request.filter_json
        asked = FeedRequest(
            after=parse_place(request.after) if request.after else None,
            collections=tuple(dict.fromkeys(request.collections)),
            filter=parse_json_document(filter_, bytes_max=FILTER_BYTES_MAX) if filter_ else None,
            behind_max=BEHIND_MAX,
        )
        async with opened(self._context, caller, asked) as feed:
            yield pb.WatchResponse(place=str(feed.place))
            async for place, events in feed:
                changes = [_change(event) for event in events]
                yield pb.WatchResponse(place=str(place), changes=changes)


def _change(event: Event) -> pb.Change:
    return pb.Change(
        place=str(event.place),
        operation=event.operation,
        collection=event.collection,
        id=event.id,
        version=event.version,
        time=event.body(with_document=False)["time"],
        json=event.rendered(),
    )


def _object(text: bytes, bytes_max: int) -> Json:
    return parse_json_document(text, bytes_max=bytes_max) if text else {}


def _bounded(number: int, name: str) -> int:
    if number > VERSION_MAX:
        raise Problem("invalid", f"{name} is out of range")
    return number


def _condition(caller: Caller, given: pb.Condition) -> Condition:
    has_version = given.HasField("if_version")
    key = given.idempotency_key if given.HasField("idempotency_key") else None
    return Condition(
        _bounded(given.if_version, "if_version") if has_version else None,
        given.if_none_match,
        idempotency_name(caller, key),
    )


async def _bulk(
    requests: AsyncIterator[pb.BulkRequest], caller: Caller, more: Callable[[int], None]
) -> tuple[str, str | None, list[dict[str, Any]]]:
    """Return the collection, the idempotency key and the items of a stream."""
    name, key, size_bytes = "", None, 0
    items: list[dict[str, Any]] = []
    async for request in requests:
        if not items:
            name = needed(request.collection, "collection")
            # Whoever may not write does not get to have the node hold a whole stream.
            caller.require("documents:write", name)
            key = request.idempotency_key if request.HasField("idempotency_key") else None
        size_bytes += request.ByteSize()
        if len(items) >= BULK_OPERATIONS_MAX or size_bytes > BULK_BYTES_MAX:
            limits = f"{BULK_OPERATIONS_MAX} operations and {BULK_BYTES_MAX} bytes"
            raise Problem("too_large", f"a bulk stream has at most {limits}")
        more(request.ByteSize())
        item: dict[str, Any] = {"op": request.op}
        if request.HasField("id"):
            item["id"] = request.id
        if request.json:
            item["document"] = parse_json_document(request.json, bytes_max=TEXT_BYTES_MAX)
        if request.HasField("if_version"):
            item["if_version"] = _bounded(request.if_version, "if_version")
        items.append(item)
    return name, key, items


def _bulk_result(item: dict[str, Any]) -> pb.BulkResult:
    return pb.BulkResult(
        status=item["status"],
        id=item.get("id", ""),
        version=item.get("version", 0),
        code=item.get("code", ""),
        detail=item.get("detail", ""),
    )
