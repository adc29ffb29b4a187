"""The one place that reads the time, so that tests can set it."""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import UTC, datetime, timedelta

_frozen: ContextVar[datetime | None] = ContextVar("clock_frozen", default=None)


def now() -> datetime:
    """Return the present moment in UTC, or the one set by `frozen`."""
    return _frozen.get() or datetime.now(tz=UTC)


@contextmanager
def frozen(moment: datetime) -> Iterator[None]:
    """Make `now` answer `moment` inside the block, for tests and for replays."""
    token = _frozen.set(moment)
    try:
        yield
    finally:
        _frozen.reset(token)


def days(count: int) -> timedelta:
    """Return a span of whole days."""
    return timedelta(days=count)
