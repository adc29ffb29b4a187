"""Computing the root of a tree, and the digest of what a restore brings back, row by row."""

from dataclasses import dataclass, field
from typing import Final

from blake3 import blake3

from dataplane.client.errors import BackupError
from dataplane.wire.backups import CONTENT, KNOWN_BYTES, KNOWN_MAX
from dataplane.wire.proofs import COUNT_BYTES, FAN_OUT, HASH_BYTES, LEVELS_MAX

ENTRIES_MAX: Final = 2**48
_NOTHING: Final = bytes(HASH_BYTES)
_START: Final = bytes(HASH_BYTES)
_NIBBLES: Final = "0123456789abcdef"


@dataclass(slots=True)
class _Open:
    """An inner node whose children are being gathered."""

    path: str
    children: list[tuple[bytes, int]] = field(default_factory=lambda: [(_NOTHING, 0)] * FAN_OUT)


class TreeFold:
    """Computes the root from leaves that come in the order of their paths."""

    def __init__(self) -> None:
        self._open: list[_Open] = []
        self._root: tuple[bytes, int] | None = None
        self._last: str | None = None
        self._known: dict[int, list[bytes]] = {}
        self._known_count = 0

    def add(self, path: str, digest: bytes, entries: int) -> None:
        """Take the next leaf, or a subtree of which only the digest is there.

        Raises:
            BackupError: `malformed`: it is not where the next one can be.
        """
        last = self._last
        if len(path) > LEVELS_MAX or path.strip(_NIBBLES) or not 0 < entries < ENTRIES_MAX:
            raise BackupError("malformed", "a leaf is at no place of a tree")
        if last is not None and (path <= last or path.startswith(last)):
            raise BackupError("malformed", "the leaves are not in order")
        self._last = path
        while self._open and not path.startswith(self._open[-1].path):
            self._close()
        self._place(path, digest, entries)

    def _place(self, path: str, digest: bytes, entries: int) -> None:
        self._note(path, digest)
        if not path:
            self._root = digest, entries
            return
        depth = len(self._open[-1].path) + 1 if self._open else 0
        for length in range(depth, len(path)):
            self._open.append(_Open(path[:length]))
        self._open[-1].children[int(path[-1], FAN_OUT)] = digest, entries

    def _close(self) -> None:
        node = self._open.pop()
        packed = b"".join(
            digest + entries.to_bytes(COUNT_BYTES, "big") for digest, entries in node.children
        )
        digest = blake3(b"N" + packed).digest()
        total = sum(entries for _, entries in node.children)
        if total >= ENTRIES_MAX:
            raise BackupError("malformed", "it counts more rows than there can be")
        self._note(node.path, digest)
        if node.path:
            self._open[-1].children[int(node.path[-1], FAN_OUT)] = digest, total
        else:
            self._root = digest, total

    def _note(self, path: str, digest: bytes) -> None:
        self._known.setdefault(len(path), []).append(digest[:KNOWN_BYTES])
        self._known_count += 1
        if self._known_count > KNOWN_MAX:
            # Those above say the same of more at once.
            self._known_count -= len(self._known.pop(max(self._known)))

    def root(self) -> bytes:
        """Return the digest of everything that was added; nothing can be added afterwards."""
        while self._open:
            self._close()
        return _NOTHING if self._root is None else self._root[0]

    @property
    def known(self) -> bytes:
        """The beginnings of the digests of what is complete, for an incremental backup."""
        return b"".join(part for level in sorted(self._known) for part in self._known[level])


class ContentDigest:
    """A digest of what a restore brings back, whatever cluster it is in.

    Rows of one kind are chained in the order of the hashes of their keys, which is the order in
    which they come.
    """

    def __init__(self) -> None:
        self._chains = dict.fromkeys(CONTENT, _START)
        self.rows = 0

    def add(self, key: bytes, entry: bytes) -> None:
        """Take the next row, by its key and entry hash."""
        chain = self._chains.get(key[:1])
        if chain is not None:
            self._chains[key[:1]] = blake3(chain + entry).digest()
            self.rows += 1

    def digest(self) -> bytes:
        """Return the digest so far."""
        return blake3(b"".join(self._chains[kind] for kind in CONTENT)).digest()
