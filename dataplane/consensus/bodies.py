"""Batches by digest: where they are held here, and asking others for those that are not."""

from dataclasses import dataclass

from dataplane.consensus.messages import (
    NULL_BATCH,
    NULL_DIGEST,
    BatchBody,
    FetchBatch,
    PrePrepare,
    digest_of,
)
from dataplane.consensus.state import ReplicaState


@dataclass(frozen=True, slots=True)
class Carried:
    """A proposal of a NewView, without its batch, and who must hold that."""

    header: PrePrepare
    holders: tuple[int, ...]


class Bodies:
    """Finds batches, serves them, fetches them from one peer after the other."""

    def __init__(self, state: ReplicaState) -> None:
        self._state = state
        self._fetched: dict[int, bytes] = {}
        self._asked: dict[int, tuple[int, int]] = {}
        """By sequence: when a peer was asked last, and how often one was."""

    def find(self, sequence: int, digest: bytes) -> bytes | None:
        """Return the batch if it is held here."""
        if digest == NULL_DIGEST:
            return NULL_BATCH
        slot = self._state.slots.get(sequence)
        if slot is not None and digest in slot.bodies:
            return slot.bodies[digest]
        entry = self._state.archive.get(sequence)
        if entry is not None and entry.certificate.digest == digest:
            return entry.batch
        past = self._state.past.get(sequence)
        if past is not None and past[0].digest == digest:
            return past[1]
        fetched = self._fetched.get(sequence)
        return fetched if fetched is not None and digest_of(fetched) == digest else None

    def put(self, sequence: int, batch: bytes) -> None:
        """Hold a fetched batch until its proposal is voted for."""
        self._fetched[sequence] = batch

    def fetch(self, sequence: int, digest: bytes, holders: tuple[int, ...], now_ms: int) -> None:
        """Ask the next peer: first those who voted for the digest, then everybody."""
        state = self._state
        asked_ms, count = self._asked.get(sequence, (0, 0))
        if count and now_ms - asked_ms < state.config.limits.retransmit_ms // 2:
            return
        others = [m.replica_id for m in state.config.members if m.replica_id not in holders]
        peers = [r for r in (*holders, *others) if r != state.config.replica_id]
        if not peers:
            return
        self._asked[sequence] = (now_ms, count + 1)
        state.send(peers[count % len(peers)], FetchBatch(sequence, digest))

    def serve(self, sender: int, message: FetchBatch) -> None:
        """Answer a peer that misses a batch."""
        body = self.find(message.sequence, message.digest)
        if body is not None:
            self._state.send(sender, BatchBody(message.sequence, body))

    def forget(self, horizon: int) -> None:
        """Drop what is at or below a stable sequence."""
        for sequence in [s for s in self._fetched if s <= horizon]:
            del self._fetched[sequence]
        for sequence in [s for s in self._asked if s <= horizon]:
            del self._asked[sequence]
