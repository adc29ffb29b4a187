"""Snapshots of checkpoints: consistent, few, and released."""

from dataplane.consensus.messages import CheckpointCertificate
from dataplane.documents.checkpoint_views import OPEN_MAX, STABLE_MAX, CheckpointViews
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
