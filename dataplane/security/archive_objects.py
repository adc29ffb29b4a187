"""Segments as objects of the archive: compressed, sealed, and bound to one place of one cluster.

An object is a magic, the number of its algorithm, and a message of `aead.Sealer`. Its key comes
from the cluster's archive secret: one for all collections, or one of a collection with a salt that
is lost when the collection is dropped. Its name tells the number of the segment, and a keyed hash
of its digest.
"""

from typing import Final

from blake3 import blake3

from dataplane.client.spec import Algorithm
from dataplane.security.aead import OVERHEAD_BYTES, Sealer, derive

MAGIC: Final = b"AEROARC1"
_ALGORITHMS: Final[tuple[Algorithm, ...]] = (
    "aes-256-gcm",
    "chacha20-poly1305",
    "xchacha20-poly1305",
)
HEAD_BYTES: Final = len(MAGIC) + 1
OBJECT_OVERHEAD_BYTES: Final = HEAD_BYTES + OVERHEAD_BYTES
_KEY_NUMBER: Final = 1
_TAG_BYTES: Final = 16
_NUMBER_DIGITS: Final = 16


def object_key(secret: bytes, salt: bytes) -> bytes:
    """Return the key of objects; `salt` is empty for collections without a key of their own."""
    return derive(secret, b"class|" + salt if salt else b"objects")


def object_name(secret: bytes, segment: int, digest: bytes) -> str:
    """Return the name of the object of a segment, the same on every node.

    Its number keeps segments of equal bytes apart: one may be deleted while the other is needed.
    """
    tag = blake3(digest, key=derive(secret, b"names")).hexdigest(_TAG_BYTES)
    return f"{segment:0{_NUMBER_DIGITS}x}-{tag}"


def number_in(name: str) -> int | None:
    """Return the number of the segment in the name of an object, None in other names."""
    number, dash, tag = name.partition("-")
    if not dash or len(number) != _NUMBER_DIGITS or len(tag) != 2 * _TAG_BYTES:
        return None
    try:
        return int(number, 16)
    except ValueError:
        return None


def seal_object(key: bytes, algorithm: Algorithm, packed: bytes, place: bytes) -> bytes:
    """Return an object that opens at this place only."""
    mark = bytes([_ALGORITHMS.index(algorithm)])
    return MAGIC + mark + Sealer(algorithm, key, _KEY_NUMBER).seal(packed, mark + place)


def open_object(key: bytes, data: bytes, place: bytes) -> bytes | None:
    """Return what was sealed, None when these bytes are not from here."""
    mark = data[len(MAGIC) : HEAD_BYTES]
    if not data.startswith(MAGIC) or len(data) < HEAD_BYTES or mark[0] >= len(_ALGORITHMS):
        return None
    sealer = Sealer(_ALGORITHMS[mark[0]], key, _KEY_NUMBER)
    return sealer.open(data[HEAD_BYTES:], mark + place)


def object_place(cluster_id: str, collection: int, segment: int, digest: bytes) -> bytes:
    """Return what binds an object to where it belongs."""
    return f"aerolith-archive|{cluster_id}|{collection}|{segment}|".encode() + digest
