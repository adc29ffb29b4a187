"""The Merkle tree of the state as bytes: what a parent says of its children, and who checks it.

A row of the state is an entry: a hash of its key, and a hash of that and the value. Entries are
grouped into buckets by the leading nibbles of the key hash; a bucket of more than `BUCKET_MAX`
entries is an inner node with sixteen children instead. A node's digest is the hash of its bytes,
so the root's digest, which a quorum signs, vouches for every node and every row below it.
"""

import struct
from itertools import chain
from typing import Final, NamedTuple

from blake3 import blake3

KEY_HASH_BYTES: Final = 16
ENTRY_HASH_BYTES: Final = 32
BUCKET_MAX: Final = 32
FAN_OUT: Final = 16
DEPTH_MAX: Final = 2 * KEY_HASH_BYTES

INNER: Final = b"N"
BUCKET: Final = b"B"
_ENTRY_BYTES: Final = KEY_HASH_BYTES + ENTRY_HASH_BYTES
_CHILD_BYTES: Final = ENTRY_HASH_BYTES + 8
_INNER_BYTES: Final = 1 + FAN_OUT * _CHILD_BYTES
NODE_BYTES_MAX: Final = 1 + BUCKET_MAX * _ENTRY_BYTES
_CHILDREN: Final = struct.Struct(">" + f"{ENTRY_HASH_BYTES}sQ" * FAN_OUT)

type Entries = dict[bytes, bytes]
"""Key hash to entry hash."""


class Node(NamedTuple):
    """The digest of a subtree and the number of its entries."""

    digest: bytes
    entries: int


EMPTY: Final = Node(bytes(ENTRY_HASH_BYTES), 0)


def hash_key(key: bytes) -> bytes:
    """Return the hash that places a row in the tree."""
    return blake3(key).digest(KEY_HASH_BYTES)


def hash_entry(key_hash: bytes, value: bytes) -> bytes:
    """Return the hash of a row."""
    return blake3(key_hash + value).digest()


def node_digest(row: bytes) -> bytes:
    """Return the digest by which a parent knows the node."""
    return blake3(row).digest()


def is_inner(row: bytes) -> bool:
    """Whether a node has children, and not entries."""
    return row.startswith(INNER)


def is_node(row: bytes) -> bool:
    """Whether the bytes have the shape of a node."""
    if is_inner(row):
        return len(row) == _INNER_BYTES
    return (
        row.startswith(BUCKET) and len(row) % _ENTRY_BYTES == 1 and 1 < len(row) <= NODE_BYTES_MAX
    )


def encode_bucket(entries: Entries) -> bytes:
    """Encode a bucket; the order of insertion does not matter."""
    return BUCKET + b"".join([key_hash + entries[key_hash] for key_hash in sorted(entries)])


def decode_bucket(row: bytes) -> Entries:
    """Return the entries of a bucket."""
    assert is_node(row), "torn bucket"
    assert not is_inner(row), "a bucket was expected"
    return {
        row[start : start + KEY_HASH_BYTES]: row[start + KEY_HASH_BYTES : start + _ENTRY_BYTES]
        for start in range(1, len(row), _ENTRY_BYTES)
    }


def bucket_size(row: bytes) -> int:
    """Return how many entries a bucket has."""
    return (len(row) - 1) // _ENTRY_BYTES


def change_bucket(row: bytes, key_hash: bytes, entry: bytes | None) -> bytes:
    """Return a bucket with one entry put in, replaced, or taken out.

    The row is changed as bytes: to take it apart and put it together costs ten times as much.
    """
    low, high = 0, bucket_size(row)
    while low < high:
        middle = (low + high) // 2
        at = 1 + middle * _ENTRY_BYTES
        if row[at : at + KEY_HASH_BYTES] < key_hash:
            low = middle + 1
        else:
            high = middle
    at = 1 + low * _ENTRY_BYTES
    behind = at + _ENTRY_BYTES if row[at : at + KEY_HASH_BYTES] == key_hash else at
    put = b"" if entry is None else key_hash + entry
    return row[:at] + put + row[behind:]


def encode_inner(children: list[Node]) -> bytes:
    """Encode an inner node."""
    return INNER + _CHILDREN.pack(*chain.from_iterable(children))


def decode_inner(row: bytes) -> list[Node]:
    """Return the sixteen children of an inner node."""
    assert is_inner(row), "an inner node was expected"
    assert len(row) == _INNER_BYTES, "torn node"
    return [
        Node(
            row[start : start + ENTRY_HASH_BYTES],
            int.from_bytes(row[start + ENTRY_HASH_BYTES : start + _CHILD_BYTES], "big"),
        )
        for start in range(1, len(row), _CHILD_BYTES)
    ]


def nibble(key_hash: bytes, depth: int) -> int:
    """Return the child that a key hash belongs to at a depth."""
    byte = key_hash[depth >> 1]
    return byte & 15 if depth & 1 else byte >> 4


def child_path(path: str, index: int) -> str:
    """Return the path of a child; the root's path is empty."""
    return f"{path}{index:x}"
