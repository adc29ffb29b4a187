"""What the explorer passes around: documents, rows of an import, guesses about columns."""

from dataclasses import dataclass
from typing import Any, Literal

type Json = bool | int | float | str | list[Json] | dict[str, Json] | None
type Document = dict[str, Json]
type Format = Literal["csv", "json", "ndjson"]
type ColumnType = Literal["text", "integer", "number", "boolean", "json"]

FORMATS: tuple[Format, ...] = ("csv", "json", "ndjson")
COLUMN_TYPES: tuple[ColumnType, ...] = ("text", "integer", "number", "boolean", "json")
# Fields that the cluster sets itself: exported files carry them, imports leave them out.
SYSTEM_FIELDS = frozenset({"_version", "_created", "_updated"})


@dataclass(frozen=True, slots=True)
class Row:
    """One row of a file: a document, or the reason why it is none."""

    number: int
    document: Document | None
    error: str | None = None


@dataclass(frozen=True, slots=True)
class Guess:
    """What a file seems to be."""

    format: Format
    columns: dict[str, ColumnType]
    id_field: str
    row_count: int


@dataclass(frozen=True, slots=True)
class Index:
    """An index as the form asks for it."""

    name: str
    fields: dict[str, int]
    is_unique: bool
    is_sparse: bool
    partial: Document | None
    expire_after_s: int | None
    """Documents are removed so long after the date in the one field."""


@dataclass(frozen=True, slots=True)
class Recipe:
    """How to read a file."""

    format: Format
    columns: dict[str, ColumnType]
    id_field: str
    # Names rows without an id, the same in every attempt.
    digest: str


@dataclass(frozen=True, slots=True)
class SchemaReport:
    """How the documents of a collection fit a schema."""

    checked: int
    violating: int
    complete: bool
    examples: list[tuple[str, list[tuple[str, str]]]]
    """(id, faults as pointer and detail)."""


def report_of(answer: Any) -> SchemaReport | None:
    """Answer the report of a cluster, if there is one."""
    if answer is None:
        return None
    examples = [
        (str(found["_id"]), [(item["pointer"], item["detail"]) for item in found["errors"]])
        for found in answer["examples"]
    ]
    return SchemaReport(answer["checked"], answer["violating"], answer["complete"], examples)
