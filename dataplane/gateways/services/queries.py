"""Questions about a whole collection: query and aggregate."""

import time
from collections.abc import Callable, Generator, Mapping
from typing import Any, Final

from dataplane.documents.capture import MissingSegmentsError
from dataplane.documents.commands import Barrier, decode_result, encode_op
from dataplane.documents.values import Json, check_readable_name
from dataplane.gateways.answers import Answer, result_problem
from dataplane.gateways.auditing import seen_question
from dataplane.gateways.auth import Caller
from dataplane.gateways.context import Context
from dataplane.gateways.errors import Problem, error_fields
from dataplane.gateways.fetches import Fetched
from dataplane.gateways.services.reads import consistency_of, require_sound, wait_for_position
from dataplane.query import aggregate_steps, parse_aggregate, parse_query, query_steps
from dataplane.query.traces import Trace
from dataplane.query.types import QueryTooCostlyError

BODY_BYTES_MAX: Final = 1024 * 1024
SEGMENTS_MAX: Final = 48
"""That one query holds in memory."""
ROUNDS_MAX: Final = 48
BOUNDED_QUERY: Final = "nodes compare single documents only: ask for strong, session or local"
_BARRIER: Final = encode_op(Barrier())


async def query(
    context: Context, caller: Caller, collection: str, body: Json, *, after: int = 0
) -> Answer:
    """Answer a query; strong ones run here once this node caught up (decisions 0003 and 0009)."""
    with context.reporter.reading(seen_question("document.query", collection, body)):
        return await _query(context, caller, collection, body, after=after)


async def _query(
    context: Context, caller: Caller, collection: str, body: Json, *, after: int
) -> Answer:
    caller.require("documents:read", collection)
    check_readable_name(collection)
    consistency = question_consistency(body.get("consistency"))
    parsed = parse_query(collection, body)
    await reach(context, after, consistency)
    view, began = context.state.view, time.perf_counter()
    fetched = Fetched()
    page, sequence = await run_steps(
        context,
        lambda segments: _placed(
            context, query_steps(view, parsed, segments=segments, as_text=True)
        ),
        fetched,
    )
    _note(context, collection, page.trace, began)
    answer: dict[str, Any] = {
        "documents": page.documents,
        "next": page.next,
        "scanned": page.scanned,
    }
    if page.plan is not None:
        answer["plan"] = page.plan | {"segments": fetched.described()}
    return _answer(context, answer, consistency, sequence)


async def aggregate(
    context: Context, caller: Caller, collection: str, body: Json, *, after: int = 0
) -> Answer:
    """Run a pipeline; every collection that it reads must be open to the caller."""
    with context.reporter.reading(seen_question("document.aggregate", collection, body)):
        return await _aggregate(context, caller, collection, body, after=after)


async def _aggregate(
    context: Context, caller: Caller, collection: str, body: Json, *, after: int
) -> Answer:
    caller.require("documents:read", collection)
    check_readable_name(collection)
    consistency = question_consistency(body.get("consistency"))
    parsed = parse_aggregate(collection, body)
    for name in parsed.reads:
        caller.require("documents:read", name)
    await reach(context, after, consistency)
    view, began = context.state.view, time.perf_counter()
    fetched = Fetched()
    result, sequence = await run_steps(
        context,
        lambda segments: _placed(context, aggregate_steps(view, parsed, segments=segments)),
        fetched,
    )
    _note(context, collection, result.trace, began)
    answer: dict[str, Any] = {"documents": result.documents, "scanned": result.scanned}
    if result.plan is not None:
        answer["plan"] = result.plan | {"segments": fetched.described()}
    return _answer(context, answer, consistency, sequence)


def _note(context: Context, collection: str, trace: Trace, began: float) -> None:
    """Remember what a query was like, for whoever asks for advice."""
    elapsed_ms = (time.perf_counter() - began) * 1000
    names: dict[int, str] = {}
    if trace.used:
        names = {index.id: index.name for index in context.state.view.indexes(collection)}
    context.queries.note(collection, trace, names, elapsed_ms)


def question_consistency(given: object) -> str:
    """Return the consistency of what looks at more than one document.

    Raises:
        Problem: `invalid` for one that there is not, or not for this.
    """
    consistency = consistency_of(given)
    if consistency == "bounded":
        raise Problem("invalid", BOUNDED_QUERY, error_fields((("/consistency", BOUNDED_QUERY),)))
    return consistency


async def reach(context: Context, after: int, consistency: str) -> None:
    """Wait until this node's state holds what the caller must see."""
    if consistency == "strong":
        await catch_up(context)
    elif consistency == "session":
        await wait_for_position(context, after)


async def catch_up(context: Context) -> None:
    """Bring this node's state so far that it holds everything acknowledged before."""
    if await context.reads.strong(None) is not None:
        return
    submitted = await context.submit([_BARRIER])
    result = decode_result(submitted.results[0])
    if result.status >= 400:
        raise result_problem(result)


async def run_steps[T](
    context: Context,
    make: Callable[[Mapping[int, bytes]], Generator[None, None, T]],
    fetched: Fetched,
) -> T:
    """Return what steps lead to, begun anew with the segments that they were found to need.

    `fetched` is told what it took to have these.

    Raises:
        QueryTooCostlyError: It needs too many cold documents.
        NotReadyError: Too few members gave their fragments in time.
        OverloadedError: Too much is being fetched already.
    """
    segments: dict[int, bytes] = {}
    for _ in range(ROUNDS_MAX):
        try:
            return await context.turns.run(make(segments))
        except MissingSegmentsError as missing:
            if len(segments) + len(missing.numbers) > SEGMENTS_MAX:
                break
            # One that is no more, no document is in when the steps begin anew.
            segments |= await context.cold.segments(missing.numbers, fetched)
    detail = f"this needs documents of more than {SEGMENTS_MAX} cold segments: narrow the filter"
    raise QueryTooCostlyError([("", detail)])


def _placed[T](
    context: Context, steps: Generator[None, None, T]
) -> Generator[None, None, tuple[T, int]]:
    """Add the sequence of the state that the steps see: that of their first turn."""
    require_sound(context)
    sequence = context.cluster.executed
    return (yield from steps), sequence


def _answer(context: Context, body: dict[str, Any], consistency: str, sequence: int) -> Answer:
    facts = context.position(sequence)
    if consistency != "strong":
        facts.append(context.staleness(sequence))
    return Answer(200, body, facts)
