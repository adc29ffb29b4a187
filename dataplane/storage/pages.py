"""Which page of an encrypted store a key belongs to.

Encrypted rows have no readable keys, and so no order. What order there is lies in pages: each holds
the keys from its own first key up to that of the next page. The first keys are sealed on disk and
in memory here, one for some fifty rows.
"""

import secrets
from bisect import bisect_left, bisect_right
from collections.abc import Iterator
from typing import Final

from dataplane.storage.ports import Cipher

PAGE_BYTES: Final = 8
_GAP: Final = 1 << 16
_ROW: Final = b"r"
_FENCE: Final = b"f"


class Page:
    """One page; `cipher` is the oldest that its rows may be under, `stir` counts writes to it."""

    __slots__ = ("cipher", "fence", "head", "number", "stir")

    def __init__(self, number: int, cipher: Cipher, stir: int = 0) -> None:
        self.number = number
        self.cipher = cipher
        self.stir = stir
        name = number.to_bytes(PAGE_BYTES, "big")
        self.head = _ROW + name
        """What the names of its rows begin with."""
        self.fence = _FENCE + name
        """Where its first key is stored."""


def page_number(fence: bytes) -> int:
    """Return the number of the page of a stored fence."""
    return int.from_bytes(fence[len(_FENCE) :], "big")


class Pages:
    """All pages in the order of their first keys; the first page begins with the empty key."""

    def __init__(self, entries: list[tuple[bytes, Page]]) -> None:
        entries.sort(key=lambda entry: entry[0])
        assert entries, "there is always a first page"
        self.firsts = [first for first, _ in entries]
        self.pages = [page for _, page in entries]
        self._highest = max(page.number for page in self.pages)
        self._is_shared = False

    def share(self) -> "Pages":
        """Return these pages as they are now; changes go to copies from here on."""
        self._is_shared = True
        shared = object.__new__(Pages)
        shared.firsts, shared.pages = self.firsts, self.pages
        shared._highest, shared._is_shared = self._highest, True
        return shared

    def at(self, key: bytes) -> Page:
        """Return the page of a key."""
        return self.pages[bisect_right(self.firsts, key) - 1]

    def between(self, low: bytes, high: bytes | None, *, reverse: bool) -> Iterator[Page]:
        """Yield the pages that may hold keys from `low` to before `high`."""
        first = bisect_right(self.firsts, low) - 1
        last = len(self.firsts) if high is None else bisect_left(self.firsts, high)
        found = self.pages[first : max(last, first + 1)]
        return reversed(found) if reverse else iter(found)

    def new(self, cipher: Cipher) -> Page:
        """Return a page that is not among these yet; its number was never used."""
        self._highest += 1 + secrets.randbelow(_GAP)
        return Page(self._highest, cipher)

    def add(self, first: bytes, page: Page) -> None:
        """Let a page take over the keys from `first` on, up to the next page."""
        self._own()
        at = bisect_right(self.firsts, first)
        self.firsts.insert(at, first)
        self.pages.insert(at, page)

    def remove(self, page: Page) -> None:
        """Let the page before an empty one take its keys; the first page stays."""
        self._own()
        at = self.pages.index(page)
        assert at > 0, "the first page stays"
        del self.firsts[at], self.pages[at]

    def replace(self, at: int, page: Page) -> None:
        """Put a page in the place of its own earlier self."""
        self._own()
        self.pages[at] = page

    def _own(self) -> None:
        if self._is_shared:
            self.firsts, self.pages, self._is_shared = self.firsts[:], self.pages[:], False
