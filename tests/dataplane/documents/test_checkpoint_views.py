"""Snapshots of checkpoints: consistent, few, and released."""

import pytest

from dataplane.consensus.messages import CheckpointCertificate, Request
from dataplane.consensus.tree import node_digest
from dataplane.documents.checkpoint_views import OPEN_MAX, STABLE_MAX, CheckpointViews
from dataplane.documents.commands import session_id
from dataplane.documents.merkle import node_key
from dataplane.simulation.application import MapApplication
from dataplane.storage.engine import MemoryStore, RocksStore


def certificate(sequence: int) -> CheckpointCertificate:
    return CheckpointCertificate(0, sequence, bytes(32), ())


def test_the_newest_stable_checkpoint_shows_the_state_of_its_sequence():
    store = MemoryStore()
    views = CheckpointViews(store)
    assert views.newest is None
    for sequence in (128, 256, 384):
        store.write({b"n": b"%d" % sequence})
        views.take(sequence)
    assert views.newest is None, "nothing is proven before a quorum signed"
    views.settle(certificate(256))
    newest = views.newest
    assert newest is not None
    assert (newest[0].sequence, newest[1].get(b"n")) == (256, b"256")
    assert views.count == 2, "128 can become stable no more, 384 still can"


def test_only_the_last_stable_ones_and_a_bounded_number_of_open_ones_are_held():
    views = CheckpointViews(MemoryStore())
    for number in range(1, 100):
        views.take(number)
        views.take(number)
        assert views.count <= OPEN_MAX + STABLE_MAX
        if number % 10 == 0:
            views.settle(certificate(number))
    assert views.newest is not None
    assert views.newest[0].sequence == 90
    views.settle(certificate(70))
    assert views.newest[0].sequence == 90, "a certificate without its snapshot changes nothing"
    views.close()
    assert views.count == 0


def test_a_checkpoint_that_is_read_for_a_while_is_held_until_it_is_given_back():
    store = MemoryStore()
    views = CheckpointViews(store)
    assert views.borrow() is None
    for sequence in range(1, 9):
        store.write({b"n": b"%d" % sequence})
        views.take(sequence)
        views.settle(certificate(sequence))
        if sequence == 2:
            first, second = views.borrow(), views.borrow()
    assert first is not None
    assert second is not None
    assert views.count == STABLE_MAX + 1
    views.give_back(first[1])
    assert second[1].get(b"n") == b"2"
    views.give_back(second[1])
    assert views.count == STABLE_MAX
    views.give_back(second[1])
    last = views.borrow()
    assert last is not None
    views.close()
    views.give_back(last[1])
    assert views.count == 0


def test_a_store_whose_views_are_closed_can_be_opened_again(tmp_path):
    store = RocksStore(tmp_path / "state")
    views = CheckpointViews(store)
    store.write({b"n": b"1"})
    for sequence in (1, 2, 3):
        views.take(sequence)
        views.settle(certificate(sequence))
    views.take(4)
    store.write({b"n": b"2"})
    assert views.newest is not None
    assert views.newest[1].get(b"n") == b"1"
    views.close()
    store.close()
    RocksStore(tmp_path / "state").close()


def machine_at(store, last: int) -> MapApplication:
    """Execute batches, each of which changes a count; return the application."""
    app = MapApplication(store)
    client, session = b"c" * 32, session_id(b"c" * 32, b"nonce")
    for sequence in range(app.applied + 1, last + 1):
        cseq, ops = sequence - 1, (b"nonce" if sequence == 1 else b"key",)
        app.apply(sequence, sequence, (Request(client, session, cseq, 0, ops, b""),))
        app.root()
    return app


def rooted(sequence: int, root: bytes) -> CheckpointCertificate:
    return CheckpointCertificate(0, sequence, root, ())


@pytest.mark.parametrize("further", [0, 3])
@pytest.mark.parametrize("rocks", [False, True])
def test_after_a_restart_the_last_stable_checkpoint_is_held_again(tmp_path, further, rocks):
    store = RocksStore(tmp_path) if rocks else MemoryStore()
    app = machine_at(store, 4)
    certificate = rooted(4, app.root())
    app.copies.mark(4, certificate.root)
    app.copies.retain(4)
    machine_at(store, 4 + further).copies.close()
    views = CheckpointViews(store)
    views.restore(certificate, 4 + further)
    assert views.newest is not None
    held, state = views.newest
    assert (held.sequence, state.get(b"Ckey")) == (4, b"3")
    assert store.get(b"Ckey") == b"%d" % (3 + further)
    tree_root = state.get(node_key(""))
    assert tree_root is not None
    assert node_digest(tree_root) == certificate.root
    views.restore(certificate, 4 + further)
    assert views.count == 1, "what is held already is not held twice"
    views.close()
    store.close()


def test_a_state_that_is_not_the_certified_one_or_is_gone_is_not_held():
    store = MemoryStore()
    app = machine_at(store, 9)
    root = app.root()
    app.copies.retain(8)
    views = CheckpointViews(store)
    views.restore(rooted(9, bytes(32)), 9)
    views.restore(rooted(12, root), 9)
    views.restore(rooted(4, root), 9)
    assert views.newest is None
    assert views.count == 0
    views.restore(rooted(9, root), 9)
    assert views.newest is not None
