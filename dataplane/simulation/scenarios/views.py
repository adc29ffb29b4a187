"""Stories of leaving views, and of what the next view must carry and check."""

from collections.abc import Callable
from typing import override

from msgspec.structs import replace

from dataplane.consensus.messages import (
    AnyMessage,
    BatchBody,
    CarriedProposal,
    Commit,
    FetchBatch,
    Forward,
    NewView,
    Prepare,
    PrePrepare,
    ViewChange,
)
from dataplane.consensus.outcome import Effect, Persist
from dataplane.simulation.disk import Disk
from dataplane.simulation.scenarios.crafting import (
    all_executed,
    batch_of,
    cut_off,
    executed_cseqs,
    join,
    leave,
    lose,
    new_view,
    pass_time,
    proof,
    proposal,
    resigned,
    signed,
    timeout,
    view_change,
    views,
)
from dataplane.simulation.scenarios.lab import LIMITS, Lab, expect

A, B = b"\1" * 32, b"\2" * 32
PAUSE_MS = 30 * 60_000


def highest_view_is_carried() -> None:
    """Replica 0 prepares A alone, view 1 decides B without it: view 2 must choose B."""
    lab = Lab(4)
    lab.drop = lambda source, target, message: isinstance(message, Prepare) and target != 0
    lab.order(1)
    first = lab.bench[0].votes(PrePrepare)[0]
    expect(len(lab.bench[0].votes(Commit)) == 1, "one replica prepares A")
    cut_off(lab, 0)
    leave(lab, 0, 0)
    expect(not lab.bench[1].votes(NewView)[0].proposals, "view 1 knows nothing of A")
    lab.drop = lambda source, target, message: (
        0 in (source, target) or (isinstance(message, Commit) and target != 2)
    )
    lab.order(2, gateway=1)
    decided = lab.bench[1].votes(PrePrepare)[0]
    expect(executed_cseqs(lab, 2) == [2] and decided.digest != first.digest, "view 1 decides B")
    # View 2: its primary is 2; the certificate of view 0 is among what it hears.
    lab.wire.clear()
    lab.drop = lambda source, target, message: isinstance(message, ViewChange) and source == 1
    leave(lab, 1)
    last = lab.bench[2].votes(NewView)[-1]
    expect(0 in {change.replica for change in last.changes}, "view 2 hears of A")
    carried = [carried.digest for carried in last.proposals]
    expect(carried == [decided.digest], "view 2 carries what the highest view prepared")
    heads = [executed_cseqs(lab, i)[:1] for i in range(4)]
    expect(heads == [[2]] * 4, "what view 1 decided is what everybody executes")


def unprepared_batch_is_proposed_anew() -> None:
    """What an earlier view proposed and nobody prepared is free again, and is ordered."""
    lab = Lab(4)
    lose(lab, Prepare)
    lab.ask(1, lab.request(1, 1))
    lab.run()
    expect(bool(lab.bench[0].votes(PrePrepare)), "view 0 proposes it")
    join(lab)
    leave(lab, 0)
    expect(not lab.bench[1].votes(NewView)[0].proposals, "nothing is carried")
    expect(all_executed(lab, 1), "the next view orders what the last one left behind")


def prepares_count_in_their_view_only() -> None:
    """Prepares of a view that was left prepare nothing in the next."""
    lab = Lab(4)
    first = lab.proposal(1, lab.request(0, 1))
    for i in (1, 2):
        lab.give(3, lab.vote(Prepare, i, 1, first.digest))
    changes = [view_change(lab, i, 1, [proof(lab, 0, 1, first.digest)]) for i in (0, 1, 2)]
    lab.give(3, new_view(lab, 1, changes))
    lab.give(3, BatchBody(1, first.batch), 2)
    expect([vote.view for vote in lab.bench[3].votes(Prepare)] == [1], "it votes in view 1")
    expect(not lab.bench[3].votes(Commit), "Prepares of view 0 count for nothing in view 1")
    lab.give(3, lab.vote(Prepare, 2, 1, first.digest, view=1))
    committed = [vote.view for vote in lab.bench[3].votes(Commit)]
    expect(committed == [1], "Prepares of view 1 count in view 1")


def batch_comes_from_any_holder() -> None:
    """A carried batch that the primary lacks is fetched from a backup that holds it."""
    lab = Lab(4)
    lab.drop = lambda source, target, message: (
        (isinstance(message, PrePrepare) and target == 1) or isinstance(message, Commit)
    )
    lab.order(1)
    expect(not lab.bench[1].votes(Prepare), "the next primary never saw the batch")
    lab.drop = lambda source, target, message: isinstance(message, BatchBody) and source == 2
    leave(lab, 0)
    asked = [type(said) for said in lab.bench[1].said].count(FetchBatch)
    expect(asked == 1, "another holder is asked, one at a time")
    for _ in range(4):
        pass_time(lab, LIMITS.retransmit_ms)
    expect(all_executed(lab, 1), "a holder that does not answer is no obstacle")


def batch_of_an_old_view_is_held() -> None:
    """A liar alone has the certificate of view 0, shows it in view 2 and keeps the batch."""
    lab = Lab(4)
    first = lab.proposal(1, lab.request(0, 1))
    cut_off(lab, 0)
    for i in (1, 2, 3):
        lab.give(i, first)
    lab.wire.clear()
    leave(lab, 0, 0)
    lab.ask(1, lab.request(1, 2))
    second = lab.bench[1].votes(PrePrepare)[0]
    expect(second.sequence == first.sequence, "view 1 proposes another batch for the slot")
    for i in (2, 3):
        lab.give(i, second)
    lab.wire.clear()
    lab.restart(3)
    for i in (1, 2, 3):
        lab.give(i, timeout(1, (1, 2)), sender=2)
    lab.wire.clear()
    changes = [view_change(lab, i, 2) for i in (1, 3)]
    changes.insert(0, view_change(lab, 0, 2, [proof(lab, 0, 1, first.digest)]))
    for i in (1, 2, 3):
        expect(lab.give(i, new_view(lab, 2, changes)), "the new view follows")
    lab.run()
    heads = [executed_cseqs(lab, i)[:1] for i in (1, 2, 3)]
    expect(heads == [[1]] * 3, "the batch of view 0 is still held by those who voted for it")


def carried_request_may_be_repeated() -> None:
    """A repeated request whose batch a view carried after its execution is answered again."""
    lab = Lab(4)
    lab.order(1)
    leave(lab, 0)
    lab.order(1, gateway=0)
    expect(all_executed(lab, 1, 1), "it is ordered again, and the session table answers it")
    expect(lab.bench[1].replica.pending_count == 0, "nothing waits for ever")


def carried_batch_may_be_old() -> None:
    """A batch from before a long pause is carried whatever its time is (indy-plenum#1488)."""
    lab = Lab(4)
    lab.drop = lambda source, target, message: (
        isinstance(message, Commit) or (isinstance(message, PrePrepare) and target == 3)
    )
    lab.order(1)
    lab.wire.clear()
    join(lab)
    lab.now_ms += PAUSE_MS
    leave(lab, 0)
    pass_time(lab, 1_000)
    expect(views(lab) == [(1, True)] * 4, "one change of the view is enough")
    expect(all_executed(lab, 1), "the old batch is executed")


def all_that_is_said_may_be_lost(n: int = 4) -> None:
    """Everything said during a change of the view may be lost once (fabric#1917)."""
    lab = Lab(n)
    lab.order(1)
    lab.drop = lambda source, target, message: True
    leave(lab, 0)
    pass_time(lab, 700)
    expect(not any(active for _, active in views(lab)), "nobody hears of the new view")
    join(lab)
    pass_time(lab, 200)
    expect(views(lab) == [(1, True)] * n, "it is said again, nobody must give up first")
    lab.order(2, gateway=n - 1)
    expect(all_executed(lab, 1, 2), "the view orders")


def no_second_vote_for_a_slot() -> None:
    """A restarted replica gives no second vote in a later view (telcoin#391)."""
    lab = Lab(4)
    leave(lab, 0)
    one, other = (proposal(lab, 1, 1, batch_of(lab, lab.request(1, cseq))) for cseq in (1, 2))
    lab.give(3, one)
    lab.restart(3)
    lab.give(3, other)
    lab.tick(3, after_ms=LIMITS.retransmit_ms)
    voted = {vote.digest for vote in lab.bench[3].votes(Prepare)}
    expect(voted == {one.digest}, "it votes for the first proposal only")
    accused = [evidence.replica for evidence in lab.bench[3].evidence]
    expect(accused == [1], "the primary that proposed twice is accused")


def drafts_are_proposed_once() -> None:
    """Drafts of an old primary are ordered once when it leads again (sawtooth#140)."""
    lab = Lab(3)
    lab.drop = lambda source, target, message: (
        isinstance(message, PrePrepare | Forward) and source == 0
    )
    for cseq in (1, 2, 3):
        lab.ask(0, lab.request(0, cseq))
    for view in (0, 1, 2):
        expect(not lab.bench[2].executed, "nothing is ordered before")
        leave(lab, view)
        if view == 1:
            join(lab)
        lab.wire.clear()
    expect(views(lab) == [(3, True)] * 3, "it leads again")
    lab.order(4)
    pass_time(lab, 1_000)
    executed = sorted(executed_cseqs(lab, 2))
    expect(executed == [1, 2, 3, 4], "every draft is ordered, and once")


class LabelledLab(Lab):
    """Keeps a log with labels and shortens it at a stable checkpoint, as the driver does."""

    def __init__(self, n: int) -> None:
        super().__init__(n)
        self.logs = {i: Disk() for i in range(n)}

    @override
    def _carry_out(self, i: int, effect: Effect) -> None:
        if isinstance(effect, Persist):
            self.logs[i].append(effect.sequence, effect.records)
        super()._carry_out(i, effect)

    def shorten(self, i: int) -> None:
        """Drop of a replica's log what its stable checkpoint covers."""
        log = self.logs[i]
        log.sync(log.burst_size)
        before = len(log.records())
        log.truncate_before(self.bench[i].replica.stable)
        expect(len(log.records()) < before, "the log becomes shorter")
        self.bench[i].disk = log.records()


def view_outlives_a_shortened_log(restarted: int = 1) -> None:
    """A restart knows its view although the log was shortened since the view began."""
    lab = LabelledLab(4)
    leave(lab, 0)
    lab.order(*range(1, 50), gateway=1)
    expect(lab.bench[restarted].replica.stable == 48, "a checkpoint is stable")
    lab.shorten(restarted)
    lab.restart(restarted)
    expect(views(lab)[restarted] == (1, True), "it is in its view again")
    lab.order(50, gateway=1)
    expect(executed_cseqs(lab, restarted)[-1:] == [50], "it goes on")


def _is_refused(lab: Lab, message: AnyMessage, sender: int) -> bool:
    before = views(lab)
    return not lab.give(3, message, sender) and views(lab) == before


def unproven_view_change_is_refused() -> None:
    """A ViewChange needs the suspicions of a blocking set."""
    lab = Lab(4)
    good = view_change(lab, 2, 1)
    weak = resigned(replace(good, timeout=timeout(0, (0,))))
    expect(_is_refused(lab, weak, 2), "one suspicion lets nobody leave a view")
    expect(lab.give(3, good), "a blocking set does")


def forged_proof_is_refused() -> None:
    """One forged prepared certificate refuses the whole ViewChange (concord#50)."""
    lab = Lab(4)
    genuine = proof(lab, 0, 3, A)
    weak = proof(lab, 0, 2, A, backups=(1,))
    forged = view_change(lab, 2, 1, [weak, genuine])
    expect(_is_refused(lab, forged, 2), "a certificate of too few is none")
    expect(lab.give(3, view_change(lab, 2, 1, [genuine])), "a genuine one is taken")


def unfounded_new_view_is_refused() -> None:
    """A NewView must propose what follows from its ViewChanges."""
    lab = Lab(4)
    changes = [view_change(lab, i, 1, [proof(lab, 0, 2, A)]) for i in (0, 2, 3)]
    good = new_view(lab, 1, changes)
    other = CarriedProposal(2, B, signed(b"PP", 1, 1, 2, B))
    false = resigned(replace(good, proposals=(good.proposals[0], other)))
    expect(_is_refused(lab, false, 1), "another batch than the prepared one is refused")
    expect(lab.give(3, good) and views(lab)[3] == (1, True), "the one that follows is taken")


VIEW_SCENARIOS: tuple[Callable[[], None], ...] = (
    highest_view_is_carried,
    unprepared_batch_is_proposed_anew,
    prepares_count_in_their_view_only,
    batch_comes_from_any_holder,
    batch_of_an_old_view_is_held,
    carried_request_may_be_repeated,
    carried_batch_may_be_old,
    all_that_is_said_may_be_lost,
    no_second_vote_for_a_slot,
    drafts_are_proposed_once,
    view_outlives_a_shortened_log,
    unproven_view_change_is_refused,
    forged_proof_is_refused,
    unfounded_new_view_is_refused,
)
