"""What the services of one replica share, and the outbox of effects."""

from collections import Counter, OrderedDict, deque
from collections.abc import Callable

from dataplane.consensus.config import ReplicaConfig, Signer
from dataplane.consensus.evidence import Claim, EvidenceBook, proof_from
from dataplane.consensus.messages import (
    Accusation,
    AnyMessage,
    CheckpointCertificate,
    Commit,
    CommittedEntry,
    EquivocationProof,
    NewView,
    vote_payload,
)
from dataplane.consensus.outcome import Alarm, Broadcast, Effect, Evidence, Persist, Send
from dataplane.consensus.pending import PendingRequests
from dataplane.consensus.records import Record, ViewEntered, ViewLeft, encode_record
from dataplane.consensus.slots import Slot

FORKS_MAX = 100
"""So many sequences at which the history forked are told of."""


class Archive:
    """Decided batches kept for execution and for peers that lag; bounded, oldest dropped first."""

    def __init__(self, count_max: int, bytes_max: int) -> None:
        self._entries: OrderedDict[int, CommittedEntry] = OrderedDict()
        self._count_max = count_max
        self._bytes_max = bytes_max
        self._size_bytes = 0

    def __contains__(self, sequence: int) -> bool:
        return sequence in self._entries

    def __len__(self) -> int:
        return len(self._entries)

    @property
    def last(self) -> int:
        """The highest sequence held, 0 when there is none."""
        return max(self._entries, default=0)

    def beyond(self, sequence: int) -> list[CommittedEntry]:
        """Return the entries above a sequence, in order."""
        return [self._entries[s] for s in sorted(self._entries) if s > sequence]

    def get(self, sequence: int) -> CommittedEntry | None:
        """Return the entry, None when it was never here or is gone."""
        return self._entries.get(sequence)

    def add(self, sequence: int, entry: CommittedEntry) -> None:
        """Keep an entry."""
        assert sequence not in self._entries
        self._entries[sequence] = entry
        self._size_bytes += len(entry.batch)

    def trim(self, executed: int) -> None:
        """Drop the oldest executed entries until the bounds hold."""
        while len(self._entries) > self._count_max or self._size_bytes > self._bytes_max:
            sequence = next(iter(self._entries))
            if sequence > executed:
                return
            self._size_bytes -= len(self._entries.pop(sequence).batch)


class ReplicaState:
    """The shared state of a replica's services.

    `view` is the view this replica is in; while it is not `active` it waits for the view's NewView
    and votes for nothing. `executed` is the last sequence whose execution was answered,
    `requested` the last one asked for; `stable` is h, the low watermark.
    """

    def __init__(self, config: ReplicaConfig, signer: Signer) -> None:
        self.config = config
        self.signer = signer
        self.view = 0
        self.active = True
        self.new_view: NewView | None = None
        """What opened the view; None in view 0 and while a view is not active."""
        self.stable = config.base
        self.stable_certificate: CheckpointCertificate | None = None
        self.past_certificate: CheckpointCertificate | None = None
        """The last one of an earlier epoch, until this epoch has its own.

        Who still is in that epoch can check it, copy its state and come to the epoch's end by the
        batches behind it, which nobody drops before: the new members must be able to begin.
        """
        self.executed = 0
        self.requested = 0
        self.prepared = 0
        """The highest sequence whose Commit was made here, unless a new view says it is void."""
        self.epoch_end: int | None = None
        """The last sequence of the epoch, once the change of members is executed."""
        self.ended = False
        self.slots: dict[int, Slot] = {}
        limits = config.limits
        self.archive = Archive(limits.retained_batches_max, limits.retained_bytes_max)
        self.past: dict[int, tuple[Commit, bytes]] = {}
        """Batches of earlier epochs that were executed here and whose certificate a crash took.

        The own Commit of each, and the batch: a quorum that repeats them helps a laggard on.
        """
        self.pending = PendingRequests(limits)
        self.diverged = False
        self.view_record: ViewLeft | ViewEntered | None = None
        self.view_label = 0
        self.copying = False
        """The state is about to be replaced: nothing executes."""
        self.amnesia = False
        """Votes may be forgotten: this replica learns, and signs nothing any more."""
        self.barrier = 0
        self.urgent_barrier = 0
        self.durable = 0
        self.marks: Counter[str] = Counter()
        self._effects: list[Effect] = []
        self._waiting: deque[tuple[int, Callable[[int], None]]] = deque()
        self._accused: list[int] = []
        self._forks: set[int] = set()
        self.evidence = EvidenceBook(limits.evidence_max, config.n)

    @property
    def primary(self) -> int:
        """The id of the current view's primary."""
        return self.config.primary(self.view)

    @property
    def is_primary(self) -> bool:
        """Whether this replica leads the current view, once it is active."""
        return self.primary == self.config.replica_id

    @property
    def leads(self) -> bool:
        """Whether this replica may propose now."""
        return self.active and not self.is_mute and self.is_primary

    @property
    def is_mute(self) -> bool:
        """Whether this replica must not vote or propose."""
        return self.is_deaf or self.amnesia

    @property
    def is_deaf(self) -> bool:
        """Whether this replica has no use for proposals: its state is not one to go on from."""
        return self.is_out or self.copying or self.precedes_epoch

    @property
    def is_out(self) -> bool:
        """Whether this replica takes no part in the view at all."""
        return self.diverged or self.ended or self.config.is_learner

    @property
    def is_ending(self) -> bool:
        """Whether the epoch's last sequence is known and not executed yet."""
        return self.epoch_end is not None and self.executed < self.epoch_end

    @property
    def precedes_epoch(self) -> bool:
        """Whether the state is older than the epoch: a node that joined later begins so.

        It knows no members of earlier epochs, so no decision of theirs can be checked here.
        """
        return self.executed < self.config.base

    @property
    def high(self) -> int:
        """H, the high watermark; never beyond the end of the epoch."""
        high = self.stable + self.config.limits.window
        return high if self.epoch_end is None else min(high, self.epoch_end)

    @property
    def proven(self) -> int:
        """The newest sequence whose state has a certificate of this epoch.

        An epoch begins at its base without one; its members sign that state first of all.
        """
        is_certified = self.stable_certificate is not None or not self.config.base
        return self.stable if is_certified else self.config.base - 1

    @property
    def certified(self) -> int:
        """The sequence of the newest certificate here, as others are told of it.

        One of an earlier epoch is told as before the beginning of this one, also one of its end.
        """
        if self.stable_certificate is not None or not self.config.base:
            return self.stable
        past = self.past_certificate
        return 0 if past is None else min(past.sequence, self.config.base - 1)

    def certificate_of(self, epoch: int) -> CheckpointCertificate | None:
        """Return the newest certificate here if members of an epoch can check it."""
        newest = self.stable_certificate or self.past_certificate
        return newest if newest is not None and newest.epoch == epoch else None

    @property
    def superseded(self) -> int:
        """The last sequence whose batch nobody needs who copies the stable state.

        A replica that catches up executes far beyond its own stable checkpoint before it hears of a
        newer one; what it keeps must have a bound all the same. Until the state that an epoch began
        with is certified, the way there from the last certified one is kept. What was decided
        more than L behind the beginning proves that a quorum has a certificate of this epoch.
        """
        behind = self.executed - self.config.limits.window
        if self.stable_certificate is None and 0 < self.config.base >= behind:
            return 0 if self.past_certificate is None else self.past_certificate.sequence
        return min(self.executed, max(self.stable, behind))

    def unproven(self) -> dict[int, tuple[Commit, bytes]]:
        """Return executed batches whose certificate a crash took: the own Commit, and the batch."""
        found: dict[int, tuple[Commit, bytes]] = {}
        for sequence, slot in self.slots.items():
            commit = slot.commits.get(self.config.replica_id)
            if commit is None or not self.superseded < sequence <= self.executed:
                continue
            if sequence not in self.archive and commit.digest in slot.bodies:
                found[sequence] = (commit, slot.bodies[commit.digest])
        return found

    @property
    def promised(self) -> int | None:
        """No sequence above it was decided by a quorum that this replica was one of.

        A reader that asks a quorum meets an honest replica of every quorum that decided before.
        None for who takes no part, or may have forgotten its votes.
        """
        if self.is_out or self.amnesia:
            return None
        return max(self.executed, self.stable, self.prepared)

    @property
    def evidence_count(self) -> int:
        """How many accusations were made."""
        return len(self.evidence)

    def slot(self, sequence: int) -> Slot:
        """Return the slot of a sequence inside (h, h+2L], made when it is new."""
        assert sequence > self.stable
        slot = self.slots.get(sequence)
        if slot is None:
            slot = Slot(sequence)
            self.slots[sequence] = slot
        return slot

    def in_reach(self, sequence: int) -> bool:
        """Whether votes for the sequence are kept at all (bounded memory)."""
        return self.stable < sequence <= self.stable + 2 * self.config.limits.window

    def emit(self, effect: Effect) -> None:
        """Add an effect; the order of effects is the order of the calls."""
        self._effects.append(effect)

    def send(self, to: int, message: AnyMessage, after: int = 0) -> None:
        """Send to one other replica."""
        if to != self.config.replica_id:
            self.emit(Send(to, message, after))

    def broadcast(self, message: AnyMessage, after: int = 0) -> None:
        """Send to every other replica."""
        if self.config.n > 1 or self.config.is_learner:
            self.emit(Broadcast(message, after))

    def note(
        self, sequence: int, record: Record, then: Callable[[int], None] | None = None
    ) -> None:
        """Write a record that nothing urgent waits for; the next that counts takes it to disk."""
        self.barrier += 1
        self.emit(Persist((encode_record(record),), self.barrier, sequence, is_urgent=False))
        if then is not None:
            self._waiting.append((self.barrier, then))

    def persist_view(self, record: ViewLeft | ViewEntered, then: Callable[[int], None]) -> int:
        """Write down where this replica stands; the log keeps it until it is written again."""
        self.view_record = record
        self.view_label = self.high
        return self.persist(self.view_label, record, then=then)

    def keep_view_record(self) -> None:
        """Write the view down again before the log may drop where it stands."""
        if self.view_record is not None and self.stable >= self.view_label:
            self.view_label = self.high
            self.note(self.view_label, self.view_record)

    def persist(self, sequence: int, *records: Record, then: Callable[[int], None]) -> int:
        """Write records; `then(now_ms)` runs once they are on disk. Return the barrier."""
        self.barrier += 1
        encoded = tuple(encode_record(record) for record in records)
        self.urgent_barrier = self.barrier
        self.emit(Persist(encoded, self.barrier, sequence))
        self._waiting.append((self.barrier, then))
        return self.barrier

    def reached(self, barrier: int, now_ms: int) -> None:
        """Run what waited for the barrier."""
        assert barrier <= self.barrier
        self.durable = max(self.durable, barrier)
        while self._waiting and self._waiting[0][0] <= self.durable:
            self._waiting.popleft()[1](now_ms)

    def take(self) -> list[Effect]:
        """Return the effects so far and forget them."""
        effects = self._effects
        self._effects = []
        return effects

    def take_accused(self) -> list[int]:
        """Return whom new evidence names, and forget it."""
        accused, self._accused = self._accused, []
        return accused

    def mark(self, rule: str) -> None:
        """Count that a rule of the protocol applied, for tests that ask which ones ever do."""
        self.marks[rule] += 1

    def alarm(self, code: str, detail: str, replica: int | None = None) -> None:
        """Tell the operator, also whose proposal was refused."""
        self.emit(Alarm(code, detail, replica))

    def sign_vote(self, kind: bytes, *, view: int, sequence: int, digest: bytes) -> bytes:
        """Return this replica's signature of a vote."""
        payload = vote_payload(
            kind,
            self.config.cluster_id,
            epoch=self.config.epoch,
            view=view,
            sequence=sequence,
            digest=digest,
        )
        return self.signer.sign(payload)

    def accuse(self, first: Claim, second: Claim) -> None:
        """Report two verified messages if they prove that their sender lied, and tell the others.

        What does not contradict each other is no accusation: nobody honest is ever named here.
        """
        proof = proof_from(first, second)
        if proof is not None and self.believe(proof, told_by=None):
            self.broadcast(Accusation((proof,)))

    def forked(self, sequence: int) -> None:
        """Tell that two quorums signed different things: more than f replicas lied.

        Who signed both is accused besides. Commits of two views do not contradict each other; the
        roots of the next checkpoints do.
        """
        if sequence in self._forks or len(self._forks) >= FORKS_MAX:
            return
        self._forks.add(sequence)
        self.alarm("forked", f"another quorum signed another history at {sequence}")

    def believe(self, proof: EquivocationProof, told_by: int | None) -> bool:
        """Report a checked proof once; return whether it was news."""
        if not self.evidence.note(proof):
            if not self.evidence.knows(proof):
                self.mark("evidence_bound_hit")
            return False
        self._accused.append(proof.replica)
        self.emit(Evidence(proof, told_by))
        return True
