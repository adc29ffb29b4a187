"""What the options of a collection mean for its documents."""

from dataclasses import dataclass
from functools import lru_cache
from typing import Final

from dataplane.documents.conflicts import POLICY_OPTION, REJECT, check_options
from dataplane.documents.errors import Refusal, invalid
from dataplane.documents.index_definitions import check_seconds
from dataplane.documents.schemas import Schema, compile_schema
from dataplane.documents.values import unpack_document

SCHEMA_OPTION: Final = "schema"
VALIDATION_OPTION: Final = "validation"
TTL_OPTION: Final = "ttl"
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

    def check(self, body: bytes, old: bytes | None = None) -> None:
        """Refuse a document that does not fit the schema; `old` is what it replaces.

        Raises:
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
                and schema.faults(unpack_document(old), len(old))
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
    return Settings(policy, compiled, str(validation), seconds)
