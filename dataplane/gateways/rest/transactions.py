"""The route of transactions, and what it looks like to programs."""

from typing import Any, Final

from dataplane.documents.transactions import STEPS_MAX
from dataplane.gateways.auth import Caller
from dataplane.gateways.context import Context
from dataplane.gateways.rest.http import Request, Response
from dataplane.gateways.rest.parsing import object_of
from dataplane.gateways.rest.responses import answer_response
from dataplane.gateways.services import transactions

BODY_BYTES_MAX: Final = 2 * 1024 * 1024

TRANSACTION_BODY: Final[dict[str, Any]] = {
    "type": "object",
    "additionalProperties": False,
    "required": ["operations"],
    "properties": {
        "operations": {
            "type": "array",
            "minItems": 1,
            "maxItems": STEPS_MAX,
            "items": {
                "type": "object",
                "additionalProperties": False,
                "required": ["op", "collection"],
                "properties": {
                    "op": {"type": "string", "enum": list(transactions.OPERATIONS)},
                    "collection": {"type": "string"},
                    "id": {"type": "string", "description": "a create may leave it out"},
                    "document": {
                        "type": "object",
                        "description": "or the patch, or the operators of an update",
                    },
                    "if_version": {"type": "integer", "minimum": 1},
                    "base": {"type": "object", "description": "for collections that merge"},
                    "exists": {"type": "boolean", "description": "of a check"},
                    "version": {"type": "integer", "description": "of a check"},
                    "filter": {"type": "object", "description": "of a check"},
                },
            },
        }
    },
}
TRANSACTION_ANSWER: Final[dict[str, Any]] = {
    "type": "object",
    "required": ["results"],
    "properties": {
        "results": {
            "type": "array",
            "items": {
                "type": "object",
                "required": ["status"],
                "properties": {
                    "status": {"type": "integer"},
                    "id": {"type": "string"},
                    "version": {"type": "integer"},
                    "document": {"type": "object", "description": "of a get"},
                },
            },
        }
    },
}


async def transact(context: Context, request: Request, caller: Caller) -> Response:
    """POST operations that are all done, or none of them."""
    context.require_room()
    key = request.headers.get("idempotency-key")
    body = object_of(request, bytes_max=BODY_BYTES_MAX)
    return answer_response(await transactions.transact(context, caller, body, idempotency_key=key))
