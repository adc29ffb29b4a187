"""Reads without an order: what the index covers, whose word counts, when the log must decide."""

import pytest

from dataplane.replication.peer_messages import (
    PLACES_MAX,
    IndexAnswer,
    IndexAsk,
    decode_peer_message,
    encode_peer_message,
)
from dataplane.replication.polls import digest_of_row
from dataplane.replication.strong_reads import (
    HELD_PER_PEER_MAX,
    ROUNDS_MAX,
    WAITING_MAX,
    Confirmed,
)
from dataplane.simulation.scenarios.reads import OTHER, PLACE, Readers
from dataplane.wire.errors import MalformedMessageError


@pytest.mark.parametrize("n", [1, 3, 4, 6, 7])
def test_a_quiet_cluster_answers_in_one_round(n):
    cluster = Readers(n)
    assert cluster.read() == [Confirmed(b"row", 10, 10)]
    assert cluster.read(OTHER) == [Confirmed(None, 10, 10)]
    assert cluster.read(None) == [Confirmed(None, 10, 10)]
    assert cluster.replicas[0].reads.open_count == 0
    assert len(cluster.sent) == 3 * 2 * (n - 1)


@pytest.mark.parametrize(("n", "compared"), [(1, 0), (3, 1), (4, 1), (6, 1), (7, 2)])
def test_only_as_many_rows_are_asked_for_as_are_compared(n, compared):
    cluster = Readers(n)
    cluster.read()
    asks = [message for _, _, message in cluster.sent if isinstance(message, IndexAsk)]
    assert sum(bool(ask.places) for ask in asks) == compared


def test_it_waits_until_this_node_executed_what_another_one_promised():
    cluster = Readers(4)
    for replica in cluster.replicas[1:]:
        replica.promised = 12
    answers = cluster.read()
    assert answers == []
    for replica in cluster.replicas[1:]:
        replica.execute(12, b"newer")
    cluster.deliver()
    assert answers == []
    cluster.replicas[0].execute(11)
    cluster.deliver()
    assert answers == []
    cluster.replicas[0].execute(12, b"newer")
    cluster.deliver()
    assert answers == [Confirmed(b"newer", 12, 12)]


def test_one_promise_of_a_quorum_is_enough_to_wait_for():
    # 3 decided by {1, 2, 3}; of those only 3 is asked in time, and 0 slept.
    cluster = Readers(4)
    cluster.replicas[3].promised = 11
    cluster.away = {2}
    answers = cluster.read()
    assert answers == []
    cluster.replicas[0].execute(11, b"newer")
    cluster.replicas[1].execute(11, b"newer")
    cluster.replicas[3].execute(11, b"newer")
    cluster.deliver()
    assert answers == [Confirmed(b"newer", 11, 11)]


def test_a_promise_that_is_too_high_is_passed_over():
    cluster = Readers(4)
    cluster.lies[2] = {"promised": 10**9, "executed": 10**9}
    assert cluster.read() == [Confirmed(b"row", 10, 10)]


def test_a_low_promise_of_a_liar_does_not_lower_the_index():
    cluster = Readers(4)
    cluster.lies[1] = {"promised": 0}
    cluster.replicas[2].promised = cluster.replicas[3].promised = 12
    assert cluster.read() == []


def test_without_a_quorum_the_read_is_left_to_the_log():
    cluster = Readers(4)
    cluster.away = {2, 3}
    answers = cluster.read()
    cluster.tick()
    assert answers == []
    cluster.tick()
    assert answers == [None]
    assert cluster.replicas[0].reads.open_count == 0


def test_a_row_that_only_this_node_holds_is_never_answered():
    cluster = Readers(4)
    cluster.replicas[0].rows[PLACE] = b"flipped"
    assert cluster.read() == [None]


@pytest.mark.parametrize("liar", [1, 2, 3])
def test_one_liar_about_rows_costs_a_question_and_no_more(liar):
    cluster = Readers(4)
    cluster.lies[liar] = {"digests": digest_of_row(b"a lie")}
    for _ in range(3):
        assert cluster.read() == [Confirmed(b"row", 10, 10)]


def test_a_source_that_is_silent_is_asked_last_from_then_on():
    cluster = Readers(4)
    cluster.ask()
    silent = next(to for _, to, ask in cluster.sent if isinstance(ask, IndexAsk) and ask.places)
    cluster.deliver()
    cluster.replicas[silent].may_vouch = False
    waited = 0
    for _ in range(6):
        answers = cluster.read()
        if not answers:
            waited += 1
            cluster.tick()
        assert answers == [Confirmed(b"row", 10, 10)]
    assert waited == 1


def test_rows_from_before_the_index_are_asked_for_again():
    cluster = Readers(4)
    for replica in cluster.replicas[1:]:
        replica.promised = 11
    answers = cluster.ask()
    source = next(to for _, to, ask in cluster.sent if isinstance(ask, IndexAsk) and ask.places)
    cluster.replicas[source].promised = 10
    cluster.deliver()
    for replica in cluster.replicas:
        replica.execute(11, b"newer")
    cluster.deliver()
    assert answers == [Confirmed(b"newer", 11, 11)]


def test_reads_share_rounds_and_a_bound():
    cluster = Readers(4)
    first = [cluster.ask() for _ in range(10)]
    rounds = {m.number for _, _, m in cluster.sent if isinstance(m, IndexAsk)}
    assert len(rounds) == ROUNDS_MAX
    cluster.deliver()
    assert all(answers == [Confirmed(b"row", 10, 10)] for answers in first)
    assert {m.number for _, _, m in cluster.sent if isinstance(m, IndexAsk)} == {1, 2, 3}
    waiting = [cluster.ask() for _ in range(WAITING_MAX)]
    assert cluster.ask() == [None]
    cluster.deliver()
    assert all(len(answers) == 1 for answers in waiting)


def test_who_may_not_vouch_neither_reads_nor_answers():
    cluster = Readers(4)
    cluster.replicas[1].may_vouch = False
    cluster.read()
    assert not any(sender == 1 for sender, _, _ in cluster.sent)
    cluster.replicas[0].may_vouch = False
    assert cluster.read() == [None]


def test_answers_of_another_epoch_do_not_count():
    cluster = Readers(4)
    for replica in cluster.replicas[2:]:
        replica.epoch = 1
        replica.reads.set_members(1, range(4))
    assert cluster.read() == []


def test_questions_that_wait_are_bounded():
    cluster = Readers(4)
    reads = cluster.replicas[1].reads
    for number in range(HELD_PER_PEER_MAX + 3):
        reads.on_ask(0, IndexAsk(number, 0, 11, (PLACE,)))
    cluster.replicas[1].execute(11)
    answered = [m.number for _, _, m in cluster.sent if isinstance(m, IndexAnswer)]
    assert answered == list(range(3, HELD_PER_PEER_MAX + 3))


@pytest.mark.parametrize(
    "message",
    [
        IndexAsk(-1, 0, 0, ()),
        IndexAsk(1, 0, 0, (PLACE,) * (PLACES_MAX + 1)),
        IndexAsk(1, 0, 0, (("x" * 64, "a"),)),
        IndexAnswer(1, 0, -1, 0, b""),
        IndexAnswer(1, 0, 0, 0, bytes(32 * (PLACES_MAX + 1))),
    ],
)
def test_what_is_out_of_range_is_refused(message):
    with pytest.raises(MalformedMessageError):
        decode_peer_message(encode_peer_message(message))


def test_stopping_leaves_every_read_to_the_log():
    cluster = Readers(4)
    answers = [cluster.ask() for _ in range(4)]
    cluster.replicas[0].reads.stop()
    assert answers == [[None]] * 4
