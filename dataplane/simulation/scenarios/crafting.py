"""Messages of the view change, made by hand, and time that passes."""

from collections.abc import Iterable, Sequence

from msgspec.structs import replace

from dataplane.consensus.messages import (
    AnyMessage,
    Batch,
    CarriedProposal,
    CheckpointCertificate,
    NewView,
    PreparedProof,
    PrePrepare,
    Request,
    Suspect,
    TimeoutCertificate,
    ViewChange,
    checkpoint_payload,
    digest_of,
    encode_batch,
    new_view_payload,
    suspect_payload,
    view_change_payload,
    vote_payload,
)
from dataplane.consensus.new_view import select
from dataplane.simulation.scenarios.lab import CLUSTER_ID, Lab, nothing_is_lost
from dataplane.simulation.signatures import signer_of

STEP_MS = 100


def signed(  # noqa: PLR0917 - in the order that messages have
    kind: bytes, replica: int, view: int, sequence: int, digest: bytes
) -> bytes:
    """Return a replica's signature of a vote."""
    payload = vote_payload(kind, CLUSTER_ID, epoch=0, view=view, sequence=sequence, digest=digest)
    return signer_of("vote", replica).sign(payload)


def suspect(replica: int, view: int = 0) -> Suspect:
    """Return a replica's suspicion of a view's primary."""
    payload = suspect_payload(CLUSTER_ID, epoch=0, view=view)
    return Suspect(0, view, replica, signer_of("vote", replica).sign(payload))


def timeout(view: int, replicas: Iterable[int]) -> TimeoutCertificate:
    """Return the suspicions of these replicas, be they enough or not."""
    votes = tuple((replica, suspect(replica, view).sig) for replica in replicas)
    return TimeoutCertificate(0, view, votes)


def batch_of(lab: Lab, *requests: Request, ts_ms: int | None = None) -> bytes:
    """Return an encoded batch."""
    return encode_batch(Batch(lab.now_ms if ts_ms is None else ts_ms, requests))


def proposal(lab: Lab, view: int, sequence: int, batch: bytes) -> PrePrepare:
    """Return the proposal of a view's primary."""
    primary, digest = view % lab.n, digest_of(batch)
    signature = signed(b"PP", primary, view, sequence, digest)
    return PrePrepare(0, view, sequence, digest, primary, signature, batch)


def proof(
    lab: Lab, view: int, sequence: int, digest: bytes, *, backups: Sequence[int] | None = None
) -> PreparedProof:
    """Return a prepared certificate; without `backups` of the first q-1 that do not lead."""
    primary = view % lab.n
    if backups is None:
        backups = [i for i in range(lab.n) if i != primary][: lab.config(0).quorum - 1]
    votes = tuple((i, signed(b"P", i, view, sequence, digest)) for i in backups)
    return PreparedProof(
        view, sequence, digest, signed(b"PP", primary, view, sequence, digest), votes
    )


def checkpoint(sequence: int, root: bytes, replicas: Iterable[int]) -> CheckpointCertificate:
    """Return a checkpoint that these replicas signed, be they enough or not."""
    payload = checkpoint_payload(CLUSTER_ID, epoch=0, sequence=sequence, root=root)
    votes = tuple((i, signer_of("vote", i).sign(payload)) for i in replicas)
    return CheckpointCertificate(0, sequence, root, votes)


def resigned[M: (ViewChange, NewView)](message: M) -> M:
    """Return a ViewChange or NewView signed again after a change."""
    if isinstance(message, ViewChange):
        payload = view_change_payload(CLUSTER_ID, message)
    else:
        payload = new_view_payload(CLUSTER_ID, message)
    return replace(message, sig=signer_of("vote", message.replica).sign(payload))


def view_change(
    lab: Lab,
    replica: int,
    view: int,
    prepared: Sequence[PreparedProof] = (),
    *,
    stable: CheckpointCertificate | None = None,
) -> ViewChange:
    """Return a replica's signed ViewChange, with a proof that the view before may be left."""
    certificate = timeout(view - 1, range(lab.config(0).blocking))
    return resigned(ViewChange(0, view, certificate, stable, tuple(prepared), replica, b""))


def new_view(lab: Lab, view: int, changes: Sequence[ViewChange]) -> NewView:
    """Return the NewView that follows from the ViewChanges, signed by the view's primary."""
    primary, selection = view % lab.n, select(changes, lab.config(0).base)
    assert selection is not None
    first = selection.checkpoint_sequence + 1
    carried = tuple(
        CarriedProposal(first + i, digest, signed(b"PP", primary, view, first + i, digest))
        for i, digest in enumerate(selection.digests)
    )
    return resigned(NewView(0, view, tuple(changes), carried, primary, b""))


def pass_time(lab: Lab, ms: int, *dead: int) -> None:
    """Let time pass in small steps for all but the dead, and deliver what is said."""
    for _ in range(0, ms, STEP_MS):
        lab.tick(*(i for i in range(lab.n) if i not in dead), after_ms=STEP_MS)
        lab.run()


def cut_off(lab: Lab, *who: int) -> None:
    """Let nothing reach some replicas or come from them."""
    lab.drop = lambda source, target, message: source in who or target in who


def join(lab: Lab) -> None:
    """Let everything arrive again."""
    lab.drop = nothing_is_lost


def leave(lab: Lab, view: int, *dead: int) -> None:
    """Have everybody leave a view by a timeout certificate, and deliver what comes of it."""
    certificate = timeout(view, range(lab.config(0).blocking))
    for i in range(lab.n):
        if i not in dead:
            lab.give(i, certificate, sender=i)
    lab.run()


def views(lab: Lab) -> list[tuple[int, bool]]:
    """Return the view of each replica, and whether it takes part in it."""
    return [(bench.replica.view, bench.replica.active) for bench in lab.bench.values()]


def executed_cseqs(lab: Lab, i: int) -> list[int]:
    """Return the numbers of the requests that a replica executed, in order."""
    return [request.cseq for batch in lab.bench[i].executed for request in batch.requests]


def all_executed(lab: Lab, *cseqs: int) -> bool:
    """Whether every replica executed exactly these requests."""
    return all(executed_cseqs(lab, i) == list(cseqs) for i in range(lab.n))


def lose(lab: Lab, *kinds: type[AnyMessage], to: int | None = None) -> None:
    """Lose messages of some kinds, all of them or those to one replica."""
    lab.drop = lambda source, target, message: isinstance(message, kinds) and to in (None, target)
