"""From the text of a GraphQL request to its results."""

from collections.abc import AsyncIterator
from typing import Any, Final

import msgspec
from graphql import (
    DocumentNode,
    ExecutionResult,
    GraphQLError,
    OperationDefinitionNode,
    OperationType,
    execute,
    get_operation_ast,
    parse,
    subscribe,
    validate,
)

from dataplane.documents.values import Json, parse_json_document
from dataplane.gateways.errors import Problem
from dataplane.gateways.graphql.bounds import SOURCE_BYTES_MAX, TOKENS_MAX, Bounds
from dataplane.gateways.graphql.resolvers import Asking, error_of, make_schema
from dataplane.gateways.serving import foreseen

BODY_BYTES_MAX: Final = 2 * 1024 * 1024 + 64 * 1024
ERRORS_MAX: Final = 10
_SCHEMA: Final = make_schema()


class GraphRequest(msgspec.Struct, forbid_unknown_fields=True):
    """A request as clients send it."""

    query: str
    variables: dict[str, Any] | None = None
    operationName: str | None = None  # noqa: N815 - its name in GraphQL over HTTP
    extensions: dict[str, Any] | None = None


class Prepared(msgspec.Struct, frozen=True):
    """A request that may be executed."""

    document: DocumentNode
    operation: OperationDefinitionNode
    request: GraphRequest

    @property
    def is_subscription(self) -> bool:
        """Whether it has a stream of results."""
        return self.operation.operation is OperationType.SUBSCRIPTION


def request_of(body: Json) -> GraphRequest:
    """Return the request in a JSON object.

    Raises:
        Problem: `invalid`.
    """
    try:
        return msgspec.convert(body, GraphRequest)
    except msgspec.ValidationError as error:
        raise Problem("invalid", str(error)) from error


def parsed_request(text: bytes) -> GraphRequest:
    """Return the request in a body.

    Raises:
        Problem: `invalid`.
        Refusal: `malformed`, `too_large`.
    """
    return request_of(parse_json_document(text, bytes_max=BODY_BYTES_MAX))


def prepare(request: GraphRequest) -> Prepared:
    """Parse, bound and validate a request.

    Raises:
        Problem: `malformed`, `invalid`, `too_large`.
    """
    try:
        document = parse(request.query, max_tokens=TOKENS_MAX, max_source_length=SOURCE_BYTES_MAX)
    except (GraphQLError, RecursionError) as error:
        raise Problem("malformed", f"not GraphQL: {str(error)[:500]}") from error
    operation = get_operation_ast(document, request.operationName)
    if operation is None:
        raise Problem("invalid", "name the one operation of the document that is to be done")
    try:
        Bounds(document).check(operation)
        faults = validate(_SCHEMA, document, max_errors=ERRORS_MAX)
    except RecursionError as error:
        raise Problem("too_large", "the document is too deep") from error
    if faults:
        told = [{"pointer": "/query", "detail": fault.message[:500]} for fault in faults]
        raise Problem("invalid", faults[0].message[:500], {"errors": told})
    return Prepared(document, operation, request)


async def run(prepared: Prepared, asking: Asking) -> Json:
    """Return the result of a query or a mutation."""
    result = execute(
        _SCHEMA,
        prepared.document,
        context_value=asking,
        variable_values=prepared.request.variables,
        operation_name=prepared.request.operationName,
        max_coercion_errors=ERRORS_MAX,
    )
    return _told(result if isinstance(result, ExecutionResult) else await result, asking)


async def stream(prepared: Prepared, asking: Asking) -> AsyncIterator[Json]:
    """Yield the results of a subscription."""
    source: Any = subscribe(
        _SCHEMA,
        prepared.document,
        context_value=asking,
        variable_values=prepared.request.variables,
        operation_name=prepared.request.operationName,
        max_coercion_errors=ERRORS_MAX,
    )
    if not isinstance(source, ExecutionResult) and not hasattr(source, "__aiter__"):
        source = await source
    if isinstance(source, ExecutionResult):
        yield _told(source, asking)
        return
    try:
        async for result in source:
            yield _told(result, asking)
    finally:
        await source.aclose()


def failed(problem: Problem, path: str) -> Json:
    """Return the result of a request that was not executed."""
    return {"errors": [_formatted(error_of(problem, path))]}


def _told(result: ExecutionResult, asking: Asking) -> Json:
    told: Json = {"data": result.data}
    if result.errors:
        told["errors"] = [_formatted(_coded(error, asking.path)) for error in result.errors]
    return told


def _coded(error: GraphQLError, path: str) -> GraphQLError:
    """Return an error with a code: of arguments that do not fit, or of what nobody foresaw."""
    if error.extensions and "code" in error.extensions:
        return error
    original = error.original_error
    problem = Problem("invalid", error.message[:500])
    if original is not None and not isinstance(original, GraphQLError):
        problem = foreseen(original)
    coded = error_of(problem, path)
    return GraphQLError(coded.message, error.nodes, path=error.path, extensions=coded.extensions)


def _formatted(error: GraphQLError) -> dict[str, Any]:
    return dict(error.formatted)
