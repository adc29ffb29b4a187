"""One call of any protocol, from the door to its answer.

REST measures for itself: it also counts what never found a caller, or a route.
"""

import logging
import time
from collections.abc import Awaitable, Callable

from dataplane.gateways.answers import Answer
from dataplane.gateways.auditing import Seen
from dataplane.gateways.auth import Caller
from dataplane.gateways.context import Context
from dataplane.gateways.errors import Problem, problem_of
from dataplane.gateways.feeds import Feed, FeedRequest
from dataplane.gateways.tracing import TRACE

log = logging.getLogger(__name__)


async def serve(
    context: Context,
    caller: Caller,
    call_class: str,
    work: Callable[[], Awaitable[Answer]],
    *,
    seen: Seen,
) -> Answer:
    """Let a call in, do it, count it; `seen` is what it is called in the audit log, and in traces.

    Raises:
        Problem: It was refused; `internal` when nobody foresaw why.
    """
    began = time.perf_counter()
    status = 499
    try:
        with entered(context, caller, call_class, lambda: seen):
            answer = await work()
    except Problem as problem:
        status = problem.status
        raise
    else:
        status = answer.status
        return answer
    finally:
        seconds = time.perf_counter() - began
        context.figures.observe(call_class or "admin", status, seconds)
        traced(context, seen.action, status, seconds)


class entered:  # noqa: N801 - used like a function
    """Let a call in and out again; that it was forbidden is recorded.

    Every request passes here: a class, for a generator takes three times as long.

    Raises:
        Problem: It was refused; `internal` when nobody foresaw why.
    """

    __slots__ = ("_call_class", "_caller", "_context", "_seen")

    def __init__(
        self, context: Context, caller: Caller, call_class: str, seen: Callable[[], Seen]
    ) -> None:
        self._context, self._caller = context, caller
        self._call_class, self._seen = call_class, seen

    def __enter__(self) -> None:
        """Let the call in."""
        try:
            self._context.admission.enter(self._caller, self._call_class)
        except Exception as error:
            raise self._refusal(error) from error

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, _: object
    ) -> None:
        """Let it out."""
        self._context.admission.leave(self._caller)
        if isinstance(error, Exception):
            raise self._refusal(error) from error

    def _refusal(self, error: Exception) -> Problem:
        problem = foreseen(error)
        if problem.code == "forbidden" and not problem.is_recorded:
            self._context.reporter.note(self._seen(), problem.status, problem.code)
        return problem


def opened(context: Context, caller: Caller, asked: FeedRequest) -> Feed:
    """Open a change feed, which counts as one read however long it lasts.

    Raises:
        Problem: It was refused; `internal` when nobody foresaw why.
    """
    seen = Seen("changes.read")
    with entered(context, caller, "read", lambda: seen), context.reporter.reading(seen):
        return context.feeds.open(caller, asked)


def traced(context: Context, name: str, status: int, seconds: float) -> None:
    """Tell of a finished call if it is part of a sampled trace."""
    trace, spans = TRACE.get(), context.spans
    if trace is not None and trace.is_sampled and spans is not None:
        ended_ms = context.clock.now_ms()
        spans.record(name, trace, ended_ms=ended_ms, seconds=seconds, status=status)


def foreseen(error: Exception) -> Problem:
    """Return the problem for an error; what nobody foresaw is logged."""
    problem = problem_of(error)
    if problem is None:
        log.error("gateway.failure", exc_info=error)
        return Problem("internal", "the node failed; its log says why")
    return problem
