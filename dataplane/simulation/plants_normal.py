"""Bugs planted into the normal case: ordering, counting, executing, writing down."""

import zlib
from collections.abc import Callable
from typing import override

import msgspec

from dataplane.consensus import config, signatures, verification
from dataplane.consensus.catch_up import CatchUp
from dataplane.consensus.checkpoints import Checkpoints
from dataplane.consensus.config import Limits, ReplicaConfig, Verifier
from dataplane.consensus.messages import (
    AnyMessage,
    Commit,
    Prepare,
    Request,
    decode_batch,
    digest_of,
)
from dataplane.consensus.ordering import Ordering
from dataplane.consensus.outcome import Broadcast, Execute, Persist
from dataplane.consensus.pending import PendingRequests
from dataplane.consensus.records import Record, Recovered, encode_record, recover
from dataplane.consensus.slots import Slot
from dataplane.consensus.state import ReplicaState
from dataplane.consensus.view_change import ViewChanges
from dataplane.documents.sessions import Sessions
from dataplane.documents.tables import Batch, SessionRow
from dataplane.documents.types import RequestResult, RequestView
from dataplane.simulation import node
from dataplane.simulation.application import MapApplication, Session
from dataplane.simulation.disk import Disk
from dataplane.simulation.planting import Patch
from dataplane.wire.quorum import quorum_size


def quorum_minus_one() -> list[Patch]:
    """A quorum is one replica smaller than it must be."""
    return [(config, "quorum_size", lambda n: max(1, quorum_size(n) - 1))]


def count_duplicate_votes() -> list[Patch]:
    """A repeated vote of one replica counts again."""
    real_prepare, real_commit = Ordering.on_prepare, Ordering.on_commit

    def on_prepare(self: Ordering, vote: Prepare, now_ms: int) -> None:
        slot = self._state.slots.get(vote.sequence)
        if slot is not None and vote.replica in slot.prepares:
            vote = msgspec.structs.replace(vote, replica=vote.replica + 100)
        real_prepare(self, vote, now_ms)

    def on_commit(self: Ordering, vote: Commit) -> None:
        slot = self._state.slots.get(vote.sequence)
        if slot is not None and vote.replica in slot.commits:
            vote = msgspec.structs.replace(vote, replica=vote.replica + 100)
        real_commit(self, vote)

    return [(Ordering, "on_prepare", on_prepare), (Ordering, "on_commit", on_commit)]


def ignore_digest() -> list[Patch]:
    """Votes count whatever digest they name."""

    def prepared_votes(self: Slot, primary: int, self_id: int) -> int:
        del self_id
        return 0 if self.pre_prepare is None else len({primary, *self.prepares})

    def commit_votes(self: Slot, view: int, digest: bytes) -> list[Commit]:
        del view, digest
        return [self.commits[replica] for replica in sorted(self.commits)]

    return [(Slot, "prepared_votes", prepared_votes), (Slot, "commit_votes", commit_votes)]


def count_primary_prepare() -> list[Patch]:
    """The primary's Prepare counts besides its proposal."""
    real = Ordering.on_prepare

    def on_prepare(self: Ordering, vote: Prepare, now_ms: int) -> None:
        if vote.replica == self._state.config.primary(vote.view) and self._state.in_reach(
            vote.sequence
        ):
            slot = self._state.slot(vote.sequence)
            slot.prepares.setdefault(vote.replica, vote)
            self.check_prepared(slot, now_ms)
            return
        real(self, vote, now_ms)

    def prepared_votes(self: Slot, primary: int, self_id: int) -> int:
        del primary, self_id
        if self.pre_prepare is None:
            return 0
        digest = self.pre_prepare.digest
        return 1 + sum(1 for vote in self.prepares.values() if vote.digest == digest)

    return [(Ordering, "on_prepare", on_prepare), (Slot, "prepared_votes", prepared_votes)]


def no_persist_before_send() -> list[Patch]:
    """Votes leave at once, not when they are on disk."""

    def broadcast(self: ReplicaState, message: AnyMessage, after: int = 0) -> None:
        del after
        if self.config.n > 1:
            self.emit(Broadcast(message, 0))

    return [(ReplicaState, "broadcast", broadcast)]


def own_vote_before_durable() -> list[Patch]:
    """A replica counts its own vote before it is on disk."""

    def persist(
        self: ReplicaState, sequence: int, *records: Record, then: Callable[[int], None]
    ) -> int:
        self.barrier += 1
        self.urgent_barrier = self.barrier
        self.emit(Persist(tuple(map(encode_record, records)), self.barrier, sequence))
        then(0)
        return self.barrier

    return [(ReplicaState, "persist", persist)]


def execute_twice() -> list[Patch]:
    """Execution does not look whether a request took effect already."""

    def repeated(
        self: MapApplication, session: Session, request: RequestView
    ) -> RequestResult | None:
        del self, session, request
        return None

    return [(MapApplication, "repeated", repeated)]


def unknown_session_executes() -> list[Patch]:
    """A request of a session that nobody opened, or that was forgotten, takes effect."""
    check, of_map = Sessions.check, MapApplication._request  # noqa: SLF001 - planted inside

    def opened(
        self: Sessions, batch: Batch, sequence: int, request: RequestView
    ) -> RequestResult | SessionRow:
        row = SessionRow(client=request.client, low=0, last_ms=0)
        self._rows.setdefault(request.session, row)
        self._cseqs.setdefault(request.session, set())
        return check(self, batch, sequence, request)

    def opened_in_map(self: MapApplication, batch: Batch, request: RequestView) -> RequestResult:
        if request.cseq:
            self._sessions.setdefault(request.session, Session(request.client))
        return of_map(self, batch, request)

    return [(Sessions, "check", opened), (MapApplication, "_request", opened_in_map)]


def no_watermark() -> list[Patch]:
    """The high watermark is ignored."""
    return [(ReplicaState, "high", property(lambda self: self.stable + 10**6))]


def execute_over_gaps() -> list[Patch]:
    """A decided batch is executed although one before it is missing."""

    def request_execution(self: Ordering) -> None:
        state = self._state
        for sequence in range(state.requested + 1, state.requested + 8):
            entry = state.archive.get(sequence)
            if entry is not None:
                state.requested = sequence
                self.waited_since_ms[sequence] = None
                batch = decode_batch(entry.batch)
                state.emit(Execute(sequence, batch, wants_root=False))

    return [(Ordering, "request_execution", request_execution)]


def forget_votes_on_restart() -> list[Patch]:
    """A restart forgets every vote, as if the log were in memory."""

    def amnesia(
        records: list[bytes], applied: int, root: bytes | None, *, epoch: int, ends_at: int | None
    ) -> Recovered:
        known = recover(records, applied, root, epoch=epoch, ends_at=ends_at)
        return Recovered(
            applied=applied,
            ends_at=ends_at,
            decided=known.decided,
            bodies=known.bodies,
            stable=known.stable,
        )

    return [(node, "recover", amnesia)]


def never_repeat() -> list[Patch]:
    """Nothing is sent again after a loss, and nobody is taken along into a new view."""
    return [
        (Ordering, "_resend", lambda self, slot: None),
        (Checkpoints, "retransmit", lambda self, now_ms: None),
        (ViewChanges, "help", lambda self, replica, now_ms: None),
        (ViewChanges, "repeat", lambda self, now_ms: None),
    ]


def never_fetch() -> list[Patch]:
    """A replica that is behind does not ask for what it misses."""
    return [(CatchUp, "_fetch", lambda self, peer, last, now_ms: None)]


def no_pipeline() -> list[Patch]:
    """Proposals are accepted up to H, however far behind the execution is."""
    return [(Ordering, "_reach", lambda self: self._state.high)]


def drop_early_proposals() -> list[Patch]:
    """A proposal that comes before the window moves is dropped."""
    return [(Ordering, "_keep_early", lambda self, message: None)]


def count_every_vote() -> list[Patch]:
    """Votes are kept for any sequence."""
    return [(ReplicaState, "in_reach", lambda self, sequence: sequence > self.stable)]


def pending_without_bound() -> list[Patch]:
    """Every request is taken into the pool."""

    def add(self: PendingRequests, request: Request, now_ms: int) -> bool:
        limits = self._limits
        self._limits = Limits(pending_requests_max=10**6, pending_per_client_max=10**6)
        try:
            return real(self, request, now_ms)
        finally:
            self._limits = limits

    real = PendingRequests.add
    return [(PendingRequests, "add", add)]


def stable_before_execution() -> list[Patch]:
    """A certified checkpoint is stable at once, executed or not."""

    def advance(self: Checkpoints) -> None:
        certificate, self._certified = self._certified, None
        if certificate is not None and certificate.sequence > self._state.stable:
            self._make_stable(certificate)

    return [(Checkpoints, "advance", advance)]


def restart_forgets_checkpoint_votes() -> list[Patch]:
    """Checkpoint votes that were on disk do not count after a restart."""

    def restore(self: Checkpoints, recovered: Recovered) -> None:
        if recovered.stable is not None:
            self._state.stable = recovered.stable.sequence
            self._state.stable_certificate = recovered.stable

    return [
        (Checkpoints, "restore", restore),
        (Checkpoints, "resume", lambda self, recovered, now_ms: None),
    ]


def never_decide_again() -> list[Patch]:
    """Commits are not repeated for what is executed, also when no certificate is left."""
    return [(Ordering, "repeat_to", lambda self, replica, first: None)]


def certificates_unverified() -> list[Patch]:
    """Nobody checks who signed a certificate."""

    def trusting(
        votes: tuple[tuple[int, bytes], ...],
        payload: bytes,
        config: ReplicaConfig,
        verifier: Verifier,
        *,
        least: int,
    ) -> bool:
        del votes, payload, config, verifier, least
        return True

    return [(signatures, "verify_signers", trusting)]


def batch_digest_unchecked() -> list[Patch]:
    """A batch from a peer is taken without comparing its digest with the certificate."""
    return [(verification, "digest_of", lambda data: _AnyDigest(digest_of(data)))]


class _AnyDigest(bytes):
    """Equal to everything."""

    __slots__ = ()

    @override
    def __eq__(self, other: object) -> bool:
        return True

    @override
    def __ne__(self, other: object) -> bool:
        return False

    @override
    def __hash__(self) -> int:
        return 0


def vote_with_damaged_log() -> list[Patch]:
    """A damaged record of the log is skipped, and the replica votes on."""

    def records(self: Disk) -> list[bytes]:
        return [data for _, data, checksum in self._synced if zlib.crc32(data) == checksum]

    return [(Disk, "records", records)]


NORMAL_PLANTS: dict[str, Callable[[], list[Patch]]] = {
    plant.__name__: plant
    for plant in (
        quorum_minus_one,
        count_duplicate_votes,
        ignore_digest,
        count_primary_prepare,
        no_persist_before_send,
        own_vote_before_durable,
        execute_twice,
        unknown_session_executes,
        no_watermark,
        execute_over_gaps,
        forget_votes_on_restart,
        never_repeat,
        never_fetch,
        no_pipeline,
        drop_early_proposals,
        count_every_vote,
        pending_without_bound,
        stable_before_execution,
        restart_forgets_checkpoint_votes,
        never_decide_again,
        certificates_unverified,
        batch_digest_unchecked,
        vote_with_damaged_log,
    )
}
