"""What the options of a collection mean for its documents."""

from dataclasses import dataclass
from functools import lru_cache
from typing import Final

from dataplane.documents.conflicts import POLICY_OPTION, REJECT, check_options
from dataplane.documents.errors import Refusal, invalid
from dataplane.documents.index_definitions import check_seconds
from dataplane.documents.schemas import Schema, compile_schema
from dataplane.documents.stubs import body_bytes, body_of
from dataplane.documents.values import Json, escape_pointer, unpack_document

SCHEMA_OPTION: Final = "schema"
VALIDATION_OPTION: Final = "validation"
TTL_OPTION: Final = "ttl"
TIERING_OPTION: Final = "tiering"
COLD_AFTER: Final = "cold_after_s"
ARCHIVE_AFTER: Final = "archive_after_s"
STRICT: Final = "strict"
MODERATE: Final = "moderate"
"""Documents that do not fit, because they were there before the schema, may go on not to fit."""
VALIDATIONS: Final = (STRICT, MODERATE)
_KEPT_MAX: Final = 256


@dataclass(frozen=True, slots=True)
class Settings:
    """The options of one collection, ready to be used."""

    policy: str
    schema: Schema | None
    validation: str
    ttl_s: int | None = None
    """Seconds after its last write at which a document expires."""
    cold_after_s: int | None = None
    """Seconds after its last write at which a document leaves the disks of single members."""
    archive_after_s: int | None = None
    """And at which it is kept in the archive."""

    def check(self, body: bytes, old: bytes | None = None) -> None:
        """Refuse a document that does not fit the schema; `old` is the row that it replaces.

        Raises:
            ColdError: What it replaces decides, and is not there.
            Refusal: `invalid`, with pointers.
        """
        schema = self.schema
        if schema is None:
            return
        try:
            schema.check(body)
        except Refusal:
            was_unfit = (
                self.validation == MODERATE
                and old is not None
                and schema.faults(unpack_document(body_of(old)), body_bytes(old))
            )
            if not was_unfit:
                raise


@lru_cache(_KEPT_MAX)
def settings_of(options: bytes) -> Settings:
    """Return what packed options mean.

    Raises:
        Refusal: `invalid`: execution could not follow them.
    """
    given = unpack_document(options)
    check_options(given)
    validation = given.get(VALIDATION_OPTION, STRICT)
    if validation not in VALIDATIONS:
        raise invalid(f"/{VALIDATION_OPTION}", f"one of {', '.join(VALIDATIONS)}")
    schema = given.get(SCHEMA_OPTION)
    compiled = None if schema is None else compile_schema(schema)
    seconds = given.get(TTL_OPTION)
    if seconds is not None:
        check_seconds(seconds, f"/{TTL_OPTION}")
    policy = str(given.get(POLICY_OPTION, REJECT))
    return Settings(policy, compiled, str(validation), seconds, *_tiering(given))


def _tiering(given: Json) -> tuple[int | None, int | None]:
    """Return after how many seconds documents become cold, and are archived."""
    tiering = given.get(TIERING_OPTION)
    if tiering is None:
        return None, None
    place = f"/{TIERING_OPTION}"
    if not isinstance(tiering, dict) or not tiering:
        raise invalid(place, f"an object with {COLD_AFTER}, {ARCHIVE_AFTER}, or both")
    for name, seconds in sorted(tiering.items()):
        pointer = f"{place}/{escape_pointer(name)}"
        if name not in {COLD_AFTER, ARCHIVE_AFTER}:
            raise invalid(pointer, f"one of {COLD_AFTER}, {ARCHIVE_AFTER}")
        check_seconds(seconds, pointer)
        if seconds == 0:
            raise invalid(pointer, "at least 1")
    cold, archive = tiering.get(COLD_AFTER), tiering.get(ARCHIVE_AFTER)
    if archive is not None and cold is not None and archive <= cold:
        raise invalid(f"{place}/{ARCHIVE_AFTER}", f"more than {COLD_AFTER}")
    # What is to be archived leaves the disks for the other members first.
    return archive if cold is None else cold, archive
