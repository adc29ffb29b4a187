"""Segments put together from the fragments of their holders, which ask each other for them.

What a holder gives is compared with the digest in the segment's row, on which all agree: a liar
can withhold, and is passed over, but not forge. As many holders are asked at once as are missing;
one that takes long, has none or lies is replaced by the next.
"""

import asyncio
import logging
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final, Literal

from dataplane.documents.cold import SegmentRecord
from dataplane.documents.own_fragments import OwnFragments
from dataplane.replication.errors import NotReadyError
from dataplane.replication.peer_messages import FragmentAnswer, FragmentAsk
from dataplane.storage.erasure import decode, digest, fragment_bytes, is_sound
from dataplane.storage.fragments import unpack

log = logging.getLogger(__name__)

PATIENCE_MS: Final = 100
"""After so long without an answer another holder is asked too."""
AGAIN_MS: Final = 500
"""And so long after it was asked, one that had nothing to give is asked again."""
ROUNDS_MAX: Final = 4
"""So often, before its reader is told: a client does better to try again later than to wait."""
WINDOW_MS: Final = 1_000
ANSWERS_MAX: Final = 128
ANSWERED_BYTES_MAX: Final = 16 * 1024 * 1024
"""For one peer in a window, so that what it asks for takes nothing of note from the rest."""
QUEUED_BYTES_MAX: Final = 8 * 1024 * 1024
"""Fragments wait while so much goes to a peer already: the protocol's messages go the same way."""

type Word = Literal["silent", "away", "later", "none", "wrong", "honest"]
"""How a holder stands: what it said last, or why it said nothing."""
_WORDS: Final[dict[Word, str]] = {
    "silent": "did not answer",
    "away": "is not reachable",
    "later": "is too busy",
    "none": "has no honest fragment",
    "wrong": "gave a wrong fragment",
}


@dataclass(frozen=True, slots=True)
class FragmentPorts:
    """What this needs of the node around it."""

    own: OwnFragments
    reachable: Callable[[int], bool]
    queued_bytes: Callable[[int], int]
    """How much waits for a peer to read."""
    send: Callable[[int, FragmentAsk | FragmentAnswer], None]
    refuse: Callable[[int, str, str], None]
    """Note what a peer should not have sent: who, what, why."""
    now_ms: Callable[[], int]


@dataclass(eq=False, slots=True)
class Gathering:
    """A segment on its way."""

    record: SegmentRecord
    holders: tuple[int, ...]
    """The other members that keep a fragment, in the order in which they are asked."""
    ends_ms: int
    fragments: dict[int, bytes] = field(default_factory=dict)
    """The honest ones by their places."""
    words: dict[int, Word] = field(default_factory=dict)
    asked_ms: dict[int, int] = field(default_factory=dict)
    rounds: Counter[int] = field(default_factory=Counter)
    """How often each was asked."""
    numbers: list[int] = field(default_factory=list)
    """Of the questions that were sent."""
    changed: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def missing(self) -> int:
        """How many fragments are missing."""
        return self.record.k - len(self.fragments)

    @property
    def is_hopeless(self) -> bool:
        """Whether those who may still give a fragment are too few."""
        return sum(1 for holder in self.holders if self._may_give(holder)) < self.missing

    def _may_give(self, holder: int) -> bool:
        match self.words.get(holder):
            case "honest" | "wrong":
                return False
            case "none" | "away":
                return self.rounds[holder] < ROUNDS_MAX
            case _:
                return True

    def next_holders(self, now_ms: int) -> list[int]:
        """Return whom to ask now."""
        patient = [
            holder
            for holder in self.holders
            if self.words.get(holder) == "silent" and now_ms - self.asked_ms[holder] < PATIENCE_MS
        ]
        wanted = self.missing - len(patient)
        fresh = [holder for holder in self.holders if holder not in self.words]
        again = [
            holder
            for holder in sorted(self.asked_ms, key=self.asked_ms.__getitem__)
            if self.words[holder] in {"silent", "away", "later", "none"}
            and now_ms - self.asked_ms[holder] >= AGAIN_MS
        ]
        return [*fresh, *again][: max(0, wanted)]

    def explain(self, me: int) -> str:
        """Say what is missing."""
        record = self.record
        said: list[str] = []
        if me in record.members and record.members.index(me) not in self.fragments:
            said.append("this node's own is missing or damaged")
        for holder in sorted(self.words):
            word = _WORDS.get(self.words[holder])
            if word is not None:
                said.append(f"node {holder} {word}")
        found = f"{len(self.fragments)} of {record.k} fragments of segment {record.number}"
        return f"a cold document cannot be read now: {found} are there; {', '.join(said)}"


class Fragments:
    """One node's part: gathers for its own readers, and answers its peers."""

    def __init__(self, ports: FragmentPorts) -> None:
        self._ports = ports
        self._made = 0
        self._open: dict[int, tuple[int, Gathering]] = {}
        """Questions by number: whom they went to, and what for."""
        self._window_ms = 0
        self._answers: Counter[int] = Counter()
        self._answered_bytes: Counter[int] = Counter()
        self.wrong: Counter[int] = Counter()
        """How many wrong fragments each peer gave."""
        self.fetched = 0
        """Fragments that came from peers and were honest."""

    # --- The reader's side ----------------------------------------------------------------------

    async def gather(self, record: SegmentRecord, *, timeout_ms: int) -> bytes | None:
        """Return a segment, its digest checked; None when its holders need not keep it any more.

        Raises:
            NotReadyError: Too few holders gave an honest fragment in time; says who did not.
        """
        gathering = self.begin(record, timeout_ms=timeout_ms)
        try:
            while not self.is_complete(gathering):
                await _either(gathering.changed, PATIENCE_MS)
                if self.is_over(record):
                    return None
        finally:
            self.end(gathering)
        return whole(gathering)

    def begin(self, record: SegmentRecord, *, timeout_ms: int) -> Gathering:
        """Begin with the own fragment; nobody is asked yet."""
        ports = self._ports
        ends_ms = ports.now_ms() + timeout_ms
        gathering = Gathering(record, self._in_turn(record), ends_ms)
        own = ports.own.fragment(record)
        if own is not None:
            gathering.fragments[record.members.index(ports.own.member)] = own
        return gathering

    def is_complete(self, gathering: Gathering) -> bool:
        """Whether the fragments are enough; ask for more when it is time to.

        Raises:
            NotReadyError: They will not be, or not in time.
        """
        if gathering.missing <= 0:
            return True
        now_ms = self._ports.now_ms()
        if now_ms >= gathering.ends_ms or gathering.is_hopeless:
            raise NotReadyError(gathering.explain(self._ports.own.member))
        self._ask(gathering, now_ms)
        return gathering.missing <= 0

    def is_over(self, record: SegmentRecord) -> bool:
        """Whether its holders need not keep a segment any more: it is gone, or elsewhere."""
        present = self._ports.own.table().segment(record.number)
        return present is None or present.tier != record.tier

    def end(self, gathering: Gathering) -> None:
        """Forget what was asked."""
        for asked in gathering.numbers:
            self._open.pop(asked, None)

    def _in_turn(self, record: SegmentRecord) -> tuple[int, ...]:
        """Return the other holders, another first for each segment; liars and who is away last."""
        start = record.number % len(record.members)
        turn = record.members[start:] + record.members[:start]
        others = [holder for holder in turn if holder != self._ports.own.member]
        reachable = self._ports.reachable
        return tuple(sorted(others, key=lambda who: (not reachable(who), self.wrong[who])))

    def _ask(self, gathering: Gathering, now_ms: int) -> None:
        gathering.changed.clear()
        while holders := gathering.next_holders(now_ms):
            for holder in holders:
                gathering.asked_ms[holder] = now_ms
                gathering.rounds[holder] += 1
                if not self._ports.reachable(holder):
                    gathering.words[holder] = "away"
                    continue
                gathering.words[holder] = "silent"
                self._made += 1
                self._open[self._made] = (holder, gathering)
                gathering.numbers.append(self._made)
                self._ports.send(holder, FragmentAsk(self._made, gathering.record.number))

    def on_answer(self, sender: int, answer: FragmentAnswer) -> None:
        """Take a peer's fragment; one that nobody waits for is dropped."""
        holder, gathering = self._open.get(answer.number, (None, None))
        if gathering is None or holder != sender:
            return
        # An answer to an earlier life of this node may have the number of a question of this one.
        if answer.segment != gathering.record.number:
            return
        del self._open[answer.number]
        gathering.words[sender] = self._word(sender, answer, gathering)
        gathering.changed.set()

    def _word(self, sender: int, answer: FragmentAnswer, gathering: Gathering) -> Word:
        if answer.fragment is None:
            return "later" if answer.later else "none"
        record = gathering.record
        place = record.members.index(sender)
        fragment = unpack(answer.fragment, fragment_bytes(record.size, record.k))
        if fragment is not None and is_sound(fragment, place, record.fragments):
            gathering.fragments[place] = fragment
            self.fetched += 1
            return "honest"
        self.wrong[sender] += 1
        self._ports.refuse(sender, "FragmentAnswer", "wrong_digest")
        log.warning("cold.wrong_fragment", extra={"peer": sender, "segment": record.number})
        return "wrong"

    # --- The holder's side ----------------------------------------------------------------------

    def on_ask(self, sender: int, ask: FragmentAsk) -> None:
        """Answer a peer from this node's store, as far as it may ask in this second."""
        ports, now_ms = self._ports, self._ports.now_ms()
        if not 0 <= now_ms - self._window_ms < WINDOW_MS:
            self._window_ms = now_ms
            self._answers.clear()
            self._answered_bytes.clear()
        self._answers[sender] += 1
        is_spent = (
            self._answers[sender] > ANSWERS_MAX
            or self._answered_bytes[sender] >= ANSWERED_BYTES_MAX
            or ports.queued_bytes(sender) > QUEUED_BYTES_MAX
        )
        if is_spent:
            if self._answers[sender] <= 2 * ANSWERS_MAX:
                ports.send(sender, FragmentAnswer(ask.number, ask.segment, None, later=True))
            return
        record = ports.own.table().segment(ask.segment)
        packed = None
        if record is not None:
            # Reading and comparing is the work, whatever comes of it.
            self._answered_bytes[sender] += fragment_bytes(record.size, record.k)
            packed = ports.own.packed(record)
        ports.send(sender, FragmentAnswer(ask.number, ask.segment, packed, later=False))


def whole(gathering: Gathering) -> bytes:
    """Return the segment that enough fragments make.

    Raises:
        NotReadyError: They do not make it up.
    """
    record = gathering.record
    segment = decode(gathering.fragments, record.k, len(record.members), record.size)
    if digest(segment) != record.digest:
        # Each fragment is the agreed one: then what was agreed on is no code of the segment.
        log.error("cold.segment_inconsistent", extra={"segment": record.number})
        raise NotReadyError(f"the fragments of segment {record.number} do not make it up")
    return segment


async def _either(changed: asyncio.Event, timeout_ms: int) -> None:
    """Wait for a change, but not longer."""
    try:
        async with asyncio.timeout(timeout_ms / 1000):
            await changed.wait()
    except TimeoutError:
        return
