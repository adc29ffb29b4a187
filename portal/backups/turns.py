"""Turns for work that takes a machine for minutes: comparing, rehearsing, fetching and executing.

All workers of the installation together do a few such things at once, and fewer of one
organization: operations find a free thread meanwhile, and nobody takes all the turns. Who holds one
is known to Postgres, which takes it back when the worker dies.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Final

from django.db import connection

from portal.backups.constants import TURNS_AT_ONCE, TURNS_PER_ORGANIZATION
from portal.core.tenancy import current_schema

TURN_LOCK: Final = 0x7475_726E  # "turn"
WAITS: Final = "its turn, after what others have to fetch, execute or compare"
_has_turn: ContextVar[bool] = ContextVar("has_turn", default=False)


@contextmanager
def heavy_turn() -> Iterator[bool]:
    """Hold a turn, or answer False when none is free; who has one may ask again inside."""
    if _has_turn.get():
        yield True
        return
    with _place(current_schema(), TURNS_PER_ORGANIZATION) as is_ours:
        if not is_ours:
            yield False
            return
        # No schema has this name, so that it is nobody's own.
        with _place("", TURNS_AT_ONCE) as is_free:
            token = _has_turn.set(is_free)
            try:
                yield is_free
            finally:
                _has_turn.reset(token)


@contextmanager
def _place(whose: str, count: int) -> Iterator[bool]:
    """Hold one of so many places, or answer False."""
    with connection.cursor() as cursor:
        found: tuple[int, str] | None = None
        for number in range(count):
            key = (TURN_LOCK, f"{whose}/{number}")
            cursor.execute("SELECT pg_try_advisory_lock(%s, hashtext(%s))", key)
            if cursor.fetchone()[0]:
                found = key
                break
    try:
        yield found is not None
    finally:
        if found is not None:
            with connection.cursor() as cursor:
                cursor.execute("SELECT pg_advisory_unlock(%s, hashtext(%s))", found)
