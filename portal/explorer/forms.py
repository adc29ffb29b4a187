"""Reading what the explorer's forms send."""

import re

import msgspec
from django.http import QueryDict

from portal.core.errors import Invalid
from portal.explorer.constants import (
    DOCUMENT_BYTES_MAX,
    PAGE_COUNT,
    PAGE_COUNT_MAX,
    QUERY_TEXT_MAX,
    SCHEMA_BYTES_MAX,
    TIERING_S_MAX,
)
from portal.explorer.documents import Query
from portal.explorer.errors import UnreadableQuery
from portal.explorer.spans import read_span
from portal.explorer.types import Document, Index, Json

COLLECTION = re.compile(r"[a-z][a-z0-9_-]{0,62}", re.ASCII)


def read_query(form: QueryDict) -> Query:
    """Read the query box.

    Raises:
        UnreadableQuery: A box holds no JSON of the wanted kind.
    """
    return Query(
        filter=_object("filter", form.get("filter", "")),
        sort=_object("sort", form.get("sort", "")),
        projection=_names(form.get("projection", "")),
        limit=_limit(form.get("limit", "")),
        after=form.get("after") or None,
        explain=bool(form.get("explain")),
    )


def read_document(text: str) -> Document:
    """Read the text of a document.

    Raises:
        Invalid: It is not a JSON object, or too large.
    """
    if len(text.encode()) > DOCUMENT_BYTES_MAX:
        raise Invalid(errors=[{"pointer": "/document", "detail": "larger than 1 MiB"}])
    try:
        value: Json = msgspec.json.decode(text)
    except (msgspec.DecodeError, RecursionError, UnicodeError) as error:
        detail = f"Not valid JSON: {error}."
        raise Invalid(errors=[{"pointer": "/document", "detail": detail}]) from error
    if not isinstance(value, dict):
        detail = "A document is a JSON object: { … }."
        raise Invalid(errors=[{"pointer": "/document", "detail": detail}])
    return value


def read_schema(text: str) -> Document | None:
    """Read the text of a schema; no text is no schema.

    Raises:
        Invalid: It is not a JSON object, or too large.
    """
    if len(text.encode()) > SCHEMA_BYTES_MAX:
        raise Invalid(errors=[{"pointer": "/schema", "detail": "larger than 64 KiB"}])
    return read_document(text) if text.strip() else None


def read_collection(text: str) -> str:
    """Read the name of a collection.

    Raises:
        Invalid: It does not follow the rule for names.
    """
    if not COLLECTION.fullmatch(text):
        detail = "A name begins with a small letter; then letters, digits, - and _, 63 at most."
        raise Invalid(errors=[{"pointer": "/name", "detail": detail}])
    return text


def read_index(data: QueryDict) -> Index:
    """Read the form of an index; what fields and filters mean is the cluster's to judge.

    Raises:
        Invalid: The name does not follow the rule, which is that of collections.
        UnreadableQuery: A box holds no JSON of the wanted kind.
    """
    fields = _object("fields", data.get("fields", "")) or {}
    if not fields:
        raise UnreadableQuery("fields", 'Name 1 to 8 fields, such as {"country": 1}.')
    order: dict[str, int] = {}
    for path, way in fields.items():
        if isinstance(way, bool) or not isinstance(way, int):
            raise UnreadableQuery("fields", "Each field is 1 or -1.")
        order[path] = way
    return Index(
        name=read_collection(data.get("name", "").strip()),
        fields=order,
        is_unique="unique" in data,
        is_sparse="sparse" in data,
        partial=_object("partial", data.get("partial", "")),
        expire_after_s=_expiry(data, len(order)),
    )


def _expiry(data: QueryDict, fields_count: int) -> int | None:
    """Read after how many seconds documents expire, if they do."""
    field = "expire_after_s"
    seconds = read_span(field, data.get("expire_after", ""), data.get("expire_unit", "s"))
    if seconds is None:
        return None
    if fields_count != 1:
        detail = "Documents expire by one field that holds a date: leave one field."
        raise UnreadableQuery(field, detail)
    if "unique" in data:
        raise UnreadableQuery(field, "An index for expiry cannot be unique.")
    return seconds


def read_tiering(data: QueryDict) -> dict[str, int]:
    """Read the form of a collection's policy: after which times its documents move.

    Raises:
        UnreadableQuery: A box holds no time, or one that makes no sense beside the other.
    """
    cold = read_span("cold_after_s", data.get("cold_after", ""), data.get("cold_unit", "d"))
    archive = read_span(
        "archive_after_s", data.get("archive_after", ""), data.get("archive_unit", "d")
    )
    found = {"cold_after_s": cold, "archive_after_s": archive}
    tiering = {name: seconds for name, seconds in found.items() if seconds is not None}
    if not tiering:
        raise UnreadableQuery("cold_after_s", "Say after which time, or end the policy.")
    for name, seconds in tiering.items():
        if not 1 <= seconds <= TIERING_S_MAX:
            raise UnreadableQuery(name, "From one second to ten years (3,650 days).")
    if cold is not None and archive is not None and archive <= cold:
        raise UnreadableQuery("archive_after_s", "Documents are archived later than they get cold.")
    return tiering


def read_version(text: str) -> int:
    """Read the version that the user saw.

    Raises:
        Invalid: The form was changed.
    """
    version = read_version_or_none(text)
    if version is None:
        detail = "The form holds no version: reload the page."
        raise Invalid(errors=[{"pointer": "/version", "detail": detail}])
    return version


def read_version_or_none(text: str) -> int | None:
    """Read a version, if there is one."""
    return int(text) if text.isascii() and text.isdigit() and len(text) < 19 else None


def _object(field: str, text: str) -> Document | None:
    """Read a box that holds a JSON object or nothing."""
    if not text.strip():
        return None
    if len(text) > QUERY_TEXT_MAX:
        raise UnreadableQuery(field, "This is too long.")
    try:
        value: Json = msgspec.json.decode(text)
    except (msgspec.DecodeError, RecursionError, UnicodeError) as error:
        raise UnreadableQuery(field, f"Not valid JSON: {error}.") from error
    if not isinstance(value, dict):
        raise UnreadableQuery(field, 'Write a JSON object, such as {"city": "Oslo"}.')
    return value


def _names(text: str) -> list[str] | None:
    """Read a box that holds field names with commas between them."""
    names = [name.strip() for name in text.split(",") if name.strip()]
    if len(text) > QUERY_TEXT_MAX or len(names) > 100:
        raise UnreadableQuery("projection", "These are too many fields.")
    return names or None


def _limit(text: str) -> int:
    """Read the size of a page; nonsense becomes the default."""
    if not (text.isascii() and text.isdigit() and len(text) < 6):
        return PAGE_COUNT
    return min(max(int(text), 1), PAGE_COUNT_MAX)
