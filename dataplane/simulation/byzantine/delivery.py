"""Lies told by keeping quiet, by repeating, and about one's own position."""

from collections import deque
from collections.abc import Iterable
from typing import override

import msgspec

from dataplane.consensus.config import Signer
from dataplane.consensus.messages import (
    AnyMessage,
    Checkpoint,
    Committed,
    CommittedEntry,
    Replies,
    Status,
    digest_of,
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


class LyingStatus(Behaviour):
    """Claims to be far ahead all the time and serves damaged batches to those who ask."""

    @override
    def outgoing(self, to: int, message: AnyMessage) -> Iterable[AnyMessage]:
        if isinstance(message, Committed):
            entries = tuple(
                CommittedEntry(entry.batch + b"\0", entry.certificate) for entry in message.entries
            )
            return (Committed(entries),)
        if isinstance(message, Status):
            return (msgspec.structs.replace(message, executed=2**40, stable=2**40),)
        return (message, Status(0, 0, 2**40, 2**40, self._own_id(message), is_active=True))

    def _own_id(self, message: AnyMessage) -> int:
        replica = getattr(message, "replica", None)
        return replica if isinstance(replica, int) else min(self.conspiracy.liars)
