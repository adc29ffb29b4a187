"""Lies told by keeping quiet, by repeating, and about one's own position."""

from collections import deque
from collections.abc import Iterable
from typing import override

import msgspec

from dataplane.consensus.config import Signer
from dataplane.consensus.messages import (
    AnyMessage,
    BatchBody,
    Checkpoint,
    CheckpointCertificate,
    Committed,
    CommittedEntry,
    Replies,
    Status,
    TimeoutCertificate,
    decode_batch,
    digest_of,
    encode_batch,
)
from dataplane.simulation.byzantine.behaviour import Behaviour, Conspiracy


class Silent(Behaviour):
    """Says nothing at all."""

    @override
    def outgoing(self, to: int, message: AnyMessage) -> Iterable[AnyMessage]:
        return ()


class Selective(Behaviour):
    """Talks to f+1 replicas only, the rest must do without it."""

    @override
    def outgoing(self, to: int, message: AnyMessage) -> Iterable[AnyMessage]:
        favoured = [r for r in range(self.conspiracy.n) if r not in self.conspiracy.liars]
        return (message,) if to in favoured[: (self.conspiracy.n - 1) // 3 + 1] else ()


class StaleReplay(Behaviour):
    """Sends old messages again, to whomever."""

    def __init__(self, signer: Signer, conspiracy: Conspiracy) -> None:
        super().__init__(signer, conspiracy)
        self._said: deque[AnyMessage] = deque(maxlen=200)

    @override
    def outgoing(self, to: int, message: AnyMessage) -> Iterable[AnyMessage]:
        self._said.append(message)
        old = self.conspiracy.rng.choice(self._said)
        pair = [old, message]
        self.conspiracy.rng.shuffle(pair)
        return pair


class FalseCheckpoint(Behaviour):
    """Signs a false root to half of the replicas, and answers clients with false digests."""

    @override
    def outgoing(self, to: int, message: AnyMessage) -> Iterable[AnyMessage]:
        if isinstance(message, Checkpoint) and self.conspiracy.side_of(to):
            return (self.recheckpointed(message), message)
        if isinstance(message, Replies):
            false = tuple(
                msgspec.structs.replace(reply, digest=digest_of(b"false" + reply.digest))
                for reply in message.replies
            )
            return (Replies(false),)
        return (message,)


def other_batch(batch: bytes) -> bytes:
    """Return a well-formed batch that is not this one."""
    changed = decode_batch(batch)
    return encode_batch(msgspec.structs.replace(changed, ts_ms=changed.ts_ms + 1))


class Forger(Behaviour):
    """Serves batches nobody decided, with certificates signed by itself in everybody's name."""

    @override
    def outgoing(self, to: int, message: AnyMessage) -> Iterable[AnyMessage]:
        if isinstance(message, Committed):
            return (Committed(tuple(self._forged(entry) for entry in message.entries)),)
        if isinstance(message, Checkpoint) and self.conspiracy.side_of(to):
            root = digest_of(b"forged" + message.root)
            votes = self._votes(message.sig)
            return (
                CheckpointCertificate(message.epoch, message.sequence, root, votes),
                TimeoutCertificate(message.epoch, 2**40, votes),
                message,
            )
        return (message,)

    def _votes(self, signature: bytes) -> tuple[tuple[int, bytes], ...]:
        return tuple((replica, signature) for replica in range(self.conspiracy.n))

    def _forged(self, entry: CommittedEntry) -> CommittedEntry:
        batch, proof = other_batch(entry.batch), entry.certificate
        votes = self._votes(proof.votes[0][1])
        return CommittedEntry(
            batch, msgspec.structs.replace(proof, digest=digest_of(batch), votes=votes)
        )


class LyingStatus(Behaviour):
    """Claims to be far ahead all the time and serves other batches to those who ask."""

    @override
    def outgoing(self, to: int, message: AnyMessage) -> Iterable[AnyMessage]:
        if isinstance(message, Committed):
            entries = tuple(
                CommittedEntry(other_batch(entry.batch), entry.certificate)
                for entry in message.entries
            )
            return (Committed(entries),)
        if isinstance(message, BatchBody):
            return (BatchBody(message.sequence, other_batch(message.batch)),)
        if isinstance(message, Status):
            return (msgspec.structs.replace(message, executed=2**40, stable=2**40),)
        return (
            message,
            Status(0, 0, 2**40, 2**40, self._own_id(message), is_active=True, head=b""),
        )

    def _own_id(self, message: AnyMessage) -> int:
        replica = getattr(message, "replica", None)
        return replica if isinstance(replica, int) else min(self.conspiracy.liars)
