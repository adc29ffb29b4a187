"""A key-value store of which nothing is readable on disk: neither values nor keys.

A row is stored under the number of its page and a keyed hash of its key; key and value are sealed
together, bound to that name, so that no row opens in the place of another. A page is read as a
whole and sorted in memory: that is all the order there is (see `pages.py`). What the disk still
tells is how many rows there are, how long they are, and which of them are near each other.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Final, override

from rocksdict import WriteBatch

from dataplane.storage.engine import RocksCursor, RocksStore, prefix_end
from dataplane.storage.errors import CorruptionError, UnknownKeyError
from dataplane.storage.pages import PAGE_BYTES, Page, Pages, page_number
from dataplane.storage.ports import (
    CacheFigures,
    Cipher,
    Ciphers,
    KeyValueStore,
    Snapshot,
    number_of,
)

ROWS_MAX: Final = 64
"""A page with more is divided."""
ROWS_NEW: Final = 40
"""Rows of a page after it was divided."""
STIR_MAX: Final = 128
"""After so many writes to a page its rows are counted."""
CLASS_BYTES: Final = 5
"""The letter of a table and a number of four bytes: documents of one collection."""
_REWRITE_ROWS: Final = 1_000
_LENGTH_BYTES: Final = 4
_IN_CLASS: Final = 1 << 31
"""In the length of a key: the value is sealed under the key of its class."""
_FENCE: Final = b"f"
_FIRST_KEY: Final = b""

type Entry = tuple[bytes, bytes]
type Read = Callable[[bytes], bytes | None]


class EncryptedStore(KeyValueStore):
    """Rows of a `RocksStore` that it alone uses, sealed with the ciphers of the node.

    A row that does not open is absent: whoever compares the rows with their tree finds out, and
    fetches them from a peer. `damaged_count` says how many were met.
    """

    def __init__(
        self, store: RocksStore, ciphers: Ciphers, classes: Mapping[bytes, Cipher] | None = None
    ) -> None:
        """Take up what is in `store`, which is empty or was written by this class.

        `classes` has, by the first `CLASS_BYTES` of a key, under which further key the value of
        such a row is sealed before the row is; without that key its value is for ever empty.

        Raises:
            UnknownKeyError: It is sealed under a key that `ciphers` does not hold.
            CorruptionError: A page cannot be told where it begins.
        """
        self._store = store
        self._ciphers = ciphers
        self._classes = {} if classes is None else classes
        self.damaged_count = 0
        self._pages = Pages(self._load())

    def _load(self) -> list[tuple[bytes, Page]]:
        found: list[tuple[bytes, Page]] = []
        for name, sealed in self._store.iterate(_FENCE):
            number = number_of(sealed)
            cipher = self._ciphers.of(number)
            if cipher is None:
                raise UnknownKeyError(f"rows are sealed under key {number}")
            first = cipher.open(sealed, name)
            if first is None or len(name) != 1 + PAGE_BYTES:
                raise CorruptionError("where a page of the store begins cannot be read")
            found.append((first, Page(page_number(name), cipher, STIR_MAX // 2)))
        if not found:
            page = Page(1, self._ciphers.current)
            self._store.write({page.fence: page.cipher.seal(_FIRST_KEY, page.fence)})
            return [(_FIRST_KEY, page)]
        if min(first for first, _ in found) != _FIRST_KEY:
            raise CorruptionError("the first page of the store is gone")
        return found

    # --- Reading --------------------------------------------------------------------------------

    @override
    def get(self, key: bytes) -> bytes | None:
        return self._get(self._store.get, self._pages, key)

    @override
    def get_many(self, keys: Sequence[bytes]) -> list[bytes | None]:
        current, at = self._ciphers.current, self._pages.at
        pages = [at(key) for key in keys]
        names = [page.head + current.name(key) for page, key in zip(pages, keys, strict=True)]
        rows = zip(keys, pages, names, self._store.get_many(names), strict=True)
        return [
            self._get(self._store.get, self._pages, key)
            if sealed is None and page.cipher is not current
            else self._value(page, name, sealed)
            for key, page, name, sealed in rows
        ]

    @override
    def iterate(
        self, prefix: bytes, *, start: bytes | None = None, reverse: bool = False
    ) -> Iterator[Entry]:
        low, high = prefix, prefix_end(prefix)
        if start is not None and not reverse:
            low = max(low, start)
        if start is not None and reverse:
            # Up to and including it, and nothing comes between a key and itself with a zero.
            after = start + b"\0"
            high = after if high is None else min(high, after)
        return self._range(low, high, reverse=reverse)

    @override
    def scan(self, low: bytes, high: bytes, *, reverse: bool = False) -> Iterator[Entry]:
        return self._range(low, high, reverse=reverse)

    def _range(self, low: bytes, high: bytes | None, *, reverse: bool) -> Iterator[Entry]:
        # Both are made now: later writes must not show.
        cursor, pages = self._store.cursor(), self._pages.share()
        return self._walk(cursor, pages.between(low, high, reverse=reverse), (low, high), reverse)

    def _walk(
        self,
        cursor: RocksCursor,
        pages: Iterator[Page],
        limits: tuple[bytes, bytes | None],
        reverse: bool,  # noqa: FBT001 - named at the one call
    ) -> Iterator[Entry]:
        low, high = limits
        for page in pages:
            entries = self._entries(cursor, page)
            entries.sort(reverse=reverse)
            for entry in entries:
                if entry[0] >= low and (high is None or entry[0] < high):
                    yield entry

    @override
    def snapshot(self) -> Snapshot:
        return EncryptedSnapshot(self._store.snapshot(), self._pages.share(), self._get)

    def _get(self, read: Read, pages: Pages, key: bytes) -> bytes | None:
        page, current = pages.at(key), self._ciphers.current
        name = page.head + current.name(key)
        sealed = read(name)
        if sealed is None and page.cipher is not current:
            name = page.head + page.cipher.name(key)
            sealed = read(name)
        return self._value(page, name, sealed)

    def _value(self, page: Page, name: bytes, sealed: bytes | None) -> bytes | None:
        if sealed is None:
            return None
        entry = self._open(page, name, sealed)
        return None if entry is None else entry[1]

    def _entries(self, cursor: RocksCursor, page: Page) -> list[Entry]:
        opened = [self._open(page, name, sealed) for name, sealed in cursor.under(page.head)]
        return [entry for entry in opened if entry is not None]

    def _open(self, page: Page, name: bytes, sealed: bytes) -> Entry | None:
        """Return key and value of a row, None when it is damaged or from elsewhere."""
        number = number_of(sealed)
        cipher = page.cipher if page.cipher.number == number else self._ciphers.of(number)
        plain = None if cipher is None else cipher.open(sealed, name)
        if plain is None:
            self.damaged_count += 1
            return None
        length = int.from_bytes(plain[:_LENGTH_BYTES], "big")
        if length & _IN_CLASS:
            return self._open_in_class(plain, length & ~_IN_CLASS)
        end = _LENGTH_BYTES + length
        return plain[_LENGTH_BYTES:end], plain[end:]

    def _open_in_class(self, plain: bytes, length: int) -> Entry | None:
        end = _LENGTH_BYTES + length
        key = plain[_LENGTH_BYTES:end]
        cipher = self._classes.get(key[:CLASS_BYTES])
        value = b"" if cipher is None else cipher.open(plain[end:], key)
        if value is None:
            self.damaged_count += 1
            return None
        return key, value

    def _pack(self, key: bytes, value: bytes) -> bytes:
        if self._classes:
            cipher = self._classes.get(key[:CLASS_BYTES])
            if cipher is not None:
                length = len(key) | _IN_CLASS
                return length.to_bytes(_LENGTH_BYTES, "big") + key + cipher.seal(value, key)
        return len(key).to_bytes(_LENGTH_BYTES, "big") + key + value

    def rewrite(self, prefix: bytes) -> int:
        """Write all rows under a prefix again, as they are to be written now; say how many."""
        start, count = prefix, 0
        while True:
            part: dict[bytes, bytes | None] = {}
            for key, value in self.iterate(prefix, start=start):
                part[key] = value
                if len(part) == _REWRITE_ROWS:
                    break
            if not part:
                return count
            self.write(part)
            count += len(part)
            start = next(reversed(part)) + b"\0"

    # --- Writing --------------------------------------------------------------------------------

    @override
    def write(self, changes: Mapping[bytes, bytes | None]) -> None:
        batch = WriteBatch(raw_mode=True)
        current, at = self._ciphers.current, self._pages.at
        crowded: dict[Page, None] = {}
        for key, value in changes.items():
            page = at(key)
            name = page.head + current.name(key)
            if value is None:
                batch.delete(name)
            else:
                batch.put(name, current.seal(self._pack(key, value), name))
            if page.cipher is not current:
                batch.delete(page.head + page.cipher.name(key))
            page.stir += 1
            if page.stir > STIR_MAX:
                crowded[page] = None
        self._store.write_batch(batch)
        for page in crowded:
            self._settle(page)

    def _settle(self, page: Page) -> None:
        """Count the rows of a page; divide it when there are many, give it up when there are none.

        Each is one atomic write, and nothing is lost when it never comes to it.
        """
        rows = self._entries(self._store.cursor(), page)
        page.stir = len(rows)
        if not rows and page is not self._pages.pages[0]:
            self._pages.remove(page)
            self._store.write({page.fence: None})
        if len(rows) > ROWS_MAX:
            rows.sort()
            page.stir = ROWS_NEW
            self._divide(page, rows[ROWS_NEW:])

    def _divide(self, page: Page, rows: list[Entry]) -> None:
        """Move rows to new pages."""
        batch = WriteBatch(raw_mode=True)
        current = self._ciphers.current
        for start in range(0, len(rows), ROWS_NEW):
            part = rows[start : start + ROWS_NEW]
            new = self._pages.new(current)
            new.stir = len(part)
            for key, value in part:
                name = new.head + current.name(key)
                batch.put(name, current.seal(self._pack(key, value), name))
                for cipher in {page.cipher, current}:
                    batch.delete(page.head + cipher.name(key))
            first = part[0][0]
            batch.put(new.fence, current.seal(first, new.fence))
            self._pages.add(first, new)
        self._store.write_batch(batch)

    # --- Another key ----------------------------------------------------------------------------

    @property
    def page_count(self) -> int:
        """How many pages there are."""
        return len(self._pages.pages)

    def stale_count(self) -> int:
        """Return how many pages may hold rows that are not under the current key."""
        current = self._ciphers.current
        return sum(page.cipher is not current for page in self._pages.pages)

    def reseal(self, page_count: int) -> bool:
        """Seal some of the stale pages with the current key, each at once; say if any is left."""
        current = self._ciphers.current
        pages = self._pages.pages
        stale = [at for at, page in enumerate(pages) if page.cipher is not current]
        for at in stale[:page_count]:
            self._reseal_page(at, self._pages.firsts[at], self._pages.pages[at])
        return len(stale) > page_count

    def _reseal_page(self, at: int, first: bytes, old: Page) -> None:
        current = self._ciphers.current
        batch = WriteBatch(raw_mode=True)
        new = Page(old.number, current, old.stir)
        for name, sealed in self._store.cursor().under(old.head):
            entry = self._open(old, name, sealed)
            if entry is None or number_of(sealed) == current.number:
                continue
            batch.delete(name)
            new_name = new.head + current.name(entry[0])
            batch.put(new_name, current.seal(self._pack(*entry), new_name))
        batch.put(new.fence, current.seal(first, new.fence))
        self._store.write_batch(batch)
        self._pages.replace(at, new)

    @override
    def cached(self) -> CacheFigures:
        return self._store.cached()

    @override
    def flush(self) -> None:
        self._store.flush()

    @override
    def close(self) -> None:
        self._store.close()


class EncryptedSnapshot(Snapshot):
    """An encrypted store at one moment."""

    def __init__(
        self,
        snapshot: Snapshot,
        pages: Pages,
        get: Callable[[Read, Pages, bytes], bytes | None],
    ) -> None:
        self._snapshot, self._pages, self._get = snapshot, pages, get

    @override
    def get(self, key: bytes) -> bytes | None:
        return self._get(self._snapshot.get, self._pages, key)

    @override
    def release(self) -> None:
        self._snapshot.release()
