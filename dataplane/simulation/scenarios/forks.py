"""Stories of two histories: more than f replicas lied, and it must be proved."""

from collections.abc import Callable

from dataplane.consensus.messages import (
    Commit,
    CommitCertificate,
    Committed,
    CommittedEntry,
    Status,
    digest_of,
)
from dataplane.simulation.scenarios.crafting import batch_of, checkpoint
from dataplane.simulation.scenarios.lab import Lab, expect

OTHER = b"\2" * 32


def other_checkpoint_is_proved() -> None:
    """Another certificate of a checkpoint below the stable one accuses who signed both."""
    lab = Lab(4)
    lab.order(*range(1, 13))
    expect(lab.bench[3].replica.stable == 12, "a later checkpoint is stable")
    other = checkpoint(8, OTHER, (0, 1, 2))
    expect(not lab.bench[3].replica.is_surplus(other), "it is looked at")
    lab.give(3, other, sender=0)
    accused = {evidence.replica for evidence in lab.bench[3].evidence}
    expect(len(accused) >= 2 and accused <= {0, 1, 2}, "two quorums share two liars of four")


def other_head_is_proved() -> None:
    """Who says that it executed another batch is shown the decision, and finds the liars."""
    lab = Lab(4)
    lab.order(*range(1, 7))
    data = batch_of(lab, lab.request(1, 999))
    digest = digest_of(data)
    votes = tuple((i, lab.vote(Commit, i, 6, digest).sig) for i in (0, 1, 3))
    other = CommittedEntry(data, CommitCertificate(0, 0, 6, digest, votes))
    lab.bench[2].said.clear()
    lab.give(2, Status(0, 0, 4, 6, 3, is_active=True, head=digest))
    shown = [entry for answer in lab.bench[2].votes(Committed) for entry in answer.entries]
    expect([entry.certificate.sequence for entry in shown] == [6], "the decision is shown")
    lab.give(2, Committed((other,)), sender=3)
    accused = {evidence.replica for evidence in lab.bench[2].evidence}
    expect(len(accused) >= 2 and accused <= {0, 1, 3}, "two quorums share two liars of four")


FORK_SCENARIOS: tuple[Callable[[], None], ...] = (
    other_checkpoint_is_proved,
    other_head_is_proved,
)
