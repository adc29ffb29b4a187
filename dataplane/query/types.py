"""What a query asks and what it answers."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

LIMIT_DEFAULT: Final = 100
LIMIT_MAX: Final = 1_000
OFFSET_MAX: Final = 10_000
EXAMINED_MAX: Final = 1_000_000
EXAMINED_BYTES_MAX: Final = 2 * 1024 * 1024 * 1024
CURSOR_LENGTH_MAX: Final = 16_384
PAGE_BYTES_MAX: Final = 16 * 1024 * 1024

type Document = dict[str, Any]


class QueryError(Exception):
    """A query that cannot run; becomes a problem with `code` and `errors`."""

    code = "invalid"
    status = 422

    def __init__(self, errors: list[tuple[str, str]]) -> None:
        super().__init__("; ".join(f"{pointer}: {detail}" for pointer, detail in errors))
        self.errors = [{"pointer": pointer, "detail": detail} for pointer, detail in errors]


class QueryTooCostlyError(QueryError):
    """The query would examine more documents than it may."""

    code = "too_large"
    status = 413


@dataclass(frozen=True, slots=True, kw_only=True)
class QueryRequest:
    """A checked query; build it with `parse_query`."""

    collection: str
    filter: Mapping[str, Any]
    sort: tuple[tuple[str, int], ...] = ()
    """(dotted path, 1 or -1), most significant first; ties go by `_id`."""
    projection: tuple[str, ...] | None = None
    """Dotted paths to keep, besides the `_` fields; None keeps everything."""
    limit: int = LIMIT_DEFAULT
    offset: int = 0
    after: str | None = None
    explain: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class QueryPage:
    """One page of results.

    Each document carries `_id`, `_version`, `_created`, `_updated` and its own fields. `next` is
    the cursor of the following page, None on the last one. `plan` is set when it was asked for.
    """

    documents: list[Document]
    next: str | None
    scanned: int
    plan: dict[str, Any] | None = None
