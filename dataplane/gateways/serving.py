"""One call of any protocol but REST, from the door to its answer, measured."""

import logging
import time
from collections.abc import Awaitable, Callable

from dataplane.gateways.answers import Answer
from dataplane.gateways.auditing import Seen
from dataplane.gateways.auth import Caller
from dataplane.gateways.context import Context
from dataplane.gateways.errors import Problem, problem_of
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
    admission = context.admission
    began = time.perf_counter()
    status = 499
    try:
        admission.enter(caller, call_class)
        try:
            answer = await work()
        finally:
            admission.leave(caller)
    except Exception as error:
        problem = foreseen(error)
        status = problem.status
        if problem.code == "forbidden" and not problem.is_recorded:
            context.reporter.note(seen, status, problem.code)
        raise problem from error
    else:
        status = answer.status
        return answer
    finally:
        seconds = time.perf_counter() - began
        context.figures.observe(call_class or "admin", status, seconds)
        traced(context, seen.action, status, seconds)


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
