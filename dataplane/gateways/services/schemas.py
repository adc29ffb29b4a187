"""Schemas of collections: documents refused early, and what is there already looked at."""

from collections.abc import Generator, Mapping
from typing import Any, Final

from dataplane.documents.schemas import Schema
from dataplane.documents.settings import MODERATE
from dataplane.documents.tables import HEADER_BYTES, document_id
from dataplane.documents.values import unpack_document
from dataplane.gateways.context import Context
from dataplane.gateways.errors import error_fields
from dataplane.gateways.fetches import Fetched
from dataplane.gateways.operations import Condition
from dataplane.gateways.services.queries import catch_up, run_steps
from dataplane.gateways.services.reads import require_sound

CHECKED_MAX: Final = 10_000
EXAMPLES_MAX: Final = 20
_SLICE_BYTES: Final = 64 * 1024


async def refuse_early(
    context: Context, collection: str, body: bytes, condition: Condition
) -> None:
    """Refuse a whole document that does not fit before it takes a place in the log.

    What this node knows of the schema may be old, so it is looked at again when the node has
    everything acknowledged before. Where execution may answer otherwise it is left to decide: a
    retry has its first outcome, and `moderate` depends on what is there.

    Raises:
        Refusal: `invalid`, with pointers.
    """
    settings = context.state.view.settings(collection)
    if settings.schema is None or settings.validation == MODERATE or condition.idempotency:
        return
    if settings.schema.faults(unpack_document(body), len(body)):
        await catch_up(context)
        settings = context.state.view.settings(collection)
        if settings.validation != MODERATE:
            settings.check(body)


async def report(context: Context, collection: str, schema: Schema) -> dict[str, Any]:
    """Return how many of the documents that are there do not fit, as far as that was looked at."""
    asked = collection, schema
    return await run_steps(context, lambda segments: _steps(context, asked, segments), Fetched())


def _steps(
    context: Context, asked: tuple[str, Schema], segments: Mapping[int, bytes]
) -> Generator[None, None, dict[str, Any]]:
    require_sound(context)
    collection, schema = asked
    capture = context.state.view.capture(segments)
    try:
        checked = violating = size_bytes = 0
        examples: list[dict[str, Any]] = []
        is_complete = True
        for key, row in capture.rows(collection):
            if checked == CHECKED_MAX:
                is_complete = False
                break
            checked += 1
            body = row[HEADER_BYTES:]
            faults = schema.faults(unpack_document(body), len(body))
            if faults:
                violating += 1
                if len(examples) < EXAMPLES_MAX:
                    examples.append({"_id": document_id(key), **error_fields(tuple(faults[:4]))})
            # Checking costs more than reading: a document counts as a page of bytes.
            size_bytes += len(row) + _SLICE_BYTES // 32
            if size_bytes >= _SLICE_BYTES:
                size_bytes = 0
                yield
        return {
            "checked": checked,
            "violating": violating,
            "complete": is_complete,
            "examples": examples,
        }
    finally:
        capture.release()
