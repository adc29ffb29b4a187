"""A stored document as clients see it."""

from datetime import UTC, datetime, timedelta
from typing import Any

from dataplane.documents.types import DocumentRecord
from dataplane.documents.values import unpack_document

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def timestamp(at_us: int) -> str:
    """Return microseconds since 1970 in the API's form, 2026-11-23T10:00:00.000000Z."""
    moment = _EPOCH + timedelta(microseconds=at_us)
    return moment.strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def render_document(record: DocumentRecord) -> dict[str, Any]:
    """Return the document with its `_id`, `_version`, `_created` and `_updated` in front."""
    return {
        "_id": record.id,
        "_version": record.version,
        "_created": timestamp(record.created_us),
        "_updated": timestamp(record.updated_us),
        **unpack_document(record.body),
    }
