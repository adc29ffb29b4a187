"""The frames of `/api/v1/ws`: what clients send, and how they are answered."""

from typing import Any, Final

import msgspec

from dataplane.gateways.answers import Answer, Facts
from dataplane.gateways.context import (
    EPOCH_HEADER,
    LAG_HEADER,
    SEQUENCE_HEADER,
    STALE_HEADER,
    STALENESS_HEADER,
    VIEW_HEADER,
)
from dataplane.gateways.errors import Problem
from dataplane.gateways.operations import Version

TEXT_MAX: Final = 4_096
NOTHING: Final = msgspec.Raw(b"")
_NUMBERS: Final = {
    SEQUENCE_HEADER: "sequence",
    VIEW_HEADER: "view",
    EPOCH_HEADER: "epoch",
    LAG_HEADER: "lag",
    STALENESS_HEADER: "staleness_ms",
    "Aerolith-Overwrote": "overwrote",
    "Aerolith-Merged": "merged",
}

type FrameId = int | str | None


class Frame(msgspec.Struct, forbid_unknown_fields=True):
    """One frame of a client; which fields mean something depends on `type`."""

    type: str
    id: int | str | None = None
    token: str | None = None
    collection: str | None = None
    document_id: str | None = None
    document: msgspec.Raw = NOTHING
    patch: msgspec.Raw = NOTHING
    update: msgspec.Raw = NOTHING
    query: msgspec.Raw = NOTHING
    aggregate: msgspec.Raw = NOTHING
    filter: msgspec.Raw = NOTHING
    operations: msgspec.Raw = NOTHING
    collections: tuple[str, ...] = ()
    consistency: str | None = None
    after: Version | str | None = None
    proof: bool = False
    if_version: Version | None = None
    if_none_match: bool = False
    idempotency_key: str | None = None
    subscription: int | str | None = None
    traceparent: str | None = None


_decoder: Final = msgspec.json.Decoder(Frame)
_encode: Final = msgspec.json.Encoder().encode


def decode_frame(text: bytes) -> Frame:
    """Return the frame in a message.

    Raises:
        Problem: `malformed`, `invalid`.
    """
    try:
        frame = _decoder.decode(text)
    except msgspec.ValidationError as error:
        raise Problem("invalid", str(error)) from error
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise Problem("malformed", f"not a JSON object: {error}") from error
    if isinstance(frame.id, str) and len(frame.id) > TEXT_MAX:
        raise Problem("invalid", f"the id of a frame has at most {TEXT_MAX} characters")
    return frame


def place_of(frame: Frame) -> tuple[str, str]:
    """Return which document a frame is about.

    Raises:
        Problem: `invalid`.
    """
    if frame.document_id is None:
        raise _missing("document_id")
    return collection_of(frame), frame.document_id


def collection_of(frame: Frame) -> str:
    """Return which collection a frame is about.

    Raises:
        Problem: `invalid`.
    """
    if frame.collection is None:
        raise _missing("collection")
    return frame.collection


def required(raw: msgspec.Raw, name: str) -> bytes:
    """Return the JSON text of a field.

    Raises:
        Problem: `invalid`.
    """
    text = bytes(raw)
    if not text:
        raise _missing(name)
    return text


def _missing(name: str) -> Problem:
    fault = {"pointer": f"/{name}", "detail": "is needed"}
    return Problem("invalid", f"{name} is needed", {"errors": [fault]})


def facts_of(facts: Facts) -> dict[str, Any]:
    """Return the facts of an answer as members of an object."""
    told: dict[str, Any] = {_NUMBERS[name]: int(v) for name, v in facts if name in _NUMBERS}
    if (STALE_HEADER, "true") in facts:
        told["stale"] = True
    return told


def result_frame(frame_id: FrameId, answer: Answer) -> bytes:
    """Return the frame of an answer."""
    body: dict[str, Any] = {"id": frame_id, "type": "result", "status": answer.status}
    body |= facts_of(answer.facts)
    if answer.body is not None:
        body["body"] = answer.body
    elif answer.document is not None:
        body["body"] = msgspec.Raw(answer.document)
    return _encode(body)


def error_frame(frame_id: FrameId, problem: Problem) -> bytes:
    """Return the frame of a refusal; streams end with it."""
    body: dict[str, Any] = {"id": frame_id, "type": "error", "status": problem.status}
    if problem.retry_after_s is not None:
        body["retry_after_s"] = problem.retry_after_s
    body["problem"] = problem.body("/api/v1/ws")
    return _encode(body)


def plain_frame(frame_id: FrameId, kind: str, **fields: Any) -> bytes:
    """Return any other frame."""
    return _encode({"id": frame_id, "type": kind, **fields})


def change_frame(frame_id: FrameId, place: str, rendered: bytes) -> bytes:
    """Return the frame of a change, whose JSON all subscribers share."""
    return b'{"id":%b,"type":"change","place":"%b","change":%b}' % (
        _encode(frame_id),
        place.encode(),
        rendered,
    )
