"""The fields of the graph as calls of the service layer."""

import json
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from importlib import resources
from typing import Any, Final

from graphql import (
    GraphQLError,
    GraphQLResolveInfo,
    GraphQLScalarType,
    GraphQLSchema,
    IntValueNode,
    ValueNode,
    build_schema,
    value_from_ast_untyped,
)

from dataplane.documents.rendering import render_document
from dataplane.documents.tables import decode_document_row
from dataplane.documents.values import Json, parse_json_document
from dataplane.gateways.answers import Answer, fields_of
from dataplane.gateways.auditing import Seen
from dataplane.gateways.auth import Caller
from dataplane.gateways.context import Context
from dataplane.gateways.errors import Problem
from dataplane.gateways.feeds import Event, FeedRequest, parse_place
from dataplane.gateways.operations import TEXT_BYTES_MAX, Condition, idempotency_name
from dataplane.gateways.services import cluster, documents, queries, transactions
from dataplane.gateways.services.reads import Reading, consistency_of
from dataplane.gateways.serving import foreseen, opened, serve

BEHIND_MAX: Final = 50_000
VERSION_MAX: Final = 2**62


@dataclass(slots=True)
class Asking:
    """Whose operation is executed, and where."""

    context: Context
    caller: Caller
    path: str

    async def serve(
        self, seen: Seen, call_class: str, work: Callable[[], Awaitable[Answer]]
    ) -> Answer:
        """Do one field as a call of its own.

        Raises:
            GraphQLError: It was refused.
        """
        try:
            return await serve(self.context, self.caller, call_class, work, seen=seen)
        except Problem as problem:
            raise error_of(problem, self.path) from problem


type Info = GraphQLResolveInfo[Asking]


def error_of(problem: Problem, path: str) -> GraphQLError:
    """Return a problem as an error of GraphQL: the code is in its extensions."""
    body = problem.body(path)
    if problem.retry_after_s is not None:
        body["retry_after_s"] = problem.retry_after_s
    return GraphQLError(problem.detail, extensions=body, original_error=problem)


def text_of(value: Any) -> bytes:
    """Return a value of the scalar JSON as text, which the service layer checks."""
    return json.dumps(value, ensure_ascii=True).encode()


def document_of(body: Json) -> Json:
    """Return a document of the service layer as the type Document."""
    own = {name: value for name, value in body.items() if not name.startswith("_")}
    return {
        "id": body["_id"],
        "version": body["_version"],
        "created": body["_created"],
        "updated": body["_updated"],
        "data": own,
    }


def _condition(asking: Asking, given: Json) -> Condition:
    return Condition(
        given.get("ifVersion"),
        bool(given.get("ifNoneMatch")),
        idempotency_name(asking.caller, given.get("idempotencyKey")),
    )


async def _document(_: Any, info: Info, **given: Any) -> Json | None:
    asking = info.context

    async def work() -> Answer:
        reading = Reading(consistency_of(given.get("consistency")), given.get("after") or 0)
        place = given["collection"], given["id"]
        try:
            return await documents.read(asking.context, asking.caller, place, reading)
        except Problem as problem:
            if problem.code != "not_found":
                raise
            return Answer(404)

    seen = Seen("document.read", given["collection"], given["id"])
    answer = await asking.serve(seen, "read", work)
    return None if answer.status == 404 else document_of(answer.fields())


async def _documents(_: Any, info: Info, **given: Any) -> Json:
    asking = info.context
    collection = given.pop("collection")
    asked = {name: value for name, value in given.items() if value is not None}

    async def work() -> Answer:
        # Projected documents keep what makes a Document of them.
        body = parse_json_document(text_of(asked), bytes_max=queries.BODY_BYTES_MAX)
        return await queries.query(asking.context, asking.caller, collection, body)

    body = (await asking.serve(Seen("document.query", collection), "query", work)).body
    assert body is not None
    return {**body, "documents": [document_of(fields_of(found)) for found in body["documents"]]}


async def _collections(_: Any, info: Info) -> list[Json]:
    asking = info.context

    async def work() -> Answer:
        return cluster.collections_list(asking.context, asking.caller)

    body = (await asking.serve(Seen("collection.read"), "read", work)).body
    assert body is not None
    found: list[Json] = body["collections"]
    return found


async def _stats(_: Any, info: Info) -> Json:
    asking = info.context

    async def work() -> Answer:
        return cluster.stats(asking.context, asking.caller)

    body = (await asking.serve(Seen("cluster.stats"), "", work)).body
    assert body is not None
    return {**body, "uptime": body["uptime_s"], "all": body}


async def _create(_: Any, info: Info, **given: Any) -> Json:
    asking = info.context

    async def work() -> Answer:
        condition = _condition(asking, given)
        return await documents.create(
            asking.context,
            asking.caller,
            given["collection"],
            text_of(given["data"]),
            condition=condition,
        )

    body = (await asking.serve(Seen("document.create", given["collection"]), "write", work)).body
    assert body is not None
    return document_of(body)


async def _put(_: Any, info: Info, **given: Any) -> Json:
    asking = info.context

    async def work() -> Answer:
        place, condition = (given["collection"], given["id"]), _condition(asking, given)
        text = text_of(given["data"])
        return await documents.put(asking.context, asking.caller, place, text, condition=condition)

    body = (
        await asking.serve(Seen("document.put", given["collection"], given["id"]), "write", work)
    ).body
    assert body is not None
    return document_of(body)


async def _patch(_: Any, info: Info, **given: Any) -> Json:
    asking = info.context
    merge, update = given.get("patch"), given.get("update")

    async def work() -> Answer:
        if (merge is None) == (update is None):
            raise Problem("invalid", "give either patch or update")
        return await documents.patch(
            asking.context,
            asking.caller,
            (given["collection"], given["id"]),
            text_of(merge if update is None else update),
            condition=_condition(asking, given),
            operators=update is not None,
        )

    body = (
        await asking.serve(Seen("document.patch", given["collection"], given["id"]), "write", work)
    ).body
    assert body is not None
    return document_of(body)


async def _delete(_: Any, info: Info, **given: Any) -> bool:
    asking = info.context

    async def work() -> Answer:
        place, condition = (given["collection"], given["id"]), _condition(asking, given)
        return await documents.delete(asking.context, asking.caller, place, condition)

    await asking.serve(Seen("document.delete", given["collection"], given["id"]), "delete", work)
    return True


async def _transact(_: Any, info: Info, **given: Any) -> list[Json]:
    asking = info.context

    async def work() -> Answer:
        asked = text_of({"operations": given["operations"]})
        body = parse_json_document(asked, bytes_max=TEXT_BYTES_MAX)
        key = given.get("idempotencyKey")
        return await transactions.transact(asking.context, asking.caller, body, idempotency_key=key)

    body = (await asking.serve(Seen("document.transact"), "write", work)).body
    assert body is not None
    results: list[Json] = body["results"]
    return results


async def _changes(_: Any, info: Info, **given: Any) -> AsyncIterator[Json]:
    asking = info.context
    after, filter_ = given.get("after"), given.get("filter")
    try:
        asked = FeedRequest(
            after=None if after is None else parse_place(after),
            collections=tuple(dict.fromkeys(given.get("collections") or ())),
            filter=None
            if filter_ is None
            else parse_json_document(text_of(filter_), bytes_max=TEXT_BYTES_MAX),
            behind_max=BEHIND_MAX,
        )
        async with opened(asking.context, asking.caller, asked) as feed:
            async for _place, events in feed:
                for event in events:
                    yield {"changes": _change(event)}
    except Exception as error:
        raise foreseen(error) from error


def _change(event: Event) -> Json:
    body = event.body(with_document=False)
    found = None
    if event.row is not None:
        found = document_of(render_document(decode_document_row(event.id, event.row)))
    return {**body, "place": str(event.place), "document": found}


def _long(value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= VERSION_MAX:
        raise GraphQLError(f"a whole number from 0 to {VERSION_MAX}")
    return value


def _long_literal(node: ValueNode, _variables: Any = None) -> int:
    if not isinstance(node, IntValueNode) or len(node.value) > len(str(VERSION_MAX)):
        raise GraphQLError(f"a whole number from 0 to {VERSION_MAX}")
    return _long(int(node.value))


def _json_literal(node: ValueNode, variables: dict[str, Any] | None = None) -> Any:
    return value_from_ast_untyped(node, variables)


RESOLVERS: Final[dict[str, dict[str, Callable[..., Any]]]] = {
    "Query": {
        "document": _document,
        "documents": _documents,
        "collections": _collections,
        "stats": _stats,
    },
    "Mutation": {
        "create": _create,
        "put": _put,
        "patch": _patch,
        "delete": _delete,
        "transact": _transact,
    },
}


def make_schema() -> GraphQLSchema:
    """Return the schema with its resolvers."""
    text = resources.files("dataplane.gateways.graphql").joinpath("schema.graphql").read_text()
    schema = build_schema(text)
    for type_name, fields in RESOLVERS.items():
        kind: Any = schema.type_map[type_name]
        for name, resolve in fields.items():
            kind.fields[name].resolve = resolve
    subscription: Any = schema.type_map["Subscription"]
    subscription.fields["changes"].subscribe = _changes
    _scalar(schema, "JSON", parse_literal=_json_literal)
    _scalar(schema, "Long", parse_value=_long, parse_literal=_long_literal)
    return schema


def _scalar(schema: GraphQLSchema, name: str, **functions: Any) -> None:
    kind = schema.type_map[name]
    assert isinstance(kind, GraphQLScalarType)
    for function, value in functions.items():
        setattr(kind, function, value)
