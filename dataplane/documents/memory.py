"""The memory tier: documents as they are answered, kept while they are asked for.

Kept is the JSON of a document beside the row that it was made of. Whoever asks has a row, of the
moment that he reads, and gets the JSON only if it was made of the very same bytes: so it can be
neither stale nor of another document, whatever was written, copied or restored meanwhile. What is
changed or removed is forgotten with its batch for another reason: nobody is to find it here.
"""

from collections import OrderedDict
from collections.abc import Mapping, Sequence
from typing import Final

from dataplane.documents.tables import DOCUMENT_KEY_BYTES, Change

MEMORY_BYTES: Final = 32 * 1024 * 1024
ENTRY_BYTES: Final = 360
"""What a document takes beside its key, row and JSON: the heads of these, and its place."""
_DROP: Final = "drop"
_SHARE: Final = 8
"""A document that would take more than so much of all is not kept."""


class Memory:
    """JSON of documents by the keys of their rows, those that were asked for last."""

    def __init__(self, bytes_max: int = MEMORY_BYTES) -> None:
        """Keep so many bytes; 0 keeps nothing."""
        self.bytes_max = bytes_max
        self._kept: OrderedDict[bytes, tuple[bytes, bytes]] = OrderedDict()
        self._held: dict[bytes, list[int]] = {}
        """By what the keys of a collection begin with: documents, bytes."""
        self.size_bytes = 0
        self.hits = 0
        self.misses = 0
        self.evictions = 0

    def __len__(self) -> int:
        """How many documents are kept."""
        return len(self._kept)

    def find(self, key: bytes, row: bytes) -> bytes | None:
        """Return the JSON of a document by the key of its row, and the row, which has its body."""
        known = self._kept.get(key)
        if known is None or known[0] != row:
            self.misses += 1
            return None
        self.hits += 1
        self._kept.move_to_end(key)
        return known[1]

    def keep(self, key: bytes, row: bytes, text: bytes) -> None:
        """Keep the JSON of a row that is the present one, if it is not too long."""
        size_bytes = _size(key, row, text)
        if size_bytes * _SHARE > self.bytes_max:
            return
        self.forget(key)
        self._kept[key] = row, text
        self._count(key, 1, size_bytes)
        while self.size_bytes > self.bytes_max:
            oldest, entry = self._kept.popitem(last=False)
            self._count(oldest, -1, -_size(oldest, *entry))
            self.evictions += 1

    def forget(self, key: bytes) -> None:
        """Keep a document no longer."""
        entry = self._kept.pop(key, None)
        if entry is not None:
            self._count(key, -1, -_size(key, *entry))

    def _count(self, key: bytes, documents: int, size_bytes: int) -> None:
        self.size_bytes += size_bytes
        counts = self._held.setdefault(key[:DOCUMENT_KEY_BYTES], [0, 0])
        counts[0] += documents
        counts[1] += size_bytes
        if not counts[0]:
            del self._held[key[:DOCUMENT_KEY_BYTES]]

    def held(self, prefix: bytes) -> tuple[int, int]:
        """Return how many documents of a collection are kept, and the bytes that they take."""
        documents, size_bytes = self._held.get(prefix, (0, 0))
        return documents, size_bytes

    def changed(self, changes: Sequence[Change], prefixes: Mapping[str, bytes]) -> None:
        """Forget the documents that a batch changed; every write comes by here."""
        kept = self._kept
        for kind, collection, document_id, _, _ in changes:
            if kind == _DROP:
                self.clear()
                return
            prefix = prefixes.get(collection)
            if prefix is not None and (key := prefix + document_id.encode()) in kept:
                self.forget(key)

    def clear(self) -> None:
        """Keep nothing of what was kept so far."""
        self._kept.clear()
        self._held.clear()
        self.size_bytes = 0


def _size(key: bytes, row: bytes, text: bytes) -> int:
    return len(key) + len(row) + len(text) + ENTRY_BYTES
