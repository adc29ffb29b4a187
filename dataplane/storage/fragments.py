"""A node's own fragments of segments: rows of its own, compressed where that helps.

Their keys begin with a letter and the number of the collection, as those of its documents do, so
that the fragments of a collection with a key of its own are sealed under that key too.
"""

from collections.abc import Iterator
from typing import Final

import zstandard

from dataplane.storage.ports import KeyValueStore

FRAGMENT: Final = b"g"
_COLLECTION_BYTES: Final = 4
_NUMBER_BYTES: Final = 8
_KEY_BYTES: Final = len(FRAGMENT) + _COLLECTION_BYTES + _NUMBER_BYTES
_PLAIN: Final = b"\0"
_COMPRESSED: Final = b"\1"
_LEVEL: Final = 3


def fragment_prefix(collection: int) -> bytes:
    """Return what the keys of the fragments of a collection begin with."""
    return FRAGMENT + collection.to_bytes(_COLLECTION_BYTES, "big")


def fragment_key(collection: int, segment: int) -> bytes:
    """Return the key of this node's fragment of a segment."""
    return fragment_prefix(collection) + segment.to_bytes(_NUMBER_BYTES, "big")


def segment_of(key: bytes) -> int:
    """Return the number of the segment in the key of a fragment."""
    assert len(key) == _KEY_BYTES
    return int.from_bytes(key[-_NUMBER_BYTES:], "big")


def pack(fragment: bytes) -> bytes:
    """Return a fragment as it is stored and sent."""
    compressed = zstandard.ZstdCompressor(level=_LEVEL).compress(fragment)
    if len(compressed) < len(fragment):
        return _COMPRESSED + compressed
    return _PLAIN + fragment


def unpack(packed: bytes, length: int) -> bytes | None:
    """Return the fragment, None when it is not `length` bytes long or cannot be read.

    What a peer or a disk made of it decides how much memory this takes: never more than `length`.
    """
    mark, data = packed[:1], packed[1:]
    if mark == _COMPRESSED:
        try:
            # The length that a frame tells of itself is a claim.
            if zstandard.frame_content_size(data) != length:
                return None
            data = zstandard.ZstdDecompressor().decompress(data, allow_extra_data=False)
        except zstandard.ZstdError:
            return None
    elif mark != _PLAIN:
        return None
    return data if len(data) == length else None


def packed_length(packed: bytes) -> int:
    """Return how long what was packed here is; of what others packed it is a claim."""
    if packed[:1] == _COMPRESSED:
        return zstandard.frame_content_size(packed[1:])
    return len(packed) - 1


def fragment_keys(store: KeyValueStore, start: bytes = FRAGMENT) -> Iterator[bytes]:
    """Yield the keys of this node's fragments from `start` on; write nothing meanwhile."""
    return (key for key, _ in store.iterate(FRAGMENT, start=start))
