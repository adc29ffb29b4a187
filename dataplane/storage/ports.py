"""What the state machine asks of a storage engine."""

from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple, Protocol


class Snapshot(Protocol):
    """The store as it was at one moment, for reads of single keys.

    It keeps old values on disk and in memory: release it soon, and before the store is closed.
    """

    def get(self, key: bytes) -> bytes | None:
        """Return the value at that moment, or None when the key was absent."""
        ...

    def release(self) -> None:
        """Let go of it; calling it again does nothing."""
        ...


class CacheFigures(NamedTuple):
    """What a store keeps in memory of its files, and how often that spared it the disk."""

    hits: int = 0
    misses: int = 0
    size_bytes: int = 0
    bytes_max: int = 0


class KeyValueStore(Protocol):
    """An ordered map of bytes with atomic writes.

    A write is atomic and visible at once; it survives a crash of the machine only after `flush()`.
    The consensus log is what makes it durable before that: after a crash the store holds some
    prefix of the writes, and the log replays the rest.
    """

    def get(self, key: bytes) -> bytes | None:
        """Return the value, or None when the key is absent."""
        ...

    def get_many(self, keys: Sequence[bytes]) -> list[bytes | None]:
        """Return the values in the order of the keys."""
        ...

    def iterate(
        self, prefix: bytes, *, start: bytes | None = None, reverse: bool = False
    ) -> Iterator[tuple[bytes, bytes]]:
        """Yield entries under `prefix` in key order (or reverse), from `start` inclusive.

        The store must not be written while an iterator is in use.
        """
        ...

    def scan(
        self, low: bytes, high: bytes, *, reverse: bool = False
    ) -> Iterator[tuple[bytes, bytes]]:
        """Return the entries from `low` to before `high` as they are now, in key order or reverse.

        Unlike with `iterate`, later writes do not show and do no harm.
        """
        ...

    def write(self, changes: Mapping[bytes, bytes | None]) -> None:
        """Apply all changes atomically; None deletes."""
        ...

    def snapshot(self) -> Snapshot:
        """Return the store as it is now; later writes do not show in it."""
        ...

    def flush(self) -> None:
        """Make every completed write survive a crash of the machine."""
        ...

    def close(self) -> None:
        """Flush and release; calling it again does nothing."""
        ...

    def cached(self) -> CacheFigures:
        """Return the figures of its cache, since it was opened; all are 0 where it has none."""
        return CacheFigures()


class Cipher(Protocol):
    """Seals and opens under one key, in any thread; `security.aead.Sealer` is one."""

    @property
    def number(self) -> int:
        """Names the key; every sealed message begins with it, in two bytes."""
        ...

    def seal(self, plain: bytes, place: bytes) -> bytes:
        """Return the sealed message; it opens at this place only."""
        ...

    def open(self, sealed: bytes, place: bytes) -> bytes | None:
        """Return what was sealed at this place under this key, None when it was not."""
        ...

    def name(self, key: bytes) -> bytes:
        """Return what stands for a key where the key must not be readable."""
        ...


class Ciphers(Protocol):
    """The ciphers of a node for one purpose: one for what is written, more for what is read."""

    @property
    def current(self) -> Cipher:
        """What new writes are sealed with."""
        ...

    def of(self, number: int) -> Cipher | None:
        """Return a cipher by its number, None when this node does not hold that key."""
        ...


def number_of(sealed: bytes) -> int:
    """Return the number of the key under which a message was sealed."""
    return int.from_bytes(sealed[:2], "big")
