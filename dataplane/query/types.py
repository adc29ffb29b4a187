"""What a query asks and what it answers."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from dataplane.query.nodes import Node
from dataplane.query.traces import Trace

LIMIT_DEFAULT: Final = 100
LIMIT_MAX: Final = 1_000
OFFSET_MAX: Final = 10_000
EXAMINED_MAX: Final = 1_000_000
EXAMINED_BYTES_MAX: Final = 2 * 1024 * 1024 * 1024
UNITS_MAX: Final = 8_000_000
MEMORY_BYTES_MAX: Final = 64 * 1024 * 1024
SLICE_UNITS: Final = 1_000
SLICE_BYTES: Final = 256 * 1024
CURSOR_LENGTH_MAX: Final = 16_384
RESULT_MAX: Final = 10_000
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
    """The query would use more than it may."""

    code = "too_large"
    status = 413


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What one query may use. Work is counted, not timed, so the same query always fits or not."""

    documents: int = EXAMINED_MAX
    """Documents looked at."""
    size_bytes: int = EXAMINED_BYTES_MAX
    """Their stored size."""
    units: int = UNITS_MAX
    """Work: a unit is about a microsecond."""
    memory_bytes: int = MEMORY_BYTES_MAX
    """What is held at once for sorting and grouping, estimated."""
    slice_units: int = SLICE_UNITS
    """Work after which others get their turn."""


@dataclass(frozen=True, slots=True, kw_only=True)
class QueryRequest:
    """A checked query; build it with `parse_query`."""

    collection: str
    filter: Mapping[str, Any]
    """As it was sent: cursors are bound to it."""
    where: Node
    """The same, checked."""
    weight: int = 1
    """Units that looking at one document takes."""
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

    Each document carries `_id`, `_version`, `_created`, `_updated` and its own fields; a whole one
    is `msgspec.Raw`, its JSON, where that was asked for. `next` is the cursor of the following
    page, None on the last one. `plan` is set when it was asked for.
    """

    documents: list[Any]
    next: str | None
    scanned: int
    trace: Trace
    plan: dict[str, Any] | None = None
