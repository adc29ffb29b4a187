"""The state at one moment as the records of a backup, read from its tree a leaf at a time.

The tree gives the order, and what a reader holds already is passed over without being read. Only
single rows of the snapshot are asked for, so the state goes on changing meanwhile.
"""

from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Iterator

from dataplane.consensus.tree import (
    EMPTY,
    Node,
    bucket_size,
    child_path,
    decode_bucket,
    decode_inner,
    hash_entry,
    is_inner,
    is_node,
    node_digest,
)
from dataplane.documents.merkle import index_key, node_key
from dataplane.documents.tables import DOCUMENT
from dataplane.wire.backups import (
    KNOWN_BYTES,
    ROWS_BYTES,
    AnyRecord,
    End,
    Leaf,
    Row,
    Rows,
    Same,
)
from dataplane.wire.stubs import fits, is_stub, stub_of

type Read = Callable[[bytes], bytes | None]
"""Reads rows of a consistent state whose tree has no pending changes."""


type FetchBody = Callable[[bytes, bytes], Awaitable[bytes]]


class DamagedStateError(Exception):
    """What is stored is not what its tree says: a backup of it would prove nothing."""


def backup_records(read: Read, known: Collection[bytes] = frozenset()) -> Iterator[AnyRecord]:
    """Yield everything between the head and the end of the file, and the end.

    `known` are the beginnings of digests (`KNOWN_BYTES`) of subtrees that the reader holds.

    Raises:
        DamagedStateError: A row or a node is missing or is not what it was.
    """
    rows = same = 0
    waiting = [("", _root(read))]
    while waiting:
        path, node = waiting.pop()
        if node.digest[:KNOWN_BYTES] in known:
            same += 1
            yield Same(path, node.digest, node.entries)
            continue
        stored = read(node_key(path))
        if stored is None or not is_node(stored) or node_digest(stored) != node.digest:
            raise DamagedStateError(f"node {path!r}")
        if is_inner(stored):
            below = list(enumerate(decode_inner(stored)))
            waiting += [(child_path(path, i), n) for i, n in reversed(below) if n != EMPTY]
        else:
            rows += node.entries
            yield Leaf(path, node.entries)
            yield from _rows(read, stored)
    yield End(rows, same)


async def with_bodies(record: Rows, body_of: FetchBody) -> AsyncIterator[Rows]:
    """Yield the rows of a record with the bodies of the cold documents among them.

    `body_of` returns the body of a document by its key and row.

    Raises:
        DamagedStateError: A body is not what its stub stands for.
    """
    part: list[Row] = []
    bodies: list[bytes] = []
    size_bytes = 0
    for key, value in record.rows:
        stub = stub_of(value) if key.startswith(DOCUMENT) else None
        body = b"" if stub is None else await body_of(key, value)
        if stub is not None and not fits(stub, body):
            raise DamagedStateError(f"the body of a cold document of segment {stub.segment}")
        if part and size_bytes + len(key) + len(value) + len(body) > ROWS_BYTES:
            yield Rows(tuple(part), tuple(bodies))
            part, bodies, size_bytes = [], [], 0
        part.append((key, value))
        size_bytes += len(key) + len(value) + len(body)
        if stub is not None:
            bodies.append(body)
    yield Rows(tuple(part), tuple(bodies))


def has_stubs(record: AnyRecord) -> bool:
    """Whether a record brings rows of cold documents, without their bodies so far."""
    if not isinstance(record, Rows):
        return False
    return any(key.startswith(DOCUMENT) and is_stub(value) for key, value in record.rows)


def _root(read: Read) -> Node:
    stored = read(node_key(""))
    assert stored is not None, "a state has at least its counters"
    entries = (
        sum(child.entries for child in decode_inner(stored))
        if is_inner(stored)
        else bucket_size(stored)
    )
    return Node(node_digest(stored), entries)


def _rows(read: Read, bucket: bytes) -> Iterator[Rows]:
    part: list[Row] = []
    size_bytes = 0
    for key_hash, entry in decode_bucket(bucket).items():
        key = read(index_key(key_hash))
        value = None if key is None else read(key)
        if key is None or value is None or hash_entry(key_hash, value) != entry:
            raise DamagedStateError(f"row {key_hash.hex()}")
        if part and size_bytes + len(key) + len(value) > ROWS_BYTES:
            yield Rows(tuple(part))
            part, size_bytes = [], 0
        part.append((key, value))
        size_bytes += len(key) + len(value)
    yield Rows(tuple(part))
