"""W3C trace context: a request may say of which trace it is; logs and spans say it again."""

import re
from contextvars import ContextVar
from typing import Final, NamedTuple, Protocol

_FORM: Final = re.compile(r"([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-.*)?")
TEXT_MAX: Final = 256


class Trace(NamedTuple):
    """The place of a request in somebody's trace."""

    trace_id: str
    parent_id: str
    is_sampled: bool


TRACE: Final[ContextVar[Trace | None]] = ContextVar("trace", default=None)
"""Of the request that the present task answers."""


class Spans(Protocol):
    """Where finished requests are told."""

    def record(
        self, name: str, trace: Trace, *, ended_ms: int, seconds: float, status: int
    ) -> None:
        """Tell of a request that is part of a sampled trace; never waits."""
        ...


def trace_of(text: str | None) -> Trace | None:
    """Return the trace that a traceparent names; one that is malformed counts as none."""
    if text is None or len(text) > TEXT_MAX:
        return None
    found = _FORM.fullmatch(text.strip())
    if found is None:
        return None
    version, trace_id, parent_id, flags, more = found.groups()
    if version == "ff" or (version == "00" and more) or not int(trace_id, 16):
        return None
    if not int(parent_id, 16):
        return None
    return Trace(trace_id, parent_id, bool(int(flags, 16) & 1))
