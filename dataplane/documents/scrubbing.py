"""Looking, a little at a time, whether the stored rows still are what the tree says of them."""

from dataclasses import dataclass, field

from dataplane.consensus.tree import (
    EMPTY,
    child_path,
    decode_bucket,
    decode_inner,
    hash_entry,
    is_inner,
    is_node,
    node_digest,
)
from dataplane.documents.merkle import MerkleTree, index_key, node_key
from dataplane.storage.ports import KeyValueStore


@dataclass(slots=True)
class Findings:
    """What a look found: rows that are not what they were, and whether the tree itself is."""

    rows: list[bytes] = field(default_factory=list)
    is_tree_damaged: bool = False

    def __bool__(self) -> bool:
        return self.is_tree_damaged or bool(self.rows)


class Scrubber:
    """Goes round the tree node by node, for ever; every call looks at a few."""

    def __init__(self, store: KeyValueStore, tree: MerkleTree) -> None:
        self._store = store
        self._tree = tree
        self._next = node_key("")
        self.rounds = 0

    def look(self, node_count: int) -> Findings:
        """Check the next nodes of the tree and the rows they stand for."""
        findings = Findings()
        batch: list[tuple[bytes, bytes]] = []
        for item in self._store.iterate(node_key(""), start=self._next):
            if len(batch) == node_count:
                self._next = item[0]
                break
            batch.append(item)
        else:
            self._next = node_key("")
            self.rounds += 1
        for key, row in batch:
            self._check(key[1:].decode(), row, findings)
        return findings

    def _check(self, path: str, row: bytes, findings: Findings) -> None:
        if not is_node(row):
            findings.is_tree_damaged = True
        elif is_inner(row):
            children = decode_inner(row)
            keys = [node_key(child_path(path, index)) for index in range(len(children))]
            for child, below in zip(children, self._store.get_many(keys), strict=True):
                digest = EMPTY.digest if below is None else node_digest(below)
                if digest != child.digest:
                    findings.is_tree_damaged = True
        else:
            self._check_rows(row, findings)

    def _check_rows(self, row: bytes, findings: Findings) -> None:
        # A row that is about to be folded in is not yet what its bucket says.
        entries = {
            key_hash: entry
            for key_hash, entry in decode_bucket(row).items()
            if not self._tree.is_pending(key_hash)
        }
        keys = self._store.get_many([index_key(key_hash) for key_hash in entries])
        present = [key for key in keys if key is not None]
        if len(present) < len(keys):
            findings.is_tree_damaged = True
            return
        values = self._store.get_many(present)
        for (key_hash, entry), key, value in zip(entries.items(), present, values, strict=True):
            if value is None or hash_entry(key_hash, value) != entry:
                findings.rows.append(key)
