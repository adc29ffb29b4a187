"""Copying the state of a checkpoint: laggards, liars, crashes, divergence, amnesia."""

from dataclasses import replace

import msgspec
import pytest

from dataplane.consensus.config import Limits
from dataplane.consensus.messages import (
    BatchesGone,
    Checkpoint,
    CheckpointCertificate,
    CheckpointGone,
    Commit,
    Committed,
    FetchNodes,
    FetchRows,
    Forward,
    Prepare,
    PrePrepare,
    Status,
    TreeNodes,
    TreeRows,
)
from dataplane.simulation.application import MapApplication
from dataplane.simulation.scenarios.lab import Lab

LIMITS = Limits(
    checkpoint_interval=4,
    window=8,
    pipeline=4,
    retained_batches_max=4,
    retransmit_ms=100,
    status_ms=500,
    copy_timeout_ms=1_000,
)
SMALL_PARTS = replace(LIMITS, copy_nodes_max=1, copy_rows_max=2)
PARTS = TreeNodes | TreeRows
SESSION = 0
"""The request that opens the session of the lab's requests."""


def isolate(lab: Lab, who: int) -> None:
    lab.drop = lambda source, target, message: who in (source, target)


def join(lab: Lab) -> None:
    lab.drop = lambda source, target, message: False


def open_session(lab: Lab) -> None:
    lab.ask(0, lab.request(0, SESSION, b"nonce"))
    lab.run()


def order(lab: Lab, *cseqs: int) -> None:
    """Order requests with keys of their own, so that the tree has more than one bucket."""
    for cseq in cseqs:
        ops = [b"key-%d-%d" % (cseq, number) for number in range(6)]
        lab.ask(0, lab.request(0, cseq, *ops))
        lab.run()


def behind(n: int = 4, laggard: int = 3, limits: Limits = LIMITS) -> Lab:
    """Return a cluster in which one replica is out of everybody's retention, and all is quiet."""
    lab = Lab(n, limits=limits)
    open_session(lab)
    isolate(lab, laggard)
    order(lab, *range(1, 22))
    join(lab)
    lab.wire.clear()
    return lab


def quiet(lab: Lab, *who: int, rounds: int = 8, step_ms: int = LIMITS.status_ms) -> None:
    """Let time pass without any client."""
    for _ in range(rounds):
        lab.tick(*who, after_ms=step_ms)
        lab.run()


def rows(lab: Lab, i: int) -> dict[bytes, bytes]:
    store = lab.bench[i].app._store
    return {key: row for key, row in store.iterate(b"") if key[:1].isupper()}


def assert_equal(lab: Lab, *who: int) -> None:
    first = who[0]
    for i in who:
        assert lab.bench[i].app.applied == lab.bench[first].app.applied
        assert rows(lab, i) == rows(lab, first)
        assert lab.bench[i].app.root() == lab.bench[first].app.root()


def test_fabric_1454_a_replica_out_of_retention_copies_the_state_in_a_quiet_cluster():
    lab = behind()
    asked = len(lab.bench[0].said)
    quiet(lab)
    assert_equal(lab, 0, 1, 2, 3)
    three = lab.bench[3].replica
    assert (three.executed, three.stable, three.copies_completed) == (22, 20, 1)
    assert not any(isinstance(m, PrePrepare) for m in lab.bench[0].said[asked:])


def test_a_replica_that_copied_the_state_votes_again():
    lab = behind()
    quiet(lab)
    isolate(lab, 2)
    order(lab, 22, 23)
    assert lab.bench[0].replica.executed == 24
    assert lab.bench[3].votes(Commit)


def test_concord_269_a_copy_needs_no_primary():
    lab = behind()
    isolate(lab, 0)
    quiet(lab, 1, 2, 3)
    assert_equal(lab, 1, 2, 3)


def test_several_peers_serve_a_copy_at_once():
    lab = behind(limits=SMALL_PARTS)
    quiet(lab)
    assert_equal(lab, 0, 1, 2, 3)
    serving = [i for i in (0, 1, 2) if len(lab.bench[i].votes(TreeRows)) > 3]
    assert serving == [0, 1, 2]


def test_what_is_equal_is_not_fetched():
    lab = behind()
    quiet(lab)
    isolate(lab, 3)
    order(lab, *range(22, 43))
    join(lab)
    lab.wire.clear()
    told = sum(len(m.rows) for i in range(3) for m in lab.bench[i].votes(TreeRows))
    quiet(lab)
    assert_equal(lab, 0, 1, 2, 3)
    again = sum(len(m.rows) for i in range(3) for m in lab.bench[i].votes(TreeRows)) - told
    assert again < len(rows(lab, 0)) * 2 // 3


@pytest.mark.parametrize("liar", [0, 1, 2])
@pytest.mark.parametrize("kind", [TreeNodes, TreeRows])
def test_a_lying_peer_is_caught_dropped_and_counted(liar, kind):
    lab = behind(limits=SMALL_PARTS)

    def twisted(source, target, message):
        if source != liar or not isinstance(message, kind):
            return False
        field = "nodes" if kind is TreeNodes else "rows"
        parts = getattr(message, field)
        key, value = parts[-1]
        false = (*parts[:-1], (key, value[:-1] + bytes([value[-1] ^ 1])))
        lab.give(target, msgspec.structs.replace(message, **{field: false}), source)
        return True

    lab.drop = twisted
    quiet(lab)
    assert_equal(lab, 0, 1, 2, 3)
    assert set(lab.bench[3].faults) == {liar}
    assert lab.bench[3].replica.copies_completed == 1


def test_bft_smart_62_the_last_answer_decides_nothing():
    """A liar answers last, with another state under the same sequence."""
    lab = behind()
    other = MapApplication()
    for sequence, batch in enumerate(lab.bench[0].executed[:20], 1):
        other.apply(sequence, batch.ts_ms + 1, batch.requests)
    other.copies.mark(20, other.root())

    def late(source, target, message):
        if source != 2 or not isinstance(message, PARTS) or not message_of(message):
            return False
        forged = other.copies.serve(
            FetchNodes(20, other.root(), ("",)), LIMITS, lab.now_ms, may_rewind=False
        )
        lab.give(target, forged, source)
        return True

    lab.drop = late
    quiet(lab)
    assert_equal(lab, 0, 1, 2, 3)


def message_of(message):
    return message.nodes if isinstance(message, TreeNodes) else message.rows


def test_a_certificate_without_a_quorum_is_no_target():
    lab = behind()
    proof = lab.bench[0].replica._state.stable_certificate
    weak = CheckpointCertificate(0, 20, proof.root, proof.votes[:2])
    assert not lab.give(3, weak, sender=0)
    other = CheckpointCertificate(0, 20, b"\7" * 32, proof.votes)
    assert not lab.give(3, other, sender=0)


def test_one_peer_alone_cannot_send_a_replica_copying():
    lab = behind(n=7, laggard=6)
    proof = lab.bench[0].replica._state.stable_certificate
    lab.give(6, proof, sender=0)
    for liar in (1, 2):
        lab.give(6, BatchesGone(2), sender=liar)
    assert lab.bench[6].replica.copying is None
    lab.give(6, BatchesGone(2), sender=3)
    assert lab.bench[6].replica.copying == 20


def test_a_silent_peer_is_passed_over_and_asked_again_only_later():
    lab = behind()
    lab.drop = lambda source, target, message: source in (0, 1) and isinstance(message, PARTS)
    quiet(lab, rounds=12)
    assert_equal(lab, 0, 1, 2, 3)
    questions = [m for m in lab.bench[3].said if isinstance(m, FetchNodes | FetchRows)]
    assert len(questions) < 40


def test_a_copy_that_was_outrun_turns_to_a_newer_checkpoint_and_keeps_what_is_equal():
    lab = behind()
    lab.drop = lambda source, target, message: source == 3 and isinstance(message, FetchRows)
    quiet(lab, rounds=2)
    assert lab.bench[3].replica.copying == 20
    lab.drop = lambda source, target, message: 3 in (source, target)
    order(lab, *range(22, 43))
    for i in range(3):
        lab.bench[i].app.copies._views.expire(lab.now_ms + 10**6)
    join(lab)
    lab.wire.clear()
    quiet(lab, rounds=10)
    assert_equal(lab, 0, 1, 2, 3)
    assert lab.bench[3].alarms.count("state_transfer") >= 2


def test_after_a_crash_of_all_the_last_stable_checkpoint_is_still_served():
    """The snapshots are gone with the processes; the journal leads back."""
    lab = behind()
    order_at = lab.bench[0].replica.executed
    for i in range(3):
        lab.restart(i)
    lab.wire.clear()
    isolate(lab, 0)
    quiet(lab, 1, 2, 3)
    assert order_at == 22
    assert_equal(lab, 1, 2, 3)


def test_bft_smart_27_a_resumed_replica_floods_nobody_with_requests_done_long_ago():
    lab = behind()
    for cseq in range(1, 12):
        lab.ask(3, lab.request(0, cseq, b"key"))
    before = lab.bench[0].replica.executed
    lab.drop = lambda source, target, message: isinstance(message, PARTS)
    quiet(lab, rounds=30, step_ms=LIMITS.retransmit_ms)
    assert lab.bench[3].replica.copying is not None
    assert lab.bench[0].replica.executed <= before + 12
    assert lab.bench[3].replica.sizes()["copy_asked"] <= 3


def test_after_a_copy_nobody_elses_requests_are_ordered_again():
    lab = behind()
    for cseq in range(1, 12):
        lab.ask(0, lab.request(0, cseq, b"key"))
    for gateway in (0, 3):
        for cseq in range(1, 12):
            lab.ask(3, lab.request(gateway, cseq, b"key"))
    lab.run()
    assert lab.bench[3].replica.pending_count == 22
    quiet(lab, rounds=1)
    while not lab.bench[3].replica.copies_completed:
        quiet(lab, rounds=1, step_ms=LIMITS.retransmit_ms)
    assert lab.bench[3].replica.pending_count <= 11


def test_own_requests_that_the_copied_state_answers_are_not_ordered_again():
    """To repeat them would drive the others on, and leave this replica behind for ever."""
    lab = behind()
    request, news = lab.request(3, 1, b"key"), lab.request(3, 2, b"key")
    lab.ask(0, lab.request(3, SESSION, b"nonce"))
    lab.ask(0, request)
    isolate(lab, 3)
    lab.run()
    order(lab, *range(22, 27))
    join(lab)
    head = lab.bench[0].replica.executed
    for waiting in (request, news):
        lab.ask(3, waiting)
    lab.wire.clear()
    lab.drop = lambda source, target, message: isinstance(message, Forward)
    while not lab.bench[3].replica.copies_completed:
        quiet(lab, rounds=1, step_ms=LIMITS.retransmit_ms)
    assert lab.bench[3].app.recorded(request).status == "ok"
    assert lab.bench[3].app.recorded(news) is None
    assert lab.bench[3].replica.pending_count == 1
    join(lab)
    quiet(lab)
    assert_equal(lab, 0, 1, 2, 3)
    assert lab.bench[0].replica.executed == head + 1


def test_who_is_always_left_behind_passes_its_requests_on_when_they_are_new_and_after_a_copy():
    """Others keep the cluster busy: it may never stand where they do, and its clients wait."""
    lab = behind()
    lab.give(3, lab.state(0).stable_certificate, 0)
    said = lab.bench[3].votes
    request, others = lab.request(3, 1), lab.request(0, 99)
    for waiting in (request, request, others):
        lab.ask(3, waiting)
    assert said(Forward) == [Forward((request,))]
    lab.drop = lambda source, target, message: isinstance(message, Forward | PARTS)
    quiet(lab, rounds=12, step_ms=LIMITS.retransmit_ms)
    assert lab.bench[3].replica.copying == 20
    assert len(said(Forward)) == 1
    newer = msgspec.structs.replace(lab.state(0).stable_certificate, sequence=24)
    lab.bench[3].replica.on_message(lab.now_ms, 0, newer)
    lab.drop = lambda source, target, message: isinstance(message, Forward)
    quiet(lab, rounds=30, step_ms=LIMITS.retransmit_ms)
    assert lab.bench[3].replica.copies_completed == 1
    assert said(Forward) == [Forward((request,))] * 2


def test_a_laggard_without_certificates_keeps_a_bounded_number_of_batches():
    limits = replace(LIMITS, retained_batches_max=64)
    lab = Lab(4, limits=limits)
    open_session(lab)
    isolate(lab, 3)
    order(lab, *range(1, 60))
    lab.bench[3].replica._state.archive._count_max = LIMITS.retained_batches_max
    lab.drop = lambda source, target, message: (
        target == 3 and isinstance(message, Checkpoint | CheckpointCertificate)
    )
    lab.wire.clear()
    quiet(lab, rounds=20)
    three = lab.bench[3].replica
    assert three.executed == 60
    assert three.stable == 0
    assert three.sizes()["archive"] <= 3 * limits.window


def test_a_peer_gets_so_many_answers_a_second():
    limits = replace(LIMITS, copy_serves_max=5)
    lab = behind(limits=limits)
    proof = lab.bench[0].replica._state.stable_certificate
    for _ in range(20):
        lab.give(0, FetchNodes(proof.sequence, proof.root, ("",)), sender=3)
    assert len(lab.bench[0].votes(TreeNodes)) == 5


def test_a_state_that_is_not_the_certified_one_is_not_shown():
    lab = behind()
    lab.give(0, FetchNodes(20, b"\7" * 32, ("",)), sender=3)
    lab.give(0, FetchNodes(4, b"\7" * 32, ("",)), sender=3)
    assert [m.sequence for m in lab.bench[0].votes(CheckpointGone)] == [20, 4]


def test_fabric_1971_a_diverged_replica_repairs_itself_and_votes_again():
    lab = Lab(4, limits=LIMITS)
    open_session(lab)
    order(lab, 1, 2)
    lab.bench[2].app._now_ms += 10**6
    order(lab, 3)
    assert lab.bench[2].replica.diverged
    quiet(lab)
    assert {"diverged", "repaired"} <= set(lab.bench[2].alarms)
    assert not lab.bench[2].replica.diverged
    assert_equal(lab, 0, 1, 2, 3)
    said = len(lab.bench[2].said)
    order(lab, 4, 5, 6, 7, 8)
    assert any(isinstance(m, Prepare) for m in lab.bench[2].said[said:])
    assert lab.bench[2].replica.stable == 8


def test_a_diverged_replica_never_signs_a_second_root_for_one_checkpoint():
    lab = Lab(4, limits=LIMITS)
    open_session(lab)
    lab.bench[2].app._now_ms += 10**6
    order(lab, 1, 2, 3)
    quiet(lab)
    roots = {m.root for m in lab.bench[2].said if type(m).__name__ == "Checkpoint"}
    assert len(roots) == 1
    assert_equal(lab, 0, 1, 2, 3)


def test_damaged_rows_are_found_and_repaired_and_batches_behind_the_checkpoint_run_again():
    lab = Lab(4, limits=LIMITS)
    open_session(lab)
    order(lab, *range(1, 6))
    bench = lab.bench[1]
    key, value = next(iter(bench.app._store.iterate(b"Ckey-1")))
    bench.app._store.write({key: b"7"})
    damaged = bench.app.copies.scrub(1_000)
    assert damaged == [key]
    bench.replica.on_damaged("a row")
    assert bench.replica.diverged
    quiet(lab)
    assert bench.app._store.get(key) == value
    assert bench.app.copies.scrub(1_000) == []
    assert_equal(lab, 0, 1, 2, 3)
    assert not bench.replica.diverged


def test_telcoin_391_a_replica_that_lost_its_log_learns_and_never_votes():
    lab = Lab(4, limits=LIMITS)
    open_session(lab)
    order(lab, 1, 2, 3, 4, 5)
    lab.restart(3, amnesia=True)
    lab.run()
    order(lab, *range(6, 20))
    quiet(lab)
    assert_equal(lab, 0, 1, 2, 3)
    votes = [m for m in lab.bench[3].said if hasattr(m, "sig")]
    assert votes == []
    assert lab.bench[3].replica.amnesia
    assert any(isinstance(m, Status) for m in lab.bench[3].said)


def test_iggy_3753_a_request_is_answered_after_a_restart_and_after_a_copy():
    """The answers that clients may ask for again are part of the state that is copied."""
    lab = behind()
    quiet(lab)
    lab.restart(3)
    before = rows(lab, 3)
    request = lab.request(0, 21, *[b"key-%d-%d" % (21, number) for number in range(6)])
    results = lab.bench[3].app.apply(23, lab.now_ms, (request,)).requests
    assert results[0].sequence == 22
    assert results[0].results == (b"1",) * 6
    changed = {key for key, value in rows(lab, 3).items() if before.get(key) != value}
    assert changed == {b"M"}


def test_concord_1709_a_log_that_knows_a_checkpoint_its_state_does_not_copies_it():
    """The store lost what it had not flushed, or was restored: the log is ahead of it."""
    lab = behind(laggard=2)
    quiet(lab)
    lab.restart(3, applied=3)
    lab.wire.clear()
    quiet(lab, rounds=12)
    assert_equal(lab, 0, 1, 2, 3)


def test_requests_of_dropped_slots_are_proposed_again_or_forgotten():
    lab = behind()
    quiet(lab)
    for bench in lab.bench.values():
        assert bench.replica.sizes()["in_flight"] == 0
        assert bench.replica.sizes()["slots"] <= 2
    assert lab.bench[3].votes(Committed) == []
