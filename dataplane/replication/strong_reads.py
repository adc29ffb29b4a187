"""Linearizable reads without a place in the log: ask a quorum how far the log may be decided.

The idea of Raft's read index (Ongaro, "Consensus", 2014, section 6.4), with a quorum in place of a
leader. A sequence is decided by q Commits, and any q replicas asked afterwards share an honest one
with those: it promised that sequence. So the highest promise among q replicas, the *index*, covers
everything that was answered before the read began; once this node has executed so far, its state
holds all of it. Of the answers that come the q smallest promises serve as well as any: a liar who
promises too much is passed over.

That the own row is the agreed one, and not what a broken disk made of it, is then compared like
any result: f+1 replicas (q where f is 0) that executed the index must hold the same row.

An epoch's last sequence is one that its members promised and executed before they went on. Answers
count only among replicas that are in the reader's epoch when they answer, and a promise of the
epoch's end makes the reader execute it and ask again among its successors.

Pure: no clock, no I/O. What stays undecided is ordered like a write by the caller.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Final

from dataplane.replication.peer_messages import PLACES_MAX, IndexAnswer, IndexAsk
from dataplane.replication.polls import Place, digest_of_row
from dataplane.wire.proofs import HASH_BYTES
from dataplane.wire.quorum import quorum_size, reply_quorum

ROUNDS_MAX: Final = 2
"""Rounds under way at once; whoever comes meanwhile shares the next one."""
WAITING_MAX: Final = 4_096
HELD_PER_PEER_MAX: Final = 4
"""Peers' questions that wait for this node's execution."""
PATIENCE_MS: Final = 100
"""After so long everybody is asked for everything, after twice as long a round is given up."""


@dataclass(frozen=True, slots=True)
class Confirmed:
    """What this node holds after `sequence`, and enough others after `index` or later.

    Everything that was acknowledged before the read began is at or below `index`. The row is None
    when the document is absent, or none was asked for.
    """

    row: bytes | None
    index: int
    sequence: int


type Done = Callable[[Confirmed | None], None]
"""Called once: with what is confirmed, or None when the read must be ordered."""


@dataclass(eq=False, slots=True)
class Wish:
    """One read on its way; without a place it only waits for the index."""

    place: Place | None
    done: Done


@dataclass(eq=False, slots=True)
class Round:
    """One question to the others, for several reads."""

    number: int
    asked_ms: int
    wishes: list[Wish]
    places: dict[Place, int]
    """Which documents, and where the digest of each begins in an answer."""
    promised: dict[int, int]
    """The first promise of each replica that answered."""
    sources: set[int]
    """Whose rows were asked for."""
    answers: dict[int, IndexAnswer] = field(default_factory=dict)
    """The last answer with rows of each replica."""
    again: bool = False
    """Whether rows were asked for a second time, at the index."""


@dataclass(frozen=True, slots=True)
class IndexPorts:
    """What these reads need of the node around them."""

    read: Callable[[str, str], bytes | None]
    executed: Callable[[], int]
    epoch: Callable[[], int]
    """The epoch that follows what was executed: one ahead of the members' for a moment."""
    promised: Callable[[], int | None]
    """See `Replica.promised`."""
    reachable: Callable[[int], bool]
    send: Callable[[int, IndexAsk | IndexAnswer], None]


class StrongReads:
    """The reads of one node's gateway, and the answers it gives to the others."""

    def __init__(self, me: int, ports: IndexPorts) -> None:
        self._me = me
        self._ports = ports
        self._epoch = 0
        self._peers: tuple[int, ...] = ()
        self._quorum = self._needed = 1
        self._made = 0
        self._waiting: list[Wish] = []
        self._rounds: dict[int, Round] = {}
        self._held: dict[int, list[IndexAsk]] = {}
        self._late: set[int] = set()
        """Who let a round wait for rows, and is asked last."""

    def set_members(self, epoch: int, members: Iterable[int]) -> None:
        """Ask among the members of an epoch; what was under way begins again among them."""
        ids = tuple(members)
        self._epoch = epoch
        self._peers = tuple(peer for peer in ids if peer != self._me)
        self._quorum, self._needed = quorum_size(len(ids)), reply_quorum(len(ids))
        self._held.clear()
        self._late.clear()
        begun = [wish for round_ in self._rounds.values() for wish in round_.wishes]
        self._rounds.clear()
        self._waiting[:0] = begun

    @property
    def open_count(self) -> int:
        """How many reads wait."""
        return len(self._waiting) + sum(len(round_.wishes) for round_ in self._rounds.values())

    # --- The gateway's side ---------------------------------------------------------------------

    def wish(self, place: Place | None, done: Done) -> bool:
        """Take a read for the next round; False when it must be ordered."""
        if self._ports.promised() is None or self.open_count >= WAITING_MAX:
            return False
        self._waiting.append(Wish(place, done))
        return True

    def flush(self, now_ms: int) -> None:
        """Ask for what waits, unless enough questions are under way."""
        while self._waiting and len(self._rounds) < ROUNDS_MAX:
            promised = self._ports.promised()
            if promised is None:
                self.stop()
                return
            wishes, self._waiting = self._waiting[:PLACES_MAX], self._waiting[PLACES_MAX:]
            self._begin(wishes, promised, now_ms)

    def _begin(self, wishes: list[Wish], promised: int, now_ms: int) -> None:
        self._made += 1
        wanted = dict.fromkeys(wish.place for wish in wishes if wish.place is not None)
        places = {place: index * HASH_BYTES for index, place in enumerate(wanted)}
        round_ = Round(
            self._made, now_ms, wishes, places, {self._me: promised}, self._sources(places)
        )
        self._rounds[round_.number] = round_
        for peer in self._peers:
            self._ask(round_, peer, 0)
        self._settle(round_)

    def _sources(self, places: dict[Place, int]) -> set[int]:
        """Return whose rows to compare with: as few as are needed, others each time."""
        if not places or not self._peers:
            return set()
        start = self._made % len(self._peers)
        turn = self._peers[start:] + self._peers[:start]
        near = [peer for peer in turn if self._ports.reachable(peer)]
        return set(sorted(near, key=self._late.__contains__)[: self._needed - 1])

    def _ask(self, round_: Round, peer: int, at_least: int) -> None:
        places = tuple(round_.places) if peer in round_.sources else ()
        self._ports.send(peer, IndexAsk(round_.number, self._epoch, at_least, places))

    def _settle(self, round_: Round) -> None:
        """Answer what can be answered; ask again where an answer came too early."""
        if len(round_.promised) < self._quorum or self._is_over:
            return
        index = sorted(round_.promised.values())[self._quorum - 1]
        if self._ports.executed() < index:
            return
        fresh = [answer for answer in round_.answers.values() if answer.executed >= index]
        round_.wishes = [
            wish for wish in round_.wishes if not self._fulfil(wish, round_, fresh, index)
        ]
        if not round_.wishes:
            del self._rounds[round_.number]
            return
        if len(fresh) < len(round_.answers) and not round_.again:
            round_.again = True
            for peer, answer in round_.answers.items():
                if answer.executed < index:
                    self._ask(round_, peer, index)
        elif len(fresh) == len(round_.sources):
            self._widen(round_, index)

    @property
    def _is_over(self) -> bool:
        """Whether the epoch ended here: what follows is up to its successors."""
        return self._ports.epoch() != self._epoch

    def _fulfil(self, wish: Wish, round_: Round, fresh: list[IndexAnswer], index: int) -> bool:
        executed = self._ports.executed()
        if wish.place is None:
            wish.done(Confirmed(None, index, executed))
            return True
        if len(fresh) + 1 < self._needed:
            return False
        row = self._ports.read(*wish.place)
        start = round_.places[wish.place]
        told = [answer.digests[start : start + HASH_BYTES] for answer in fresh]
        if told.count(digest_of_row(row)) + 1 < self._needed:
            return False
        wish.done(Confirmed(row, index, executed))
        return True

    def _widen(self, round_: Round, index: int) -> None:
        """Ask the rest for their rows too; once all were asked, leave the read to the log."""
        rest = set(self._peers) - round_.sources
        if not rest:
            self._give_up(round_)
            return
        round_.sources |= rest
        for peer in rest:
            self._ask(round_, peer, index)

    def _give_up(self, round_: Round) -> None:
        del self._rounds[round_.number]
        for wish in round_.wishes:
            wish.done(None)

    def stop(self) -> None:
        """Leave every read to the log."""
        waiting, self._waiting = self._waiting, []
        for round_ in list(self._rounds.values()):
            self._give_up(round_)
        for wish in waiting:
            wish.done(None)

    # --- The node's side ------------------------------------------------------------------------

    def on_tick(self, now_ms: int) -> None:
        """Widen rounds that take long, and give up those that take longer."""
        for round_ in list(self._rounds.values()):
            waited_ms = now_ms - round_.asked_ms
            if waited_ms >= 2 * PATIENCE_MS:
                self._give_up(round_)
            elif waited_ms >= PATIENCE_MS and round_.sources != set(self._peers):
                self._late |= round_.sources - round_.answers.keys()
                round_.sources = set(self._peers)
                for peer in self._peers:
                    self._ask(round_, peer, 0)
        self.flush(now_ms)

    def on_executed(self, now_ms: int) -> None:
        """This node executed more: answer whom that lets answer, and settle."""
        executed = self._ports.executed()
        for sender, held in list(self._held.items()):
            ready = [ask for ask in held if ask.at_least <= executed]
            self._held[sender] = [ask for ask in held if ask.at_least > executed]
            for ask in ready:
                self._answer(sender, ask)
        for round_ in list(self._rounds.values()):
            self._settle(round_)
        self.flush(now_ms)

    def on_ask(self, sender: int, ask: IndexAsk) -> None:
        """Answer a peer: at once, or when its question needs a later state than this one."""
        promised = self._ports.promised()
        if promised is None or ask.epoch != self._epoch or self._is_over:
            return
        # Rows older than the own promise would be too old for the index, most likely.
        at_least = max(ask.at_least, promised) if ask.places else 0
        if at_least <= self._ports.executed():
            self._answer(sender, ask)
            return
        held = self._held.setdefault(sender, [])
        held.append(IndexAsk(ask.number, ask.epoch, at_least, ask.places))
        del held[:-HELD_PER_PEER_MAX]

    def _answer(self, sender: int, ask: IndexAsk) -> None:
        promised = self._ports.promised()
        if promised is None or self._is_over:
            return
        digests = b"".join([digest_of_row(self._ports.read(*place)) for place in ask.places])
        executed = self._ports.executed()
        answer = IndexAnswer(ask.number, self._epoch, promised, executed, digests)
        self._ports.send(sender, answer)

    def on_answer(self, sender: int, answer: IndexAnswer, now_ms: int) -> None:
        """Take a peer's answer; one that nobody waits for is dropped."""
        round_ = self._rounds.get(answer.number)
        if round_ is None or answer.epoch != self._epoch or sender not in self._peers:
            return
        round_.promised.setdefault(sender, answer.promised)
        if answer.digests and len(answer.digests) == HASH_BYTES * len(round_.places):
            round_.answers[sender] = answer
            self._late.discard(sender)
        self._settle(round_)
        self.flush(now_ms)
