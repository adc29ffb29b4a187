"""JSON values as the database keeps them: checked, normalised and packed alike everywhere."""

import json
import math
import re
from itertools import accumulate
from typing import Any, Final

import msgspec
import orjson

from dataplane.documents.errors import INVALID, MALFORMED, TOO_LARGE, Refusal, invalid

DOCUMENT_BYTES_MAX: Final = 1024 * 1024
DEPTH_MAX: Final = 100
INT_MIN: Final = -(2**63)
INT_MAX: Final = 2**63 - 1

type Json = dict[str, Any]

SYSTEM_COLLECTIONS: Final = frozenset({"_conflicts"})
"""Collections that only the cluster writes to."""

_ID = re.compile(r"[^/\x00-\x1f\x7f-\x9f]{1,128}")
# Clients and proxies resolve them (RFC 3986, 5.2.4): to delete `..` would drop the collection.
_DOTS: Final = (".", "..")
_COLLECTION = re.compile(r"[a-z][a-z0-9_-]{0,62}")
_encoder = msgspec.msgpack.Encoder(order="sorted")
_decoder = msgspec.msgpack.Decoder(dict[str, Any])
_json_decoder = msgspec.json.Decoder(dict[str, Any])
# Bytes that may open a container, an underscore, and the marks of single floats, doubles and large
# unsigned integers. What a body holds of them bounds its depth and says which checks it needs; one
# sweep finds them, because this runs for every document written.
_NOTABLE: Final = {*range(0x80, 0xA0), *range(0xDC, 0xE0), 0x5F, 0xCA, 0xCB, 0xCF}
_PLAIN: Final = bytes(set(range(256)) - _NOTABLE)
# To measure how deep a text is, all of it is dropped but brackets and the quotes of strings.
_STRINGS: Final = re.compile(rb'"(?:[^"\\]++|\\.)*+"', re.DOTALL)
_SIMPLE_STRINGS: Final = re.compile(rb'"[^"]*+"')
_NO_STRUCTURE: Final = bytes(set(range(256)) - set(b'{}[]"'))
_STEPS: Final = {ord("{"): 1, ord("["): 1, ord("}"): -1, ord("]"): -1, ord('"'): 0}


def parse_json_document(data: bytes, *, bytes_max: int = DOCUMENT_BYTES_MAX) -> Json:
    """Decode a JSON object from a client, refusing what the database could not give back.

    Raises:
        Refusal: `malformed` (not an object of JSON, duplicate names, over 100 levels, numbers out
            of range) or `too_large`.
    """
    if len(data) > bytes_max:
        raise Refusal(TOO_LARGE, f"more than {bytes_max} bytes")
    if data.count(b"{") + data.count(b"[") > DEPTH_MAX:
        _check_text_depth(data)
    try:
        document = _json_decoder.decode(data)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise Refusal(MALFORMED, f"not a JSON object: {error}") from error
    try:
        packed = _encoder.encode(document)
    except OverflowError:
        packed = b"\xcf"
    if _suspect(packed, packed):
        document = _clean_object(document, MALFORMED)
    # A name that occurs twice loses a colon on the way through a dict; an escaped one may hide it.
    if b"\\u003" in data or orjson.dumps(document).count(b":") != data.count(b":"):
        _check_duplicates(data)
    return document


def pack_document(document: Json) -> bytes:
    """Pack a parsed document for an operation: MessagePack with sorted names."""
    return _encoder.encode(document)


def unpack_document(body: bytes) -> Json:
    """Unpack the body of a stored document."""
    return _decoder.decode(body)


def check_document(body: bytes, *, reserved: bool = True) -> bytes:
    """Return the body an operation carries, normalised, or refuse it.

    The sender may be a faulty gateway, so nothing about the bytes is taken for granted. The common
    case never walks the document in Python.

    Raises:
        Refusal: `malformed`, `too_large` or `invalid` (a reserved name).
    """
    if len(body) > DOCUMENT_BYTES_MAX:
        raise Refusal(TOO_LARGE, f"the document is over {DOCUMENT_BYTES_MAX} bytes")
    notable = body.translate(None, _PLAIN)
    if len(notable) > DEPTH_MAX:
        _check_packed_depth(body)
    try:
        document = _decoder.decode(body)
        # MessagePack can say more than JSON: byte strings, times, names that are numbers.
        orjson.dumps(document, option=orjson.OPT_PASSTHROUGH_DATETIME)
    except (msgspec.MsgspecError, TypeError, ValueError, RecursionError) as error:
        raise Refusal(MALFORMED, "the document is not MessagePack of a JSON object") from error
    if reserved and b"_" in notable:
        check_names(document)
    if _suspect(body, notable):
        return pack_checked(_clean_object(document, INVALID))
    return body


def check_names(document: Json) -> None:
    """Refuse names that the database keeps for itself.

    Raises:
        Refusal: `invalid` with a pointer to each reserved name.
    """
    errors = tuple(
        (f"/{escape_pointer(name)}", "names that start with _ are reserved")
        for name in sorted(document)
        if name.startswith("_")
    )
    if errors:
        raise Refusal(INVALID, "reserved names", errors=errors)


def pack_checked(document: Json) -> bytes:
    """Pack a document that an operation computed, checking size and depth again.

    Raises:
        Refusal: `too_large`, or `invalid` when it is too deep or a number left its range.
    """
    body = _encoder.encode(_clean_object(document, INVALID))
    if len(body) > DOCUMENT_BYTES_MAX:
        raise Refusal(TOO_LARGE, f"the document would be over {DOCUMENT_BYTES_MAX} bytes")
    return body


def check_id(document_id: str) -> None:
    """Refuse an id that could not be a path segment."""
    if _ID.fullmatch(document_id) is None:
        raise invalid("/_id", "an id is 1 to 128 characters without / or control characters")
    if document_id in _DOTS:
        raise invalid("/_id", f"{document_id} names another place in a path, so it is no id")


def check_collection_name(name: str) -> None:
    """Refuse a collection name outside the documented pattern."""
    if _COLLECTION.fullmatch(name) is None:
        raise invalid("/collection", "a collection name matches ^[a-z][a-z0-9_-]{0,62}$")


def check_readable_name(name: str) -> None:
    """Refuse the name of a collection that cannot be there, to a reader."""
    if name not in SYSTEM_COLLECTIONS:
        check_collection_name(name)


def escape_pointer(name: str) -> str:
    """Escape a name for a JSON Pointer."""
    return name.replace("~", "~0").replace("/", "~1")


def merge_patch(target: Json, patch: Json) -> Json:
    """Apply an RFC 7396 merge patch and return the new object; the arguments stay as they are."""
    result = dict(target)
    for name, value in patch.items():
        if value is None:
            result.pop(name, None)
        elif isinstance(value, dict):
            old = result.get(name)
            result[name] = merge_patch(old if isinstance(old, dict) else {}, value)
        else:
            result[name] = value
    return result


def _suspect(body: bytes, notable: bytes) -> bool:
    """Say whether there may be NaN, an infinity, -0.0, a single float or a large integer."""
    if b"\xca" in notable or b"\xcf" in notable:
        return True
    return b"\xcb" in notable and (
        b"\xcb\x7f" in body or b"\xcb\xff" in body or b"\xcb\x80" in body
    )


def _clean_object(document: Json, code: str) -> Json:
    cleaned = _clean(document, 1, code)
    assert isinstance(cleaned, dict)
    return cleaned


def _clean(value: Any, depth: int, code: str) -> Any:
    """Normalise numbers and refuse what is not JSON, to `DEPTH_MAX` levels."""
    if value is None or isinstance(value, str | bool):
        return value
    if isinstance(value, int):
        return value if INT_MIN <= value <= INT_MAX else _clean_float(value, code)
    if isinstance(value, float):
        return _clean_float(value, code)
    if depth > DEPTH_MAX:
        raise Refusal(code, f"more than {DEPTH_MAX} levels deep")
    if isinstance(value, list):
        return [_clean(item, depth + 1, code) for item in value]
    if isinstance(value, dict) and all(isinstance(name, str) for name in value):
        return {name: _clean(item, depth + 1, code) for name, item in value.items()}
    raise Refusal(code, "the document is not JSON")


def _clean_float(value: float, code: str) -> float:
    try:
        number = float(value)
    except OverflowError as error:
        raise Refusal(code, "a number is out of range") from error
    if not math.isfinite(number):
        raise Refusal(code, "NaN and infinities are refused")
    return number + 0.0


def _check_text_depth(data: bytes) -> None:
    """Refuse deep nesting in the text; what is no JSON at all the decoder refuses."""
    if b"\\" in data:
        data = _STRINGS.sub(b"", data)
    brackets = _SIMPLE_STRINGS.sub(b"", data.translate(None, _NO_STRUCTURE))
    if max(accumulate(map(_STEPS.__getitem__, brackets)), default=0) > DEPTH_MAX:
        raise Refusal(MALFORMED, f"more than {DEPTH_MAX} levels deep")


def _check_duplicates(data: bytes) -> None:
    def collect(pairs: list[tuple[str, Any]]) -> Json:
        members = dict(pairs)
        if len(members) != len(pairs):
            raise Refusal(MALFORMED, "a name occurs twice in one object")
        return members

    json.loads(data, object_pairs_hook=collect)


def _check_packed_depth(body: bytes) -> None:
    """Refuse deep nesting, and whatever else does not decode, with one and the same answer.

    How deep a decoder gets before it gives up depends on the stack it was called on, so replicas
    must not be able to tell one failure from the other.
    """
    refusal = Refusal(MALFORMED, f"more than {DEPTH_MAX} levels deep, or not a JSON object")
    try:
        level: list[Any] = [_decoder.decode(body)]
    except (msgspec.MsgspecError, RecursionError) as error:
        raise refusal from error
    for _ in range(DEPTH_MAX):
        level = [
            item
            for container in level
            for item in (container.values() if isinstance(container, dict) else container)
            if isinstance(item, dict | list)
        ]
        if not level:
            return
    raise refusal
