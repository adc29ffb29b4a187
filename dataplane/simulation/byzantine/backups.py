"""A backup of a state that never was: whole in itself, under the signatures of the real one."""

from typing import Final, override

from dataplane.documents.merkle import MerkleTree
from dataplane.documents.tables import DOCUMENT
from dataplane.documents.view import StateView
from dataplane.storage.engine import MemoryStore
from dataplane.storage.ports import Snapshot

_REPLICATED: Final = (b"A", b"[")


class ForgedBackups(StateView):
    """Changes one document of every backup, and the tree above it to fit."""

    def __init__(self, view: StateView) -> None:
        # One and the same state: what is not overridden here is shown as it is.
        self.__dict__ = view.__dict__

    @override
    def snapshot(self) -> Snapshot:
        rows = dict(self._store.scan(*_REPLICATED))
        documents = [key for key in rows if key.startswith(DOCUMENT)]
        if documents:
            last = max(documents)
            rows[last] = rows[last][:-1] + bytes([rows[last][-1] ^ 1])
        forged = MemoryStore(rows)
        tree = MerkleTree(forged)
        tree.note(rows.items())
        tree.root()
        return forged.snapshot()
