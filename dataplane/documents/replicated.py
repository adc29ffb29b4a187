"""A store whose capital-letter rows are the replicated state, with all that belongs to it.

The small letters are each replica's own: `j` the journal, `t` the tree, `h` its index, `e` how far
it is folded, `f` the parts of a copy under way, `z` that a copy is being put in place, `c` and `d`
the recent changes of documents (see `changes.py`), `g` its fragments of segments.
"""

from collections.abc import Callable, Iterator
from typing import Final, override

from dataplane.consensus.config import Limits
from dataplane.consensus.messages import FetchNodes, FetchRows
from dataplane.consensus.outcome import CopyStage, Wanted
from dataplane.documents.checkpoints import Answer, ShownCheckpoints
from dataplane.documents.copying import StateCopy
from dataplane.documents.journal import Journal
from dataplane.documents.merkle import MerkleTree
from dataplane.documents.scrubbing import Scrubber
from dataplane.documents.tables import Batch, Changes
from dataplane.documents.types import StateCopies
from dataplane.storage.ports import KeyValueStore

PENDING_ENTRIES_MAX: Final = 32_768
"""That wait for the next checkpoint, which stands still until they are folded."""
_REBUILD_ROWS: Final = 10_000
_FIRST_ROW: Final = b"A"
_BEHIND_ROWS: Final = b"["
_TREE_PREFIXES: Final = (b"e", b"h", b"t")


class ReplicatedStore(StateCopies):
    """Writes batches, knows the root, shows checkpoints to peers, takes over their state.

    `reload` is called when the rows were replaced by others: whatever was read of them is stale.
    `look` looks at a little of what the replica keeps beside the rows, with each look at them.
    """

    def __init__(
        self,
        store: KeyValueStore,
        reload: Callable[[], None],
        look: Callable[[], None] = lambda: None,
    ) -> None:
        self._store = store
        self._reload = reload
        self.pending_max = PENDING_ENTRIES_MAX
        self._look = look
        self._copy = StateCopy(store)
        self._copy.finish()
        self._tree = MerkleTree(store)
        self._journal = Journal(store)
        self._views = ShownCheckpoints(store, self._journal)
        self._scrubber = Scrubber(store, self._tree)
        if not self._tree.is_indexed:
            self._clear(b"j")
            self._journal = Journal(store)
            self._views = ShownCheckpoints(store, self._journal)
            self.rebuild()

    def commit(self, sequence: int, batch: Batch) -> None:
        """Write a batch in one write, with the replica's own rows."""
        written = batch.changes | batch.own
        self._journal.record(sequence, batch.before(), written)
        self._tree.note(batch.changes.items())
        self._tree.reached(sequence)
        self._store.write(written)
        self._tree.relieve(self.pending_max)

    @property
    def pending_count(self) -> int:
        """How many rows wait for the next root."""
        return self._tree.pending_count

    def root(self) -> bytes:
        """Return the digest of all replicated rows."""
        return self._tree.root()

    def rebuild(self) -> None:
        """Make the tree anew from the rows alone."""
        last = self._journal.last
        for prefix in _TREE_PREFIXES:
            self._clear(prefix)
        self._tree.load()
        for part in self._parts():
            self._tree.note(part)
            self._tree.root(is_final=False)
        self._tree.reached(-1 if last is None else last)
        self._tree.root()

    def _parts(self) -> Iterator[list[tuple[bytes, bytes]]]:
        start = _FIRST_ROW
        while True:
            part: list[tuple[bytes, bytes]] = []
            for key, value in self._store.iterate(b"", start=start):
                if key >= _BEHIND_ROWS or len(part) == _REBUILD_ROWS:
                    break
                part.append((key, value))
            if not part:
                return
            start = part[-1][0] + b"\0"
            yield part

    def _clear(self, prefix: bytes) -> None:
        while True:
            gone: Changes = {}
            for key, _ in self._store.iterate(prefix):
                gone[key] = None
                if len(gone) == _REBUILD_ROWS:
                    break
            if not gone:
                return
            self._store.write(gone)

    def close(self) -> None:
        """Let go of the store, so that it can be closed."""
        self._views.forget()

    # --- Checkpoints for peers ------------------------------------------------------------------

    @override
    def mark(self, sequence: int, root: bytes) -> None:
        self._views.mark(sequence, root)

    @override
    def retain(self, sequence: int) -> None:
        if self._tree.folded < sequence:
            # What the journal is about to forget must be in the stored tree.
            self._tree.root()
        changes: Changes = {}
        self._views.retain(sequence, changes)
        if changes:
            self._store.write(changes)

    @override
    def root_at(self, sequence: int) -> bytes | None:
        return self._views.root_at(sequence)

    @override
    def serve(
        self, question: FetchNodes | FetchRows, limits: Limits, now_ms: int, *, may_rewind: bool
    ) -> Answer:
        return self._views.answer(question, limits, now_ms, may_rewind=may_rewind)

    # --- A copy of a peer's state ---------------------------------------------------------------

    @override
    def begin(self, sequence: int, root: bytes, *, is_fresh: bool) -> Wanted:
        self._tree.root()
        return self._copy.begin(sequence, root, is_fresh=is_fresh)

    @override
    def stage(self, parts: CopyStage) -> Wanted:
        return self._copy.stage(parts.sequence, parts.nodes, parts.rows)

    @override
    def install(self, sequence: int, root: bytes) -> bool:
        if not self._copy.install(sequence, root):
            return False
        self._tree.load()
        self._journal = Journal(self._store)
        self._views = ShownCheckpoints(self._store, self._journal)
        self._reload()
        self._views.mark(sequence, self._tree.root())
        return True

    # --- Scrubbing ------------------------------------------------------------------------------

    @override
    def scrub(self, node_count: int) -> list[bytes]:
        self._look()
        findings = self._scrubber.look(node_count)
        if findings.is_tree_damaged:
            self.rebuild()
            return [b"tree"]
        # From here on the root tells what is really stored, so that a copy sees the difference.
        self._tree.note(zip(findings.rows, self._store.get_many(findings.rows), strict=True))
        return findings.rows

    @property
    @override
    def scrub_rounds(self) -> int:
        return self._scrubber.rounds
