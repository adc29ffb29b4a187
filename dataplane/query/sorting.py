"""The first documents of an order, kept in bounded memory."""

from collections.abc import Iterable
from typing import Any, Final

from dataplane.query.compiler import Code, Root
from dataplane.query.values import falling_key, rising_key
from dataplane.query.work import Work, weigh

type Order = tuple[tuple[str, int], ...]
"""(dotted path, 1 or -1), most significant first."""
type Entry = tuple[Any, ...]
"""The parts of a sort key, and at the end what tells apart documents that are equal in it."""

_SPARE: Final = 1_000


def entry_text(code: Code, order: Order, root: Root, last: str) -> str:
    """Return the expression of a document's entry."""
    parts: list[str] = []
    for path, way in order:
        name, *rest = path.split(".")
        tail = code.bind(tuple(rest)) if rest else "()"
        key, choose = ("rising_key", "least") if way == 1 else ("falling_key", "greatest")
        parts.append(f"*{key}({choose}({root(name)}, {tail}, work.spend))")
    return f"({', '.join([*parts, last])},)"


def entry_of(values: Iterable[Any], order: Order, last: Any) -> Entry:
    """Return the entry of a document that has these values to sort by."""
    parts: list[Any] = []
    for value, (_, way) in zip(values, order, strict=True):
        parts += rising_key(value) if way == 1 else falling_key(value)
    return (*parts, last)


class Firsts:
    """Keeps the first `wanted` of the entries it is given."""

    def __init__(self, wanted: int, work: Work, pointer: str) -> None:
        self._pointer = pointer
        self._wanted = wanted
        self._work = work
        self._entries: list[Entry] = []
        self._held = 0
        self.bound: Entry | None = None
        """Entries that are not below it need not be added."""

    def add(self, entries: list[Entry]) -> None:
        """Take up entries.

        Raises:
            QueryTooCostlyError: They take more memory than the query may use.
        """
        if not entries:
            return
        self._entries += entries
        self._work.did(len(entries))
        size = self._held + sum(map(weigh, entries))
        if len(self._entries) < 2 * self._wanted + _SPARE and self._work.fits(size - self._held):
            self._hold(size)
        else:
            self._trim()

    def done(self) -> list[Entry]:
        """Return the first entries in order."""
        self._trim()
        return self._entries

    def _trim(self) -> None:
        self._entries.sort()
        del self._entries[self._wanted :]
        if len(self._entries) == self._wanted:
            self.bound = self._entries[-1]
        self._hold(sum(map(weigh, self._entries)))

    def _hold(self, size_bytes: int) -> None:
        self._work.hold(size_bytes - self._held, self._pointer)
        self._held = size_bytes
