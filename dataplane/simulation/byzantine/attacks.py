"""What a real node can be made to do wrong, by the names that its start command takes.

The behaviours of the simulation lie with protocol messages. These are for nodes that are
processes: some deliver late or not at all, have a wrong clock, an old state to show or a damaged
disk, and some lie in more places than the simulated network has.
"""

import asyncio
import random
from collections import OrderedDict
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Final, override

import msgspec

from dataplane.client.spec import NodeSpec
from dataplane.consensus.config import Signer
from dataplane.consensus.messages import (
    AnyMessage,
    Commit,
    Prepare,
    PrePrepare,
    Replies,
    decode_message,
    digest_of,
    encode_message,
)
from dataplane.documents.tables import DOCUMENT
from dataplane.documents.view import StateView
from dataplane.ports import Clock, SystemClock
from dataplane.replication.peer_messages import (
    MARK,
    FragmentAnswer,
    IndexAnswer,
    ReadAnswer,
    decode_peer_message,
    encode_peer_message,
)
from dataplane.replication.polls import digest_of_row
from dataplane.simulation.byzantine.behaviour import Behaviour, Conspiracy
from dataplane.simulation.byzantine.reads import flipped_fragment, lie_to_reader
from dataplane.simulation.byzantine.votes import EquivocatingPrimary
from dataplane.storage.engine import RocksStore
from dataplane.wire.errors import MalformedMessageError

DELAY_S: Final = (0.5, 1.5)
LOST_SHARE: Final = 0.7
SKEW_MS: Final = 3_600_000
PLACES_MAX: Final = 10_000
STORIES_MAX: Final = 64
LIE_EVERY: Final = 16
"""Nodes keep a few hundred proofs against one: it should be worth watching more than once."""

type Deliver = Callable[[int, bytes], None]
type Place = tuple[int, int, int]
"""(epoch, view, sequence)"""


class Attack:
    """Says everything as it is; attacks on what is said override `outgoing`."""

    def outgoing(self, to: int, payload: bytes, deliver: Deliver) -> None:
        """Deliver what is really sent to a peer instead of `payload`, now or later."""
        deliver(to, payload)

    def incoming(self, sender: int, frames: Iterable[bytes], deliver: Deliver) -> None:
        """Hear what a peer says before the node does, and answer it if that serves the lie."""


class Late(Attack):
    """Every message leaves between half a second and one and a half seconds late."""

    def __init__(self, rng: random.Random) -> None:
        self._rng = rng

    @override
    def outgoing(self, to: int, payload: bytes, deliver: Deliver) -> None:
        delay_s = self._rng.uniform(*DELAY_S)
        asyncio.get_running_loop().call_later(delay_s, deliver, to, payload)


class Lossy(Attack):
    """Seven messages of ten never leave."""

    def __init__(self, rng: random.Random) -> None:
        self._rng = rng

    @override
    def outgoing(self, to: int, payload: bytes, deliver: Deliver) -> None:
        if self._rng.random() >= LOST_SHARE:
            deliver(to, payload)


class Said(Attack):
    """Says what a behaviour of the simulation makes of each protocol message."""

    def __init__(self, behaviour: Behaviour) -> None:
        self._behaviour = behaviour

    @override
    def outgoing(self, to: int, payload: bytes, deliver: Deliver) -> None:
        if payload.startswith(MARK):
            deliver(to, payload)
            return
        for said in self._behaviour.outgoing(to, decode_message(payload)):
            deliver(to, encode_message(said))

    @override
    def incoming(self, sender: int, frames: Iterable[bytes], deliver: Deliver) -> None:
        if not isinstance(self._behaviour, Equivocator):
            return
        for frame in frames:
            if frame.startswith(MARK):
                continue
            try:
                message = decode_message(frame)
            except MalformedMessageError:
                continue
            for vote in self._behaviour.hear(sender, message):
                deliver(sender, encode_message(vote))


class Equivocator(EquivocatingPrimary):
    """Leads with two stories at once, and votes for whichever story the peer it talks to believes.

    One of them is caught: the others show each other what it signed. Several of them vote for each
    other's stories, which is what a cluster bears up to f of.
    """

    def __init__(self, signer: Signer, conspiracy: Conspiracy) -> None:
        super().__init__(signer, conspiracy)
        self._believed: OrderedDict[tuple[int, Place], bytes] = OrderedDict()

    def hear(self, sender: int, message: AnyMessage) -> list[AnyMessage]:
        """Learn what a peer believes of a place in the log, and vote for it."""
        if not isinstance(message, PrePrepare | Prepare | Commit):
            return []
        return self._agree(sender, message, message.digest)

    def _agree(
        self, peer: int, message: PrePrepare | Prepare | Commit, digest: bytes
    ) -> list[AnyMessage]:
        place = (message.epoch, message.view, message.sequence)
        if (peer, place) in self._believed:
            return []
        self._believed[peer, place] = digest
        if len(self._believed) > STORIES_MAX * self.conspiracy.n:
            self._believed.popitem(last=False)
        me = min(self.conspiracy.liars)
        votes: list[AnyMessage] = [
            self.resigned(Prepare(*place, digest, me, b"")),
            self.resigned(Commit(*place, digest, me, b"")),
        ]
        if message.sequence % LIE_EVERY == 0:
            # For nothing at all: it gives it away even where there is one story only.
            lie = Commit(*place, digest_of(b"made up" + digest), me, b"")
            votes.append(self.resigned(lie))
        return votes

    @override
    def outgoing(self, to: int, message: AnyMessage) -> Iterable[AnyMessage]:
        if isinstance(message, PrePrepare):
            told = self.other_story(message) if self.conspiracy.side_of(to) else message
            return [told, *self._agree(to, message, told.digest)]
        if isinstance(message, Prepare | Commit):
            # Kept back: a vote that the peer does not share would be wasted on it.
            return []
        return [message]


class ForgedReplies(Said):
    """Answers the other gateways with results and documents that nobody agreed on."""

    def __init__(self, behaviour: Behaviour, rng: random.Random) -> None:
        super().__init__(behaviour)
        self._rng = rng

    @override
    def outgoing(self, to: int, payload: bytes, deliver: Deliver) -> None:
        if not payload.startswith(MARK):
            message = decode_message(payload)
            if isinstance(message, Replies):
                payload = encode_message(_false(message))
            super().outgoing(to, payload, deliver)
            return
        told = decode_peer_message(payload)
        match told:
            case ReadAnswer():
                payload = encode_peer_message(_forged(told))
            case IndexAnswer():
                lie = lie_to_reader(told, self._rng)
                if lie is None:
                    return
                payload = encode_peer_message(lie)
            case _:
                pass
        deliver(to, payload)


def _false(replies: Replies) -> Replies:
    return Replies(
        tuple(
            msgspec.structs.replace(reply, digest=digest_of(b"forged" + reply.digest))
            for reply in replies.replies
        )
    )


def _forged(answer: ReadAnswer) -> ReadAnswer:
    row = None if answer.row is None else flipped(answer.row)
    digest = digest_of(b"forged" + answer.digest) if row is None else digest_of_row(row)
    return msgspec.structs.replace(answer, row=row, digest=digest)


def flipped(row: bytes) -> bytes:
    """Return a row with the lowest bit of its last byte turned."""
    return row[:-1] + bytes([row[-1] ^ 1])


class ForgedFragments(Attack):
    """Gives every peer that asks for a fragment of a segment another one of the same length."""

    @override
    def outgoing(self, to: int, payload: bytes, deliver: Deliver) -> None:
        if payload.startswith(MARK):
            told = decode_peer_message(payload)
            if isinstance(told, FragmentAnswer) and told.fragment is not None:
                forged = flipped_fragment(told.fragment)
                payload = encode_peer_message(msgspec.structs.replace(told, fragment=forged))
        deliver(to, payload)


class WrongClock(Clock):
    """An hour ahead of everybody."""

    def __init__(self) -> None:
        self._right = SystemClock()

    @override
    def now_ms(self) -> int:
        return self._right.now_ms() + SKEW_MS


class OldView(StateView):
    """Shows every document for ever as it was when it was first asked for."""

    def __init__(self, view: StateView) -> None:
        # One and the same state: what is not overridden here is shown as it is.
        self.__dict__ = view.__dict__
        self._now = view
        self._remembered: OrderedDict[tuple[str, str], bytes | None] = OrderedDict()

    @override
    def row(self, collection: str, document_id: str) -> bytes | None:
        place = (collection, document_id)
        if place not in self._remembered:
            self._remembered[place] = self._now.row(collection, document_id)
            if len(self._remembered) > PLACES_MAX:
                self._remembered.popitem(last=False)
        return self._remembered[place]


def corrupt(spec: NodeSpec) -> str | None:
    """Turn one bit of the last stored document, below everything that would notice.

    Returns the key of its row as hex, None when nothing is stored.
    """
    store = RocksStore(Path(spec.data_dir) / "state")
    try:
        found = next(iter(store.iterate(DOCUMENT, reverse=True)), None)
        if found is None:
            return None
        store.write({found[0]: flipped(found[1])})
        return found[0].hex()
    finally:
        store.close()
