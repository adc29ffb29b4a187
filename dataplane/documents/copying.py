"""The copy of another replica's state: gathered beside the own one, then put in its place.

Parts are kept under their digests, so that a copy that must turn to a newer checkpoint keeps what
did not change. Nothing of the own state moves until the copy is whole. Then one row says that it
is being put in place, durably; from there on the store is the new state, and opening it after a
crash finishes the work before anything is read. The work goes from the leaves to the root: a node
of the tree is written when everything below it is, so it can begin again anywhere.
"""

from typing import Final

from dataplane.consensus.outcome import Wanted
from dataplane.consensus.tree import (
    EMPTY,
    FAN_OUT,
    Entries,
    child_path,
    decode_bucket,
    decode_inner,
    encode_bucket,
    hash_entry,
    hash_key,
    is_inner,
    is_node,
    nibble,
    node_digest,
)
from dataplane.documents.merkle import folded_row, index_key, node_key
from dataplane.documents.tables import SEGMENT, Changes, decode_segment, number_key
from dataplane.storage.fragments import fragment_key, fragment_keys, segment_of
from dataplane.storage.ports import KeyValueStore

EXPANDED_PER_CALL: Final = 64
_STAGED: Final = b"f"
_INSTALLING: Final = b"z"
_KEY_LENGTH_BYTES: Final = 4
_CHUNK_BYTES: Final = 1024 * 1024
_CHUNK_ROWS: Final = 1_000


class StateCopy:
    """A copy under way in one store."""

    def __init__(self, store: KeyValueStore) -> None:
        self._store = store
        self._sequence = 0
        self._ready: list[tuple[str, bytes]] = []
        self._writes: Changes = {}
        self._size_bytes = 0

    # --- Gathering ------------------------------------------------------------------------------

    def begin(self, sequence: int, root: bytes, *, is_fresh: bool) -> Wanted:
        """Say what of the state under `root` is neither here nor gathered earlier.

        The own tree must be folded, and the own state must not change until the copy ends.
        """
        self._sequence, self._ready = sequence, []
        if is_fresh:
            self.clear()
        nodes: list[tuple[str, bytes]] = []
        self._want_node("", root, nodes)
        return self._expand(nodes)

    def stage(
        self,
        sequence: int,
        nodes: tuple[tuple[str, bytes], ...],
        rows: tuple[tuple[bytes, bytes], ...],
    ) -> Wanted:
        """Keep verified parts and say what they show to be missing."""
        if sequence != self._sequence:
            return Wanted(sequence)
        writes: Changes = {}
        for path, row in nodes:
            digest = node_digest(row)
            writes[_STAGED + digest] = row
            self._ready.append((path, digest))
        for key, value in rows:
            entry = hash_entry(hash_key(key), value)
            writes[_STAGED + entry] = _pack(key, value)
        self._store.write(writes)
        return self._expand([])

    def _expand(self, nodes: list[tuple[str, bytes]]) -> Wanted:
        """Look below nodes that are there, a bounded number of them."""
        rows: list[tuple[bytes, bytes]] = []
        for _ in range(EXPANDED_PER_CALL):
            if not self._ready:
                break
            path, digest = self._ready.pop()
            row = self._store.get(_STAGED + digest)
            assert row is not None, "only what is staged is ready"
            if is_inner(row):
                for index, child in enumerate(decode_inner(row)):
                    self._want_node(child_path(path, index), child.digest, nodes)
            else:
                for key_hash, entry in decode_bucket(row).items():
                    if not self._has_row(key_hash, entry):
                        rows.append((key_hash, entry))
        return Wanted(self._sequence, tuple(nodes), tuple(rows), bool(self._ready))

    def _want_node(self, path: str, digest: bytes, into: list[tuple[str, bytes]]) -> None:
        if digest == EMPTY.digest or self._is_own_node(path, digest):
            return
        if self._store.get(_STAGED + digest) is not None:
            self._ready.append((path, digest))
        else:
            into.append((path, digest))

    def _is_own_node(self, path: str, digest: bytes) -> bool:
        row = self._store.get(node_key(path))
        return row is not None and node_digest(row) == digest

    def _has_row(self, key_hash: bytes, entry: bytes) -> bool:
        return self._is_own_row(key_hash, entry) or (self._store.get(_STAGED + entry) is not None)

    def _is_own_row(self, key_hash: bytes, entry: bytes) -> bool:
        key = self._get(index_key(key_hash))
        value = None if key is None else self._get(key)
        return value is not None and hash_entry(key_hash, value) == entry

    # --- Putting in place -----------------------------------------------------------------------

    def install(self, sequence: int, root: bytes) -> bool:
        """Make the copy the state; return False, and drop it, when it is not the one of `root`."""
        if not self._is_whole("", root):
            self.clear()
            return False
        self._store.write({_INSTALLING: sequence.to_bytes(8, "big") + root})
        self._store.flush()
        self.finish()
        return True

    def finish(self) -> bool:
        """Finish putting a copy in place, also one that a crash interrupted."""
        marker = self._store.get(_INSTALLING)
        if marker is None:
            return False
        sequence, root = int.from_bytes(marker[:8], "big"), marker[8:]
        self._sync("", root)
        self._write_out()
        # The journal leads back from the old state, not from this one, and what changed between
        # the two is not known.
        for own in (b"j", b"c", b"d"):
            self._remove(own)
        self._prune()
        self._store.write({_INSTALLING: None, **folded_row(sequence)})
        self._store.flush()
        self.clear()
        return True

    def clear(self) -> None:
        """Drop everything gathered."""
        self._ready = []
        self._remove(_STAGED)

    def _remove(self, prefix: bytes) -> None:
        while True:
            gone: Changes = {}
            for key, _ in self._store.iterate(prefix):
                gone[key] = None
                if len(gone) == _CHUNK_ROWS:
                    break
            if not gone:
                return
            self._store.write(gone)

    def _prune(self) -> None:
        """Remove fragments of segments that are no more, or archived.

        What was erased must not stay in them.
        """
        gone: Changes = {}
        for key in fragment_keys(self._store):
            stored = self._store.get(number_key(SEGMENT, segment_of(key)))
            row = None if stored is None else decode_segment(stored)
            is_kept = row is not None and row.tier == "distributed"
            if row is None or not is_kept or key != fragment_key(row.collection, segment_of(key)):
                gone[key] = None
        if gone:
            self._store.write(gone)

    def _is_whole(self, path: str, digest: bytes) -> bool:
        """Check every part of the copy that the own state does not have, against its parent."""
        if digest == EMPTY.digest or self._is_own_node(path, digest):
            return True
        row = self._store.get(_STAGED + digest)
        if row is None or not is_node(row) or node_digest(row) != digest:
            return False
        if is_inner(row):
            return all(
                self._is_whole(child_path(path, index), child.digest)
                for index, child in enumerate(decode_inner(row))
            )
        return all(
            self._is_own_row(key_hash, entry) or self._is_staged_row(key_hash, entry)
            for key_hash, entry in decode_bucket(row).items()
        )

    def _is_staged_row(self, key_hash: bytes, entry: bytes) -> bool:
        packed = self._store.get(_STAGED + entry)
        if packed is None:
            return False
        key, value = _unpack(packed)
        return hash_key(key) == key_hash and hash_entry(key_hash, value) == entry

    def _sync(self, path: str, digest: bytes) -> None:
        """Make the subtree at `path` the one under `digest`, children before parents."""
        own = self._get(node_key(path))
        if digest == EMPTY.digest:
            self._drop(path, own)
            return
        if own is not None and node_digest(own) == digest:
            return
        row = self._get(_STAGED + digest)
        assert row is not None, "the copy was whole when it began to be put in place"
        if is_inner(row):
            if own is not None and not is_inner(own):
                self._split(path, decode_bucket(own))
            for index, child in enumerate(decode_inner(row)):
                self._sync(child_path(path, index), child.digest)
        else:
            self._sync_bucket(path, decode_bucket(row), own)
        self._put(node_key(path), row)

    def _split(self, path: str, entries: Entries) -> None:
        """Spread the entries of an own bucket over children, as the other tree has them."""
        groups: dict[int, Entries] = {}
        for key_hash, entry in entries.items():
            groups.setdefault(nibble(key_hash, len(path)), {})[key_hash] = entry
        for index, group in groups.items():
            self._put(node_key(child_path(path, index)), encode_bucket(group))

    def _sync_bucket(self, path: str, entries: Entries, own: bytes | None) -> None:
        key_hashes, below = self._collect(path, own)
        for key_hash in key_hashes:
            if key_hash not in entries:
                self._drop_row(key_hash)
        for node in below:
            self._put(node, None)
        for key_hash, entry in entries.items():
            if self._is_own_row(key_hash, entry):
                continue
            packed = self._get(_STAGED + entry)
            assert packed is not None, "the copy was whole when it began to be put in place"
            key, value = _unpack(packed)
            self._put(key, value)
            self._put(index_key(key_hash), key)

    def _collect(self, path: str, own: bytes | None) -> tuple[list[bytes], list[bytes]]:
        """Return the key hashes and the nodes below an own node, the lowest nodes first.

        Nodes may be removed only when the rows they lead to are: a crash between would lose track
        of them.
        """
        if own is None:
            return [], []
        if not is_inner(own):
            return list(decode_bucket(own)), []
        found: list[bytes] = []
        nodes: list[bytes] = []
        for index in range(FAN_OUT):
            key = node_key(child_path(path, index))
            row = self._get(key)
            if row is not None:
                found_below, nodes_below = self._collect(child_path(path, index), row)
                found += found_below
                nodes += [*nodes_below, key]
        return found, nodes

    def _drop(self, path: str, own: bytes | None) -> None:
        key_hashes, below = self._collect(path, own)
        for key_hash in key_hashes:
            self._drop_row(key_hash)
        for node in below:
            self._put(node, None)
        if own is not None:
            self._put(node_key(path), None)

    def _drop_row(self, key_hash: bytes) -> None:
        key = self._get(index_key(key_hash))
        if key is not None:
            self._put(key, None)
            self._put(index_key(key_hash), None)

    def _get(self, key: bytes) -> bytes | None:
        return self._writes[key] if key in self._writes else self._store.get(key)

    def _put(self, key: bytes, value: bytes | None) -> None:
        self._writes[key] = value
        self._size_bytes += len(key) + len(value or b"")
        if self._size_bytes > _CHUNK_BYTES or len(self._writes) > _CHUNK_ROWS:
            self._write_out()

    def _write_out(self) -> None:
        if self._writes:
            self._store.write(self._writes)
        self._writes, self._size_bytes = {}, 0


def _pack(key: bytes, value: bytes) -> bytes:
    return len(key).to_bytes(_KEY_LENGTH_BYTES, "big") + key + value


def _unpack(packed: bytes) -> tuple[bytes, bytes]:
    end = _KEY_LENGTH_BYTES + int.from_bytes(packed[:_KEY_LENGTH_BYTES], "big")
    return packed[_KEY_LENGTH_BYTES:end], packed[end:]
