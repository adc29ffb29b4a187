"""Stories of the normal case, of restarts and laggards, of sessions, and of two epochs."""

from collections.abc import Callable

import msgspec
from msgspec.structs import replace

from dataplane.consensus.config import Limits
from dataplane.consensus.messages import (
    AnyMessage,
    Checkpoint,
    Commit,
    Committed,
    CommittedEntry,
    FetchCommitted,
    Prepare,
    Request,
    Status,
)
from dataplane.consensus.state import Archive
from dataplane.simulation.application import Workload
from dataplane.simulation.options import APPLICATIONS
from dataplane.simulation.scenarios.crafting import join, lose
from dataplane.simulation.scenarios.lab import CLUSTER_ID, LIMITS, START_MS, Lab, expect
from dataplane.simulation.signatures import signer_of
from dataplane.storage.engine import MemoryStore


def early_proposal_is_kept() -> None:
    """A proposal beyond the window is voted for when the window moves (fabric#1119)."""
    limits = Limits(checkpoint_interval=4, window=16, pipeline=1)
    lab = Lab(4, limits=limits)
    first, second = (lab.proposal(s, lab.request(0, s)) for s in (1, 2))
    lab.give(1, first)
    lab.give(1, second)
    voted = [vote.sequence for vote in lab.bench[1].votes(Prepare)]
    expect(voted == [1], "nothing is voted for beyond the pipeline")
    for replica in (0, 2, 3):
        lab.give(1, lab.vote(Commit, replica, 1, first.digest))
    voted = [vote.sequence for vote in lab.bench[1].votes(Prepare)]
    expect(voted == [1, 2], "a proposal that came early is voted for later")


def lost_votes_are_repeated() -> None:
    """When every Prepare is lost once, the batch is decided all the same (hyli#520)."""
    lab = Lab(4)
    lose(lab, Prepare)
    lab.order(1)
    expect(not lab.bench[0].executed, "nothing is decided without Prepares")
    join(lab)
    for _ in range(2):
        lab.tick(after_ms=LIMITS.retransmit_ms)
        lab.run()
    executed = [len(bench.executed) for bench in lab.bench.values()]
    expect(executed == [1] * 4, "what was lost is said again and decides the batch")


def lost_decisions_are_made_again(laggard: int = 3) -> None:
    """After a crash of all a laggard learns what no log calls decided."""
    lab = Lab(4)
    lose(lab, Commit, to=laggard)
    lab.order(1, 2, 3)
    executed = lab.bench[1].executed
    expect(bool(executed) and not lab.bench[laggard].executed, "one replica lags")
    join(lab)
    lab.wire.clear()
    for bench in lab.bench.values():
        bench.disk = [data for data in bench.disk if msgspec.msgpack.decode(data)[0] != "Decided"]
    for i in range(4):
        lab.restart(i)
    for _ in range(6):
        lab.tick(after_ms=LIMITS.status_ms)
        lab.run()
    expect(lab.bench[laggard].executed == executed, "a quorum repeats its Commits to a laggard")
    accused = [bench.evidence for bench in lab.bench.values() if bench.evidence]
    expect(not accused, "to repeat a vote is no lie")


def checkpoint_votes_outlive_a_crash() -> None:
    """A checkpoint vote that was on disk counts after a restart."""
    limits = Limits(checkpoint_interval=2, window=2, pipeline=8)
    lab = Lab(3, limits=limits)
    lose(lab, Checkpoint)
    lab.order(1, 2)
    for i in range(3):
        lab.restart(i)
    join(lab)
    lab.tick(after_ms=limits.retransmit_ms)
    lab.run()
    stable = [bench.replica.stable for bench in lab.bench.values()]
    expect(stable == [2] * 3, "a quorum of roots that are on disk makes the checkpoint stable")


def laggard_gets_one_epoch_at_a_time() -> None:
    """A laggard is answered with batches of the epoch whose members it knows."""
    lab = Lab(3)
    lab.order(1, 2, 3)
    decided = lab.state(0).archive.beyond(0)
    lab.state(0).archive = archive = Archive(LIMITS.retained_batches_max, LIMITS.retained_bytes_max)
    for entry in decided:
        sequence = entry.certificate.sequence
        certificate = replace(entry.certificate, epoch=sequence // 3)
        archive.add(sequence, CommittedEntry(entry.batch, certificate))
    for first, sent in ((1, [1, 2]), (2, [2]), (3, [3])):
        lab.bench[0].said.clear()
        lab.give(0, FetchCommitted(first, 3), 1)
        told = [e.certificate.sequence for a in lab.bench[0].votes(Committed) for e in a.entries]
        expect(told == sent, f"asked for {first} to 3 it gives {sent} and not {told}")


def unknown_session_changes_nothing() -> None:
    """A request of a session that nobody opened, or that was forgotten, takes no effect."""
    signer = signer_of("gateway", 0)
    for application in APPLICATIONS:
        workload = Workload(application, cluster_id=CLUSTER_ID, members=(), tail=8)
        store = MemoryStore()
        machine = workload.executor(store)
        before = dict(store.iterate(workload.flippable))
        asked = Request(signer.public_key, b"unopened", 1, 0, (workload.operation(3),), b"")
        (result,) = machine.apply(1, START_MS, (asked,)).requests
        expect(result.status == "session_expired", f"{application}: the request is refused")
        after = dict(store.iterate(workload.flippable))
        expect(after == before, f"{application}: what is refused changes nothing")


def epoch_is_left_with_proofs(laggard: int = 3) -> None:
    """Who came to the end of an epoch, but lost a certificate on the way, first helps the others.

    A crash of all took the certificate of a batch that one state has, and a log with a Commit for
    it: without the one that has come to the end the others are no quorum that decides it again.
    """
    lab = Lab(4)
    lab.drop = lambda source, target, message: laggard in (source, target)
    lab.order(1)
    lab.wire.clear()
    lab.ends_at = 2
    for bench in lab.bench.values():
        bench.disk = [data for data in bench.disk if msgspec.msgpack.decode(data)[0] != "Decided"]
    lab.drop = lambda source, target, message: isinstance(message, Status)
    lab.restart(0)
    lab.restart(1, applied=0)
    lab.restart(2, applied=0, amnesia=True)
    lab.order(2)
    executed = [bench.replica.executed for bench in lab.bench.values()]
    expect(executed == [2, 0, 0, 0], "one replica came to the end of the epoch")

    def is_lost(source: int, target: int, message: AnyMessage) -> bool:
        left = lab.bench[source].has_left, lab.bench[target].has_left
        return any(left) and not isinstance(message, Commit)

    lab.drop = is_lost
    for _ in range(6):
        lab.tick(after_ms=LIMITS.status_ms)
        lab.run()
    executed = [lab.bench[i].replica.executed for i in (0, 1, laggard)]
    expect(executed == [2] * 3, "all that can vote come to the end of the epoch")
    expect(all(lab.bench[i].has_left for i in (0, 1, laggard)), "and leave it then")


ORDERING_SCENARIOS: tuple[Callable[[], None], ...] = (
    early_proposal_is_kept,
    lost_votes_are_repeated,
    lost_decisions_are_made_again,
    checkpoint_votes_outlive_a_crash,
    epoch_is_left_with_proofs,
    laggard_gets_one_epoch_at_a_time,
    unknown_session_changes_nothing,
)
