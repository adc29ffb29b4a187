"""The gateway's side: bundles, sessions, agreement of replies."""

import asyncio

import pytest

from dataplane.consensus.messages import Reply, Request, request_payload
from dataplane.documents.commands import OpenSession, decode_op
from dataplane.documents.types import RequestResult
from dataplane.replication import submissions as module
from dataplane.replication.errors import NoQuorumError, NotReadyError, OverloadedError
from dataplane.replication.submissions import Submissions
from dataplane.security.signing import Ed25519Signer, Ed25519Verifier

CLUSTER = bytes(16)
GOOD, OTHER = b"g" * 32, b"o" * 32


class Gateway:
    """Submissions of node 0 with the cluster's answers in the test's hands."""

    def __init__(self, replica_count: int = 4) -> None:
        signer = Ed25519Signer(bytes(32))
        self.ordered: list[Request] = []
        self.contradictions: list[str] = []
        self.refused: list[tuple[int, str, str]] = []
        self.sequence = 0
        self.submissions = Submissions(
            cluster_id=CLUSTER,
            node_id=0,
            replica_count=replica_count,
            signer=signer,
            public_key=signer.public_key,
            nonce=bytes(16),
            order=self.ordered.append,
            on_contradiction=self.contradictions.append,
            refuse=lambda *cause: self.refused.append(cause),
        )

    def open(self, replicas: int = 4) -> None:
        self.submissions.open(0)
        self.execute(self.ordered.pop(), replies=range(1, replicas))

    def own(self, request: Request, sequence: int, digest=GOOD, status="ok") -> None:
        results = tuple(b"r:" + op for op in request.ops) if status == "ok" else ()
        result = RequestResult(
            request.client, request.session, request.cseq, sequence, status, results, digest
        )
        self.submissions.on_own_result(result, 0)

    def reply(self, request: Request, sequence: int, replica: int, digest=GOOD) -> None:
        self.submissions.on_reply(
            Reply(request.client, request.session, request.cseq, sequence, digest, replica), 0
        )

    def execute(self, request: Request, *, replies=(1,), status="ok") -> None:
        self.sequence += 1
        self.own(request, self.sequence, status=status)
        for replica in replies:
            self.reply(request, self.sequence, replica)

    def submit(self, *ops: bytes, timeout_ms: int = 5_000) -> asyncio.Task:
        return asyncio.ensure_future(self.submissions.submit(ops, timeout_ms=timeout_ms))


async def turn() -> None:
    for _ in range(4):
        await asyncio.sleep(0)


@pytest.fixture
def gateway() -> Gateway:
    gateway = Gateway()
    gateway.open()
    assert gateway.submissions.ready
    return gateway


def test_a_session_is_opened_by_one_signed_request():
    gateway = Gateway()
    gateway.submissions.open(0)
    (request,) = gateway.ordered
    assert isinstance(decode_op(request.ops[0]), OpenSession)
    payload = request_payload(CLUSTER, request)
    assert Ed25519Verifier().verify(request.client, payload, request.sig)
    assert not gateway.submissions.ready


def test_a_node_that_caught_up_late_opens_its_session():
    """Its opening was repeated, and executed by the others, while it copied a state."""
    gateway = Gateway()
    gateway.submissions.open(0)
    request = gateway.ordered.pop()
    for sequence in range(1, 3 * module.OUTCOMES_PER_REPLICA_MAX):
        for replica in (1, 2, 3):
            gateway.reply(request, sequence, replica)
    gateway.sequence = 100
    gateway.execute(request, replies=(1, 2))
    assert gateway.submissions.ready


async def test_the_operations_of_one_turn_travel_under_one_signature(gateway):
    tasks = [gateway.submit(b"a"), gateway.submit(b"b", b"c"), gateway.submit(b"d")]
    await turn()
    (request,) = gateway.ordered
    assert request.ops == (b"a", b"b", b"c", b"d")
    gateway.execute(request)
    results = [(await task).results for task in tasks]
    assert results == [(b"r:a",), (b"r:b", b"r:c"), (b"r:d",)]
    assert gateway.submissions.waiting == 0


@pytest.mark.parametrize(("n", "needed"), [(1, 1), (3, 2), (4, 2), (6, 2), (7, 3), (10, 4)])
async def test_a_result_counts_when_enough_replicas_computed_it(n, needed):
    gateway = Gateway(n)
    gateway.open(n)
    task = gateway.submit(b"a")
    await turn()
    request = gateway.ordered.pop()
    gateway.own(request, 7)
    for replica in range(1, needed):
        await turn()
        assert not task.done(), f"{replica} of {needed}"
        gateway.reply(request, 7, replica)
        gateway.reply(request, 7, replica)
    assert (await task).sequence == 7


async def test_replies_before_the_own_result_count(gateway):
    task = gateway.submit(b"a")
    await turn()
    request = gateway.ordered.pop()
    gateway.reply(request, 3, 2)
    gateway.reply(request, 3, 1, OTHER)
    gateway.own(request, 3)
    assert (await task).results == (b"r:a",)


async def test_replies_without_an_own_result_are_not_enough(gateway):
    task = gateway.submit(b"a")
    await turn()
    for replica in (1, 2, 3):
        gateway.reply(gateway.ordered[0], 3, replica)
    await turn()
    assert not task.done()
    task.cancel()


async def test_answers_in_a_copied_state_need_nobody_else(gateway):
    """A quorum signed that state; the batches with the requests are never executed here."""
    tasks = []
    for op in (b"a", b"b"):
        tasks.append(gateway.submit(op))
        await turn()
    first, second = gateway.ordered
    held = RequestResult(first.client, first.session, first.cseq, 3, "ok", (b"r:a",), GOOD)
    gateway.submissions.on_copied(lambda request: held if request is first else None, 0)
    assert (await tasks[0]).results == (b"r:a",)
    await turn()
    assert not tasks[1].done()
    gateway.execute(second)
    await tasks[1]
    assert gateway.submissions.waiting == 0


def test_a_session_that_a_copied_state_holds_is_open():
    gateway = Gateway()
    gateway.submissions.open(0)
    opening = gateway.ordered.pop()
    held = RequestResult(opening.client, opening.session, 0, 3, "ok", (b"",), GOOD)
    gateway.submissions.on_copied(lambda request: held, 0)
    assert gateway.submissions.ready


async def test_one_lying_replica_changes_nothing(gateway):
    task = gateway.submit(b"a")
    await turn()
    request = gateway.ordered.pop()
    gateway.own(request, 3)
    gateway.reply(request, 3, 3, OTHER)
    await turn()
    assert not task.done()
    assert gateway.contradictions == []
    gateway.reply(request, 3, 1)
    assert (await task).results == (b"r:a",)
    assert gateway.refused == [(3, "Replies", "differs")]


async def test_others_agreeing_on_another_result_is_an_alarm(gateway):
    task = gateway.submit(b"a")
    await turn()
    request = gateway.ordered.pop()
    gateway.own(request, 3)
    gateway.reply(request, 3, 1, OTHER)
    gateway.reply(request, 3, 2, OTHER)
    assert gateway.contradictions
    await turn()
    assert not task.done()
    # The state is repaired and the batch runs again.
    gateway.own(request, 3, OTHER)
    assert (await task).sequence == 3


async def test_a_read_repeated_at_another_position_is_no_contradiction(gateway):
    """The replies of the first execution were lost; the second read saw a newer state."""
    task = gateway.submit(b"read")
    await turn()
    request = gateway.ordered.pop()
    gateway.own(request, 3)
    gateway.reply(request, 9, 1, OTHER)
    gateway.reply(request, 9, 2, OTHER)
    assert gateway.contradictions == []
    gateway.own(request, 9, OTHER)
    assert (await task).sequence == 9


async def test_a_liar_cannot_make_the_gateway_remember_without_bound(gateway):
    task = gateway.submit(b"a")
    await turn()
    request = gateway.ordered.pop()
    for sequence in range(1_000):
        gateway.reply(request, sequence, 3, OTHER)
    (bundle,) = gateway.submissions._outstanding.values()
    assert len(bundle.digests) <= module.OUTCOMES_PER_REPLICA_MAX
    gateway.own(request, 500)
    gateway.reply(request, 500, 1)
    assert (await task).sequence == 500


async def test_a_large_submission_gets_its_results_in_order_whatever_settles_first(gateway):
    ops = tuple(b"%d" % number for number in range(1_200))
    task = gateway.submit(*ops)
    await turn()
    assert [len(request.ops) for request in gateway.ordered] == [512, 512, 176]
    for request in reversed(gateway.ordered):
        gateway.execute(request)
    assert (await task).results == tuple(b"r:" + op for op in ops)


async def test_bundles_are_bounded_in_bytes(gateway):
    op = b"x" * 700_000
    tasks = [gateway.submit(op) for _ in range(3)]
    await turn()
    assert [len(request.ops) for request in gateway.ordered] == [1, 1, 1]
    for task in tasks:
        task.cancel()


async def test_outstanding_requests_stay_inside_the_session_window(gateway):
    tasks = []
    for number in range(60):
        tasks.append(gateway.submit(b"%d" % number))
        await turn()
    assert len(gateway.ordered) == module.OUTSTANDING_MAX
    gateway.execute(gateway.ordered[1])
    assert len(gateway.ordered) == module.OUTSTANDING_MAX, "the first still holds the window"
    gateway.execute(gateway.ordered[0])
    late = gateway.ordered[module.OUTSTANDING_MAX]
    assert late.ack == 2
    assert len(late.ops) == 60 - module.OUTSTANDING_MAX, "what waited travels together"
    for request in list(gateway.ordered[2:]):
        gateway.execute(request)
    assert {(await task).results[0] for task in tasks} == {b"r:%d" % n for n in range(60)}


async def test_an_expired_session_is_replaced_and_nothing_is_lost(gateway):
    task = gateway.submit(b"a")
    await turn()
    first = gateway.ordered.pop()
    gateway.execute(first, status="session_expired")
    assert not gateway.submissions.ready
    opening = gateway.ordered.pop()
    assert opening.session != first.session
    gateway.execute(opening)
    again = gateway.ordered.pop()
    assert (again.session, again.cseq, again.ops) == (opening.session, 1, (b"a",))
    gateway.execute(again)
    assert (await task).results == (b"r:a",)


async def test_an_outcome_that_cannot_be_known_is_not_invented(gateway):
    task = gateway.submit(b"a")
    await turn()
    gateway.execute(gateway.ordered.pop(), status="already_applied")
    with pytest.raises(NoQuorumError):
        await task


async def test_no_answer_in_time_is_no_quorum_and_the_request_stays_known(gateway):
    with pytest.raises(NoQuorumError):
        await gateway.submit(b"a", timeout_ms=30)
    request = gateway.ordered[0]
    gateway.submissions.on_tick(1)
    gateway.submissions.on_tick(1 + module.REPEAT_MS)
    assert gateway.ordered == [request, request]
    gateway.execute(request)
    assert gateway.submissions.waiting == 0


async def test_what_was_never_sent_is_forgotten_on_time_out():
    gateway = Gateway()
    gateway.submissions.open(0)
    with pytest.raises(NoQuorumError):
        await gateway.submit(b"a", b"b", timeout_ms=20)
    assert gateway.submissions.waiting == 0
    assert len(gateway.ordered) == 1, "only the session was asked for"


async def test_the_queue_is_bounded(monkeypatch):
    monkeypatch.setattr(module, "QUEUED_OPS_MAX", 3)
    gateway = Gateway()
    gateway.submissions.open(0)
    waiting = gateway.submit(b"a", b"b")
    await turn()
    with pytest.raises(OverloadedError):
        await gateway.submit(b"c", b"d")
    waiting.cancel()


async def test_stopping_answers_everyone(gateway):
    sent = gateway.submit(b"a")
    await turn()
    gateway.submissions.stop()
    with pytest.raises(NoQuorumError):
        await sent
    with pytest.raises(NotReadyError):
        await gateway.submit(b"b")


async def test_replies_for_strangers_and_unknown_requests_are_ignored(gateway):
    task = gateway.submit(b"a")
    await turn()
    request = gateway.ordered.pop()
    gateway.own(request, 3)
    stranger = Reply(bytes(32), request.session, request.cseq, 3, GOOD, 1)
    gateway.submissions.on_reply(stranger, 0)
    gateway.submissions.on_reply(Reply(request.client, bytes(8), 1, 3, GOOD, 1), 0)
    gateway.submissions.on_reply(Reply(request.client, request.session, 99, 3, GOOD, 1), 0)
    await turn()
    assert not task.done()
    task.cancel()


async def test_a_node_that_is_cut_off_refuses_what_waits_and_takes_a_late_result_quietly(gateway):
    sent = gateway.submit(b"one")
    await turn()
    (request,) = gateway.ordered
    for _ in range(module.OUTSTANDING_MAX):
        gateway.submit(b"filler")
        await turn()
    queued = gateway.submit(b"two")
    await turn()
    gateway.submissions.refuse_waiting("two of six")
    for task in (sent, queued):
        with pytest.raises(NoQuorumError, match="two of six"):
            await task
    gateway.execute(request)
    assert gateway.submissions.waiting == module.OUTSTANDING_MAX - 1
    gateway.submissions.refuse_waiting("again")


async def test_a_short_submission_overtakes_long_ones_that_go_on_beside_it(gateway, monkeypatch):
    monkeypatch.setattr(module, "OUTSTANDING_OPS_MAX", 1)
    long = [gateway.submit(*[b"%d" % n] * 1_000) for n in range(2)]
    await turn()
    short = [gateway.submit(b"s%d" % number) for number in range(300)]
    await turn()
    (first,) = gateway.ordered
    assert len(first.ops) == module.BUNDLE_OPS_MAX
    gateway.execute(first)
    second = gateway.ordered[1]
    assert second.ops[: module.BUNDLE_OPS_MAX // 2] == tuple(b"s%d" % n for n in range(256))
    assert second.ops[256:] == (b"0",) * 256
    for index in range(1, 10):
        if index < len(gateway.ordered):
            gateway.execute(gateway.ordered[index])
    assert [len((await task).results) for task in (*long, *short)] == [1_000, 1_000] + [1] * 300
    assert gateway.submissions.waiting == 0


async def test_what_would_wait_in_vain_is_refused_at_once(gateway, monkeypatch):
    monkeypatch.setattr(module, "OUTSTANDING_OPS_MAX", 1)
    gateway.submissions.require_room(1)
    tasks = [gateway.submit(*[b"x"] * 100) for _ in range(40)]
    await turn()
    for number in range(4):
        request = gateway.ordered[number]
        result = RequestResult(
            request.client, request.session, request.cseq, number + 9, "ok", request.ops, GOOD
        )
        gateway.reply(request, number + 9, 1)
        gateway.submissions.on_own_result(result, 1_000 * (number + 1))
    with pytest.raises(OverloadedError):
        gateway.submissions.require_room(2_000)
    gateway.submissions.require_room(60_000)
    with pytest.raises(OverloadedError):
        await gateway.submissions.submit([b"y"], timeout_ms=2_000)
    for task in tasks:
        task.cancel()


async def test_of_a_first_wave_only_so_much_is_admitted_as_may_be_done_in_time(gateway):
    """64 connections bring 1,000 documents each before anything is known of the rate."""
    size = 1_000
    wave = [gateway.submit(*[b"%d" % number] * size) for number in range(64)]
    await turn()
    refused = [task for task in wave if task.done()]
    admitted = module.UNKNOWN_OPS_MAX // size
    assert len(refused) == 64 - admitted
    for task in refused:
        with pytest.raises(OverloadedError, match="not known yet"):
            await task
    with pytest.raises(OverloadedError):
        gateway.submissions.require_room(5_000, module.UNKNOWN_OPS_MAX + 1 - admitted * size)
    gateway.submissions.require_room(5_000, module.UNKNOWN_OPS_MAX - admitted * size)


async def test_what_is_admitted_at_first_is_enough_to_learn_the_rate_from(gateway):
    wave = [gateway.submit(*[b"%d" % number] * 1_000) for number in range(4)]
    await turn()
    for number in range(5):
        request = gateway.ordered[number]
        result = RequestResult(
            request.client, request.session, request.cseq, number + 9, "ok", request.ops, GOOD
        )
        gateway.reply(request, number + 9, 1)
        gateway.submissions.on_own_result(result, 100 * (number + 1))
    gateway.submissions.require_room(5_000, 10_000)
    more = [gateway.submit(*[b"y"] * 1_000) for _ in range(64)]
    await turn()
    assert 12 < sum(not task.done() for task in more) < 19, "5,120 a second, for 3.75 s"
    for task in (*wave, *more):
        task.cancel()


async def test_once_the_rate_is_known_it_alone_says_what_is_admitted(gateway, monkeypatch):
    monkeypatch.setattr(module, "OUTSTANDING_OPS_MAX", 1)
    first = [gateway.submit(*[b"x"] * 500) for _ in range(8)]
    await turn()
    for number in range(6):
        request = gateway.ordered[number]
        result = RequestResult(
            request.client, request.session, request.cseq, number + 9, "ok", request.ops, GOOD
        )
        gateway.reply(request, number + 9, 1)
        gateway.submissions.on_own_result(result, 100 * (number + 1))
    more = [gateway.submit(*[b"y"] * 500) for _ in range(64)]
    await turn()
    late = [task for task in more if task.done()]
    assert 30 < len(more) - len(late) < 45, "5,120 a second, of which 3.75 s may wait"
    for task in (*first, *more):
        task.cancel()
