"""A stored document as clients see it."""

from functools import lru_cache
from typing import Any

import msgspec

from dataplane.documents.tables import decode_document_row
from dataplane.documents.types import DocumentRecord
from dataplane.documents.values import unpack_document

_encode = msgspec.json.Encoder().encode


def timestamp(at_us: int) -> str:
    """Return microseconds since 1970 in the API's form, 2026-11-23T10:00:00.000000Z."""
    seconds, micros = divmod(at_us, 1_000_000)
    return f"{_second_text(seconds)}.{micros:06d}Z"


@lru_cache(maxsize=256)
def _second_text(seconds: int) -> str:
    """Return RFC 3339 up to the second; what is written together was written in one second."""
    days, rest = divmod(seconds, 86_400)
    year, month, day = _civil(days)
    hour, rest = divmod(rest, 3600)
    minute, second = divmod(rest, 60)
    return f"{year:04d}-{month:02d}-{day:02d}T{hour:02d}:{minute:02d}:{second:02d}"


def _civil(days: int) -> tuple[int, int, int]:
    """Return (year, month, day) of days since 1970-01-01 (Hinnant, "chrono-compatible dates")."""
    shifted = days + 719_468
    era, day_of_era = divmod(shifted, 146_097)
    year_of_era = (
        day_of_era - day_of_era // 1460 + day_of_era // 36_524 - day_of_era // 146_096
    ) // 365
    day_of_year = day_of_era - (365 * year_of_era + year_of_era // 4 - year_of_era // 100)
    shifted_month = (5 * day_of_year + 2) // 153
    day = day_of_year - (153 * shifted_month + 2) // 5 + 1
    month = shifted_month + 3 if shifted_month < 10 else shifted_month - 9
    return year_of_era + era * 400 + (month <= 2), month, day


def render_document(record: DocumentRecord) -> dict[str, Any]:
    """Return the document with its `_id`, `_version`, `_created` and `_updated` in front."""
    return {
        "_id": record.id,
        "_version": record.version,
        "_created": timestamp(record.created_us),
        "_updated": timestamp(record.updated_us),
        **unpack_document(record.body),
    }


def render_text(document_id: str, row: bytes) -> bytes:
    """Return the JSON of a document of a row that has its body."""
    return _encode(render_document(decode_document_row(document_id, row)))
