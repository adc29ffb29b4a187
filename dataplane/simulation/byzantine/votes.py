"""Lies told with votes."""

from collections.abc import Iterable
from typing import override

import msgspec

from dataplane.consensus.messages import (
    AnyMessage,
    Commit,
    Prepare,
    PrePrepare,
    decode_batch,
    digest_of,
    encode_batch,
)
from dataplane.simulation.byzantine.behaviour import Behaviour


class EquivocatingPrimary(Behaviour):
    """Proposes one batch to half of the replicas and another to the rest, and votes for both.

    It also sends Prepares, which a primary must not: whoever counts them counts it twice.
    """

    @override
    def outgoing(self, to: int, message: AnyMessage) -> Iterable[AnyMessage]:
        if isinstance(message, PrePrepare):
            self.conspiracy.learn(message)
            told = self.other_story(message) if self.conspiracy.side_of(to) else message
            self.conspiracy.learn(told)
            prepare = Prepare(told.epoch, told.view, told.sequence, told.digest, told.replica, b"")
            commit = Commit(told.epoch, told.view, told.sequence, told.digest, told.replica, b"")
            return (told, self.resigned(prepare), self.resigned(commit))
        if isinstance(message, Prepare | Commit):
            digests = sorted(self.conspiracy.digests.get(message.sequence, {message.digest}))
            return [self.revoted(message, digest=digest) for digest in digests]
        return (message,)

    def other_story(self, message: PrePrepare) -> PrePrepare:
        """Return another proposal for the same slot."""
        batch = decode_batch(message.batch)
        other = encode_batch(msgspec.structs.replace(batch, ts_ms=batch.ts_ms + 1))
        return self.resigned(message, digest=digest_of(other), batch=other)


class OpenEquivocator(EquivocatingPrimary):
    """Proposes two batches to everybody, for one slot."""

    @override
    def outgoing(self, to: int, message: AnyMessage) -> Iterable[AnyMessage]:
        if not isinstance(message, PrePrepare):
            return (message,)
        both = [message, self.other_story(message)]
        if self.conspiracy.side_of(to):
            both.reverse()
        return both


class DoubleVoter(Behaviour):
    """Votes for every digest it heard of and for one that it made up, in changing order."""

    @override
    def outgoing(self, to: int, message: AnyMessage) -> Iterable[AnyMessage]:
        if not isinstance(message, Prepare | Commit):
            return (message,)
        self.conspiracy.learn(message)
        known = self.conspiracy.digests[message.sequence]
        digests = sorted({*known, digest_of(b"made up" + message.digest)})
        if self.conspiracy.side_of(to):
            digests.reverse()
        votes: list[AnyMessage] = []
        for digest in digests:
            vote = self.revoted(message, digest=digest)
            votes += (vote, self._commit(vote), vote)
        return votes

    def _commit(self, vote: Prepare | Commit) -> Commit:
        commit = Commit(vote.epoch, vote.view, vote.sequence, vote.digest, vote.replica, b"")
        return self.resigned(commit)


class UnseenDigest(Behaviour):
    """Votes for batches nobody proposed, near, ahead, far beyond the window, in other views."""

    @override
    def outgoing(self, to: int, message: AnyMessage) -> Iterable[AnyMessage]:
        if not isinstance(message, Prepare | Commit):
            return (message,)
        rng = self.conspiracy.rng
        ahead = rng.choice((0, 1, 3, 17, 2**40))
        view = message.view + rng.choice((0, 0, 1, 2**40))
        digest = digest_of(b"unseen %d" % rng.randint(0, 3))
        lie = self.revoted(message, digest=digest, sequence=message.sequence + ahead, view=view)
        return (lie, message)
