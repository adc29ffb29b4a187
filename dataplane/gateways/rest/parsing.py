"""Requests of clients as operations of the cluster."""

from typing import Final

import msgspec

from dataplane.documents.values import Json, parse_json_document
from dataplane.gateways.auth import Caller
from dataplane.gateways.errors import Problem
from dataplane.gateways.operations import Condition, idempotency_name
from dataplane.gateways.rest.http import Request

JSON: Final = "application/json"
MERGE_PATCH: Final = "application/merge-patch+json"
UPDATE: Final = "application/vnd.aerolith.update+json"
BULK_BYTES_MAX: Final = 16 * 1024 * 1024
QUERY_DIGITS_MAX: Final = 9
POSITION_DIGITS_MAX: Final = 18
"""A number of so many digits fits into 64 bits."""


def number_of(request: Request, name: str, default: int) -> int:
    """Return a number of the query string.

    Raises:
        Problem: `invalid` when it is none.
    """
    text = request.query.get(name, str(default))
    if not (text.isascii() and text.isdigit()) or len(text) > QUERY_DIGITS_MAX:
        fault = {"pointer": f"/{name}", "detail": "a whole number from 0"}
        raise Problem("invalid", f"{name} is a number", {"errors": [fault]})
    return int(text)


def media_type(request: Request) -> str:
    """Return the content type without parameters; a missing one counts as JSON."""
    return request.headers.get("content-type", JSON).split(";", 1)[0].strip().lower()


def require_media_type(request: Request, *allowed: str) -> str:
    """Return the content type when it is one of the allowed.

    Raises:
        Problem: `unsupported_media_type`.
    """
    given = media_type(request)
    if given not in allowed:
        raise Problem("unsupported_media_type", f"send one of {', '.join(allowed)}")
    return given


def object_of(request: Request, *, bytes_max: int = BULK_BYTES_MAX) -> Json:
    """Return the JSON object in the body.

    Raises:
        Problem: `unsupported_media_type`.
        Refusal: `malformed` or `too_large`.
    """
    require_media_type(request, JSON)
    return parse_json_document(request.body, bytes_max=bytes_max)


def struct_of[S: msgspec.Struct](request: Request, kind: type[S]) -> S:
    """Return the body as a struct that refuses unknown fields.

    Raises:
        Problem: `malformed`, `invalid` or `unsupported_media_type`.
    """
    require_media_type(request, JSON)
    try:
        return msgspec.json.decode(request.body or b"{}", type=kind)
    except msgspec.ValidationError as error:
        raise Problem("invalid", str(error)) from error
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise Problem("malformed", f"not JSON: {error}") from error


def idempotency_of(request: Request, caller: Caller, part: int | None = None) -> bytes | None:
    """Return the replicated name of the request's Idempotency-Key.

    Raises:
        Problem: `invalid` when it is empty or too long.
    """
    return idempotency_name(caller, request.headers.get("idempotency-key"), part)


def condition_of(request: Request, caller: Caller) -> Condition:
    """Return the condition of a write.

    Raises:
        Problem: `invalid`.
    """
    return Condition(if_match(request), if_none_match(request), idempotency_of(request, caller))


def if_match(request: Request) -> int | None:
    """Return the version that If-Match names.

    Raises:
        Problem: `invalid` for anything but one quoted version.
    """
    given = request.headers.get("if-match")
    if given is None:
        return None
    text = given.strip().strip('"')
    if not (text.isascii() and text.isdigit() and len(text) <= POSITION_DIGITS_MAX):
        raise Problem("invalid", "If-Match takes one version in quotes, as ETag gave it")
    return int(text)


def if_none_match(request: Request) -> bool:
    """Return whether the request asks that the document must not exist.

    Raises:
        Problem: `invalid` for anything but *.
    """
    given = request.headers.get("if-none-match")
    if given is None:
        return False
    if given.strip() != "*":
        raise Problem("invalid", "If-None-Match takes * on a write")
    return True


def position_of(request: Request) -> int:
    """Return the sequence that the client saw last, 0 when it names none.

    Raises:
        Problem: `invalid`.
    """
    after = request.headers.get("aerolith-after", "0")
    if not (after.isascii() and after.isdigit() and len(after) <= POSITION_DIGITS_MAX):
        raise Problem("invalid", "Aerolith-After takes a sequence, as Aerolith-Sequence gave it")
    return int(after)


def wants_proof(text: str) -> bool:
    """Return whether the value of `proof` asks for one.

    Raises:
        Problem: `invalid` for anything but true or false.
    """
    if text not in {"true", "1", "false", "0"}:
        raise Problem("invalid", "proof is true or false")
    return text in {"true", "1"}
