"""The opaque cursor: the sort values and id of the last document of a page.

It names a place in the order, not a number of documents to skip, so it stays right while documents
come and go. It is bound to its query by a digest and guarded by a checksum; it carries nothing that
its holder could not ask for anyway.
"""

import base64
import binascii
from typing import Any, Final, NamedTuple

import msgspec
from blake3 import blake3

from dataplane.documents.ordering import sort_key
from dataplane.query.filters import fail
from dataplane.query.types import CURSOR_LENGTH_MAX, QueryRequest

_CHECK_BYTES: Final = 8
_FORMAT: Final = 1
_encoder = msgspec.msgpack.Encoder(order="sorted")


class Place(NamedTuple):
    """The values of the sort fields of a document, and its id."""

    values: list[Any]
    id: str


def encode_cursor(request: QueryRequest, place: Place) -> str:
    """Return the cursor behind a document.

    Raises:
        QueryError: The sort values are too long to be carried.
    """
    payload = _encoder.encode((_FORMAT, place.values, place.id))
    text = base64.urlsafe_b64encode(_check(request, payload) + payload).rstrip(b"=").decode()
    if len(text) > CURSOR_LENGTH_MAX:
        raise fail("/sort", "the values to sort by are too long to page through")
    return text


def decode_cursor(request: QueryRequest) -> Place | None:
    """Return the place to go on behind, None for a first page.

    Raises:
        QueryError: The cursor is damaged or belongs to another query.
    """
    if request.after is None:
        return None
    refusal = fail("/after", "not a cursor of this query")
    try:
        padded = request.after.encode("ascii") + b"=" * (-len(request.after) % 4)
        data = base64.b64decode(padded, altchars=b"-_", validate=True)
    except (UnicodeEncodeError, binascii.Error) as error:
        raise refusal from error
    payload = data[_CHECK_BYTES:]
    if data[:_CHECK_BYTES] != _check(request, payload):
        raise refusal
    try:
        _, values, document_id = msgspec.msgpack.decode(payload, type=tuple[int, list[Any], str])
        for value in values:
            sort_key(value)
    except (msgspec.MsgspecError, KeyError) as error:
        raise refusal from error
    if len(values) not in {0, len(request.sort)}:
        raise refusal
    return Place(values, document_id)


def _check(request: QueryRequest, payload: bytes) -> bytes:
    query = _encoder.encode((request.collection, request.filter, request.sort))
    return blake3(blake3(query).digest() + payload).digest(_CHECK_BYTES)
