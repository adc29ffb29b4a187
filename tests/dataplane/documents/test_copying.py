"""A copied state is put in place whole or not at all, wherever a crash falls."""

from collections.abc import Mapping
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dataplane.consensus.config import Limits
from dataplane.consensus.messages import CheckpointGone, FetchNodes, FetchRows, TreeNodes, TreeRows
from dataplane.consensus.outcome import CopyStage, Wanted
from dataplane.documents.replicated import ReplicatedStore
from dataplane.documents.tables import Batch
from dataplane.storage.engine import MemoryStore, RocksStore

LIMITS = Limits()


class PowerCutError(Exception):
    """The machine stopped."""


class CutStore(MemoryStore):
    """Keeps so many writes and then loses power."""

    def __init__(self, values: Mapping[bytes, bytes], writes: int) -> None:
        super().__init__(values)
        self._writes_left = writes

    def write(self, changes: Mapping[bytes, bytes | None]) -> None:
        if self._writes_left == 0:
            raise PowerCutError
        self._writes_left -= 1
        super().write(changes)


def opened(store: MemoryStore | RocksStore) -> ReplicatedStore:
    return ReplicatedStore(store, lambda: None)


def rows_of(store: MemoryStore | RocksStore) -> dict[bytes, bytes]:
    return {key: value for key, value in store.iterate(b"") if key[:1].isupper()}


class Peer:
    """A store with rows, and batches that change them."""

    def __init__(self, store: MemoryStore | RocksStore | None = None) -> None:
        self.store = MemoryStore() if store is None else store
        self.state = opened(self.store)
        self.sequence = 0

    def change(self, changes: dict[bytes, bytes | None]) -> None:
        self.sequence += 1
        batch = Batch(self.store)
        batch.changes.update(changes)
        self.state.commit(self.sequence, batch)

    def checkpoint(self) -> bytes:
        root = self.state.root()
        self.state.mark(self.sequence, root)
        return root


def numbered(count: int, value: bytes, start: int = 0) -> dict[bytes, bytes | None]:
    return {b"D%d" % number: value for number in range(start, start + count)}


def fetch(source: Peer, target: ReplicatedStore, sequence: int, root: bytes) -> int:
    """Fetch everything; return how many rows travelled."""
    wanted = target.begin(sequence, root, is_fresh=False)
    travelled = 0
    nodes, rows = list(wanted.nodes), list(wanted.rows)
    while nodes or rows or wanted.has_more:
        stage = CopyStage(sequence)
        if nodes:
            paths = tuple(path for path, _ in nodes[:40])
            answer = source.state.serve(
                FetchNodes(sequence, root, paths), LIMITS, 1, may_rewind=True
            )
            assert isinstance(answer, TreeNodes)
            stage = CopyStage(sequence, nodes=answer.nodes)
            got = dict(answer.nodes)
            nodes = [node for node in nodes if node[0] not in got]
        elif rows:
            keys = tuple(key for key, _ in rows[:100])
            served = source.state.serve(FetchRows(sequence, root, keys), LIMITS, 1, may_rewind=True)
            assert isinstance(served, TreeRows)
            stage = CopyStage(sequence, rows=served.rows)
            travelled += len(served.rows)
            rows = rows[len(served.rows) :]
        wanted = target.stage(stage)
        nodes += wanted.nodes
        rows += wanted.rows
    return travelled


def differing() -> tuple[Peer, Peer]:
    """Two states that share most rows; either has some that the other has not."""
    ahead, behind = Peer(), Peer()
    for peer in (ahead, behind):
        peer.change(numbered(900, b"same"))
    behind.change(numbered(40, b"old", 2_000))
    behind.change(numbered(30, b"old"))
    ahead.change(numbered(700, b"new", 5_000))
    ahead.change({**numbered(60, None, 200), **numbered(50, b"changed", 400)})
    return ahead, behind


@settings(derandomize=True, deadline=None, max_examples=40)
@given(
    st.dictionaries(st.integers(0, 3_000), st.integers(0, 2), max_size=300),
    st.dictionaries(st.integers(0, 3_000), st.integers(0, 2), max_size=300),
)
def test_any_state_becomes_any_other(one: dict[int, int], other: dict[int, int]) -> None:
    peers = []
    for rows in (one, other):
        peer = Peer()
        peer.change({b"D%d" % key: b"%d" % value for key, value in rows.items()})
        peers.append(peer)
    ahead, behind = peers
    root = ahead.checkpoint()
    fetch(ahead, behind.state, ahead.sequence, root)
    assert behind.state.install(ahead.sequence, root)
    assert rows_of(behind.store) == rows_of(ahead.store)
    assert opened(behind.store).root() == behind.state.root() == root
    own = {key[:1] for key, _ in behind.store.iterate(b"") if not key[:1].isupper()}
    assert own <= {b"e", b"t", b"h"}, "nothing of the copy stays behind"


def test_only_what_differs_travels() -> None:
    ahead, behind = differing()
    root = ahead.checkpoint()
    assert fetch(ahead, behind.state, ahead.sequence, root) == 700 + 50 + 30


def test_a_crash_at_any_write_leaves_the_old_state_or_the_new() -> None:
    ahead, behind = differing()
    root, old = ahead.checkpoint(), rows_of(behind.store)
    fetch(ahead, behind.state, ahead.sequence, root)
    gathered = dict(behind.store.iterate(b""))
    outcomes = set()
    for writes in range(40):
        store = CutStore(gathered, writes)
        state = opened(store)
        try:
            state.begin(ahead.sequence, root, is_fresh=False)
            state.install(ahead.sequence, root)
            break
        except PowerCutError:
            pass
        after = MemoryStore(dict(store.iterate(b"")))
        reopened = opened(after)
        assert rows_of(after) in (old, rows_of(ahead.store))
        is_new = rows_of(after) == rows_of(ahead.store)
        assert reopened.root() == (root if is_new else opened(MemoryStore(old)).root())
        outcomes.add(is_new)
    else:
        raise AssertionError("the install never came to its end")
    assert outcomes == {False, True}


def test_a_crash_while_an_interrupted_install_is_finished_loses_nothing_either() -> None:
    ahead, behind = differing()
    root = ahead.checkpoint()
    fetch(ahead, behind.state, ahead.sequence, root)
    image = dict(behind.store.iterate(b""))
    image[b"z"] = ahead.sequence.to_bytes(8, "big") + root
    cuts = 0
    for writes in (1, 1, 1, 2, 1, 3, 50):
        store = CutStore(image, writes)
        try:
            opened(store)
        except PowerCutError:
            cuts += 1
        image = dict(store.iterate(b""))
    assert cuts > 2
    final = MemoryStore(image)
    assert rows_of(final) == rows_of(ahead.store)
    assert opened(final).root() == root


@pytest.mark.parametrize("what", ["missing", "false row", "false node"])
def test_a_copy_that_is_not_the_certified_one_changes_nothing(what: str) -> None:
    ahead, behind = differing()
    root, old = ahead.checkpoint(), rows_of(behind.store)
    fetch(ahead, behind.state, ahead.sequence, root)
    staged = [item for item in behind.store.iterate(b"f") if len(item[1]) < 40]
    nodes = [item for item in behind.store.iterate(b"f") if item[1].startswith(b"B")]
    key, value = staged[7] if what != "false node" else nodes[3]
    behind.store.write({key: None if what == "missing" else value[:-1] + b"?"})
    assert not behind.state.install(ahead.sequence, root)
    assert rows_of(behind.store) == old
    assert list(behind.store.iterate(b"f")) == []
    fetch(ahead, behind.state, ahead.sequence, root)
    assert behind.state.install(ahead.sequence, root)
    assert behind.state.root() == root


def test_a_view_shows_the_checkpoint_while_batches_go_on() -> None:
    ahead, behind = differing()
    root, then = ahead.checkpoint(), rows_of(ahead.store)
    sequence = ahead.sequence
    ahead.change(numbered(500, b"later", 300))
    ahead.change(numbered(200, None, 5_000))
    ahead.checkpoint()
    fetch(ahead, behind.state, sequence, root)
    assert behind.state.install(sequence, root)
    assert rows_of(behind.store) == then


@pytest.mark.parametrize("rocks", [False, True])
def test_the_journal_leads_back_to_a_checkpoint_after_a_restart(tmp_path, rocks: bool) -> None:
    ahead = Peer(RocksStore(tmp_path) if rocks else None)
    ahead.change(numbered(900, b"same"))
    root, sequence, then = ahead.checkpoint(), ahead.sequence, rows_of(ahead.store)
    ahead.state.retain(sequence)
    for turn in range(5):
        ahead.change(numbered(100, b"%d" % turn, 50 * turn))
        ahead.change(numbered(30, None, 300 + 40 * turn))
        if turn == 2:
            ahead.checkpoint()
    ahead.state.close()
    if rocks:
        ahead.store.close()
        ahead.store = RocksStore(tmp_path)
    ahead.state = opened(ahead.store)
    behind = Peer()
    fetch(ahead, behind.state, sequence, root)
    assert behind.state.install(sequence, root)
    assert rows_of(behind.store) == then
    ahead.state.close()
    ahead.store.close()


def test_the_journal_keeps_no_more_than_two_stable_checkpoints() -> None:
    peer = Peer()
    for turn in range(30):
        peer.change(numbered(20, b"%d" % turn))
        if peer.sequence % 5 == 0:
            root = peer.checkpoint()
            peer.state.retain(peer.sequence)
    assert len(list(peer.store.iterate(b"j"))) == 5
    gone = peer.state.serve(FetchNodes(15, root, ("",)), LIMITS, 1, may_rewind=True)
    assert gone == CheckpointGone(15)


def test_readers_keep_a_few_old_checkpoints_and_only_for_a_while() -> None:
    peer = Peer()
    roots = {}
    for _ in range(40):
        peer.change(numbered(20, b"%d" % peer.sequence))
        if peer.sequence % 5 == 0:
            roots[peer.sequence] = peer.checkpoint()
            peer.state.serve(
                FetchNodes(peer.sequence, roots[peer.sequence], ("",)),
                LIMITS,
                1_000,
                may_rewind=True,
            )
            peer.state.retain(peer.sequence)
    views = peer.state._views
    assert len(views) <= 6
    views.expire(1_000 + 60_000)
    assert len(views) == 2


def test_a_store_without_a_tree_gets_one() -> None:
    peer, _ = differing()
    bare = MemoryStore({**rows_of(peer.store), b"j\0\0\0\0\0\0\0\7": b"of an older version"})
    assert opened(bare).root() == peer.state.root()


def test_scrubbing_goes_round_and_finds_every_kind_of_damage() -> None:
    peer, _ = differing()
    peer.state.root()
    for _ in range(100):
        assert peer.state.scrub(50) == []
    assert peer.state.scrub_rounds >= 2
    changed, gone = b"D100", b"D600"
    peer.store.write({changed: b"sam\x64", gone: None})
    found = {key for _ in range(100) for key in peer.state.scrub(50)}
    assert found == {changed, gone}
    truth = opened(MemoryStore(rows_of(peer.store))).root()
    assert peer.state.root() == truth, "the root tells what is stored"


@pytest.mark.parametrize("prefix", [b"t", b"h"])
def test_a_damaged_tree_is_made_anew(prefix: bytes) -> None:
    peer, _ = differing()
    root = peer.state.root()
    keys = [key for key, _ in peer.store.iterate(prefix)]
    victim = Random(1).choice(keys[1:])
    peer.store.write({victim: None})
    assert [key for _ in range(100) for key in peer.state.scrub(5)] == [b"tree"]
    assert peer.state.root() == root
    assert [key for _ in range(100) for key in peer.state.scrub(5)] == []


def test_a_stage_of_an_older_target_is_ignored() -> None:
    ahead, behind = differing()
    root = ahead.checkpoint()
    behind.state.begin(ahead.sequence, root, is_fresh=False)
    assert behind.state.stage(CopyStage(1)) == Wanted(1)
