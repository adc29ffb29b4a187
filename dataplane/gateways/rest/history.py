"""The route of the history of a document, and how it is described."""

from typing import Any, Final

from dataplane.gateways.auth import Caller
from dataplane.gateways.context import Context
from dataplane.gateways.errors import Problem
from dataplane.gateways.feeds import parse_place
from dataplane.gateways.rest.http import Request, Response
from dataplane.gateways.rest.parsing import number_of, position_of
from dataplane.gateways.rest.responses import answer_response
from dataplane.gateways.services import history
from dataplane.gateways.services.history import BEGINNINGS, LIMIT_DEFAULT, LIMIT_MAX

HISTORY_PATH: Final = "/api/v1/collections/{c}/documents/{id}/history"
INCLUDES: Final = ("document", "none")


async def document_history(
    context: Context, request: Request, caller: Caller, place: tuple[str, str]
) -> Response:
    """GET recent versions of a document, newest first."""
    return answer_response(await history.read(context, caller, place, _request_of(request)))


def _request_of(request: Request) -> history.HistoryRequest:
    limit = number_of(request, "limit", LIMIT_DEFAULT)
    if not 1 <= limit <= LIMIT_MAX:
        raise _invalid("limit", f"a whole number from 1 to {LIMIT_MAX}")
    include = request.query.get("include", "document")
    if include not in INCLUDES:
        raise _invalid("include", f"one of {', '.join(INCLUDES)}")
    before = None
    if request.query.get("before"):
        sequence, position = parse_place(request.query["before"], "/before")
        # A whole sequence comes before the first of its changes.
        before = (sequence, position or 0)
    consistency = request.query.get("consistency")
    is_whole = include == "document"
    return history.HistoryRequest(limit, before, is_whole, consistency, position_of(request))


def _invalid(name: str, what: str) -> Problem:
    fault = {"pointer": f"/{name}", "detail": what}
    return Problem("invalid", f"{name} is {what}", {"errors": [fault]})


def _nullable(kind: str, description: str = "", **more: Any) -> dict[str, Any]:
    return {"type": [kind, "null"], **({"description": description} if description else {}), **more}


_CHANGED: Final = {
    "type": "object",
    "required": ["pointer", "kind"],
    "properties": {
        "pointer": {"type": "string", "description": "a JSON Pointer"},
        "kind": {"type": "string", "enum": ["added", "removed", "changed"]},
    },
}
_VERSION: Final = {
    "type": "object",
    "required": ["place", "sequence", "position", "time", "operation", "version", "actor"],
    "properties": {
        "place": {"type": "string", "description": "as in the change feed; for `before`"},
        "sequence": {"type": "integer"},
        "position": {"type": "integer"},
        "time": {"type": "string", "format": "date-time"},
        "operation": {
            "type": "string",
            "enum": ["insert", "replace", "update", "delete", "erase"],
        },
        "version": {"type": "integer", "description": "of a delete, the last that there was"},
        "actor": _nullable("string", "the id of the key, if the audit log has it"),
        "transaction": _nullable("object"),
        "changed": _nullable("array", "fields that differ from the version before", items=_CHANGED),
        "changed_count": _nullable("integer", "of all such fields: at most 100 are named"),
        "document": _nullable("object", "as it was; absent with include=none"),
    },
}
HISTORY_ANSWER: Final = {
    "type": "object",
    "required": ["versions", "next", "begins", "actors", "retention"],
    "properties": {
        "versions": {"type": "array", "items": _VERSION},
        "next": _nullable("string", "for `before`; null on the last page"),
        "begins": _nullable(
            "object",
            "on the last page: after which sequence this can be told, and why not earlier",
            properties={
                "sequence": {"type": "integer"},
                "reason": {"type": "string", "enum": list(BEGINNINGS)},
                "detail": {"type": "string"},
            },
        ),
        "actors": {
            "type": "string",
            "enum": ["shown", "withheld", "unrecorded"],
            "description": "withheld: the key may not read the audit log; unrecorded: the log "
            "does not record writes now",
        },
        "retention": {
            "type": "object",
            "properties": {"bytes": {"type": "integer"}, "hours": {"type": "integer"}},
        },
    },
}
HISTORY_PARAMETERS: Final[list[dict[str, Any]]] = [
    {
        "name": "limit",
        "in": "query",
        "schema": {
            "type": "integer",
            "minimum": 1,
            "maximum": LIMIT_MAX,
            "default": LIMIT_DEFAULT,
        },
    },
    {
        "name": "before",
        "in": "query",
        "description": "go on behind this place, as `next` names it",
        "schema": {"type": "string"},
    },
    {
        "name": "include",
        "in": "query",
        "description": "none: without the documents",
        "schema": {"type": "string", "enum": list(INCLUDES), "default": "document"},
    },
    {
        "name": "consistency",
        "in": "query",
        "schema": {
            "type": "string",
            "enum": ["strong", "session", "local"],
            "default": "strong",
        },
    },
]
