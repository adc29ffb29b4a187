"""Proofs that a document is in the state, or is not: rows with their way to the root."""

from collections.abc import Callable
from typing import Final

from blake3 import blake3

from dataplane.consensus.tree import KEY_HASH_BYTES
from dataplane.documents.merkle import trail
from dataplane.documents.tables import COLLECTION, decode_collection, document_prefix
from dataplane.wire.proofs import COUNT_BYTES, HASH_BYTES, RowProof

_CHILD_BYTES: Final = HASH_BYTES + COUNT_BYTES

type Read = Callable[[bytes], bytes | None]
"""Reads rows of a consistent state whose tree has no pending changes."""


def prove_document(
    read: Read, collection: str, document_id: str
) -> tuple[RowProof, RowProof | None]:
    """Return the proofs of the collection's row and, when there is one, of the document's."""
    collection_row = prove_row(read, COLLECTION + collection.encode())
    if collection_row.row is None:
        return collection_row, None
    prefix = document_prefix(decode_collection(collection_row.row).id)
    return collection_row, prove_row(read, prefix + document_id.encode())


def prove_row(read: Read, key: bytes) -> RowProof:
    """Return the proof of one row, present or absent."""
    key_hash = blake3(key).digest(KEY_HASH_BYTES)
    nodes, entries = trail(read, key_hash)
    siblings = [_without_child(node, _nibble(key_hash, depth)) for depth, node in enumerate(nodes)]
    return RowProof(read(key), entries or None, tuple(reversed(siblings)))


def _without_child(node: bytes, nibble: int) -> bytes:
    start = nibble * _CHILD_BYTES
    return node[:start] + node[start + _CHILD_BYTES :]


def _nibble(key_hash: bytes, depth: int) -> int:
    return int(key_hash.hex()[depth], 16)
