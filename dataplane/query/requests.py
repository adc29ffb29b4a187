"""What an aggregation asks and what it answers; from its JSON body to a checked request."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from dataplane.documents.values import escape_pointer
from dataplane.query.pipeline import Lookup, PipelineParser, Stage
from dataplane.query.traces import Trace
from dataplane.query.types import Document, QueryError

_EXPRESSIONS_PER_UNIT: Final = 8
_KNOWN: Final = frozenset({"pipeline", "explain", "consistency"})


@dataclass(frozen=True, slots=True, kw_only=True)
class AggregateRequest:
    """A checked aggregation; build it with `parse_aggregate`."""

    collection: str
    stages: tuple[Stage, ...]
    weight: int
    """Units that looking at one document takes."""
    reads: tuple[str, ...]
    """The other collections that it reads: the caller must be allowed to."""
    explain: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class AggregateResult:
    """All that the last stage gives; `plan` is set when it was asked for."""

    documents: list[Document]
    scanned: int
    trace: Trace
    plan: dict[str, Any] | None = None


def parse_aggregate(collection: str, body: Mapping[str, Any]) -> AggregateRequest:
    """Check an aggregation and return it; `consistency` is the caller's business.

    Raises:
        QueryError: With the faults found, each under its JSON Pointer.
    """
    errors = [
        (f"/{escape_pointer(name)}", "unknown field") for name in sorted(body) if name not in _KNOWN
    ]
    parser = PipelineParser()
    stages: tuple[Stage, ...] = ()
    try:
        stages = parser.pipeline(body.get("pipeline"))
    except QueryError as error:
        errors += [(item["pointer"], item["detail"]) for item in error.errors]
    explain = body.get("explain", False)
    if not isinstance(explain, bool):
        errors.append(("/explain", "true or false is needed"))
    if errors:
        raise QueryError(errors)
    return AggregateRequest(
        collection=collection,
        stages=stages,
        weight=parser.filters.weight + parser.expressions.count // _EXPRESSIONS_PER_UNIT,
        reads=tuple(sorted({stage.collection for stage in stages if isinstance(stage, Lookup)})),
        explain=explain,
    )
