"""Copying the state of a certified checkpoint from peers that none of them need be trusted.

Theory of operation. A replica that is behind everybody's retained batches, or whose own state is
proved wrong, takes the newest checkpoint certificate it holds as its target: q signatures vouch
for the root, the root for everything below. It walks the tree from the root, skips what equals its
own, and asks all peers at once, each for another part. Every part is checked against the digest its
parent names before it is kept, so a lie is seen at once: the liar is not asked again for this
target. A slow or silent peer is asked again only after a while, growing; nothing depends on the
primary, and nothing on client traffic. A target that enough peers no longer hold is given up for a
newer one; the parts are kept by their digests, so that what did not change is not fetched twice.

Until the copy is complete the own state is untouched, and no batch executes. Then the driver
replaces it in one step that a crash cannot halve, the replica continues at the checkpoint, fetches
the batches behind it and votes.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final

from dataplane.consensus.checkpoints import Checkpoints
from dataplane.consensus.messages import (
    BatchesGone,
    CheckpointCertificate,
    CheckpointGone,
    FetchNodes,
    FetchRows,
    TreeNodes,
    TreeRows,
    decode_batch,
)
from dataplane.consensus.ordering import Ordering
from dataplane.consensus.outcome import (
    CopyBegin,
    CopyInstall,
    CopyServe,
    CopyStage,
    Installed,
    PeerFault,
    Wanted,
)
from dataplane.consensus.state import ReplicaState
from dataplane.consensus.transfer_checks import TransferMessage
from dataplane.consensus.tree import hash_entry, hash_key, is_node, node_digest

STRIKES_MAX: Final = 4
ROWS_WAITING_MAX: Final = 4_096
TARGETS_PER_CLEANING: Final = 4


@dataclass(slots=True)
class Question:
    """What one peer was asked: nodes by path, or rows by key hash, with the digests expected."""

    sent_ms: int
    nodes: dict[str, bytes] = field(default_factory=dict)
    rows: dict[bytes, bytes] = field(default_factory=dict)


class Transfer:
    """Fetches a state when this replica needs one, and lets peers be served."""

    def __init__(self, state: ReplicaState, checkpoints: Checkpoints, ordering: Ordering) -> None:
        self._state = state
        self._checkpoints = checkpoints
        self._ordering = ordering
        self._target: CheckpointCertificate | None = None
        self._nodes: list[tuple[str, bytes]] = []
        self._rows: list[tuple[bytes, bytes]] = []
        self._asked: dict[int, Question] = {}
        self._staging = 0
        self._has_more = False
        self._installing = False
        self._liars: set[int] = set()
        self._gone: set[int] = set()
        self._not_before_ms: dict[int, int] = {}
        self._strikes: dict[int, int] = {}
        self._turn = state.config.replica_id
        self._targets = 0
        self._out_of_reach: set[int] = set()
        self._out_of_reach_at = 0
        self._served: dict[int, tuple[int, int]] = {}
        self.completed = 0

    @property
    def target(self) -> int | None:
        """The sequence whose state is being copied."""
        return None if self._target is None else self._target.sequence

    @property
    def sizes(self) -> dict[str, int]:
        """How much each bounded container holds."""
        return {
            "copy_nodes": len(self._nodes),
            "copy_rows": len(self._rows),
            "copy_asked": len(self._asked),
        }

    def on_message(self, sender: int, message: TransferMessage, now_ms: int) -> None:
        """Take a message about copying a state."""
        match message:
            case BatchesGone():
                self.on_batches_gone(sender, message, now_ms)
            case FetchNodes() | FetchRows():
                self.on_fetch(sender, message, now_ms)
            case TreeNodes():
                self.on_nodes(sender, message, now_ms)
            case TreeRows():
                self.on_rows(sender, message, now_ms)
            case CheckpointGone():
                self.on_checkpoint_gone(sender, message, now_ms)

    # --- When to copy ---------------------------------------------------------------------------

    def on_batches_gone(self, sender: int, message: BatchesGone, now_ms: int) -> None:
        """Note that a peer no longer has the batch needed next; f+1 such peers are believed."""
        state = self._state
        if message.first != state.requested + 1 or state.config.public_key(sender) is None:
            return
        if self._out_of_reach_at != message.first:
            self._out_of_reach, self._out_of_reach_at = set(), message.first
        self._out_of_reach.add(sender)
        self.consider(now_ms)

    def consider(self, now_ms: int) -> None:
        """Begin when a state is needed and a certificate for one is there."""
        state = self._state
        if self._target is not None or state.executed != state.requested:
            return
        certificate = self._newest()
        if certificate is None:
            return
        is_out_of_reach = self._out_of_reach_at == state.requested + 1 and (
            len(self._out_of_reach) > state.config.f
        )
        is_behind = certificate.sequence > state.executed and (
            is_out_of_reach or state.precedes_epoch
        )
        if is_behind or (state.diverged and state.config.n > 1):
            self._begin(certificate, now_ms)

    def _newest(self) -> CheckpointCertificate | None:
        certified, stable = self._checkpoints.certified, self._state.stable_certificate
        if certified is None or stable is None:
            return certified or stable
        return certified if certified.sequence > stable.sequence else stable

    def _begin(self, certificate: CheckpointCertificate, now_ms: int) -> None:
        state = self._state
        self._target = certificate
        self._nodes, self._rows, self._has_more = [], [], False
        self._asked, self._gone, self._liars = {}, set(), set()
        self._not_before_ms, self._strikes = {}, {}
        self._targets += 1
        state.copying = True
        state.alarm("state_transfer", f"copies the state at {certificate.sequence}")
        self._staging += 1
        is_fresh = self._targets % TARGETS_PER_CLEANING == 0
        state.emit(CopyBegin(certificate, is_fresh))
        self._ask(now_ms)

    # --- Asking ---------------------------------------------------------------------------------

    def on_tick(self, now_ms: int) -> None:
        """Give up on peers that do not answer, and go on."""
        if self._target is None:
            self.consider(now_ms)
            return
        if self._has_more and not self._staging:
            self._stage(CopyStage(self._target.sequence))
        timeout_ms = self._state.config.limits.copy_timeout_ms
        late = [p for p, asked in self._asked.items() if now_ms - asked.sent_ms >= timeout_ms]
        for peer in late:
            self._take_back(peer)
            self._put_off(peer, now_ms)
        self._ask(now_ms)

    @property
    def is_hungry(self) -> bool:
        """Whether `on_tick` is wanted at once: parts gathered earlier are still to be looked at."""
        return self._has_more and self._target is not None

    def _ask(self, now_ms: int) -> None:
        assert self._target is not None
        for peer in self._peers():
            if not self._nodes and not self._rows:
                return
            if peer in self._asked or peer in self._liars or peer in self._gone:
                continue
            if self._not_before_ms.get(peer, 0) > now_ms:
                continue
            self._ask_peer(peer, now_ms)

    def _peers(self) -> Iterator[int]:
        """Yield the other members, beginning with another one each time."""
        members = self._state.config.members
        self._turn += 1
        for offset in range(len(members)):
            peer = members[(self._turn + offset) % len(members)].replica_id
            if peer != self._state.config.replica_id:
                yield peer

    def _ask_peer(self, peer: int, now_ms: int) -> None:
        assert self._target is not None
        limits, target = self._state.config.limits, self._target
        question = Question(now_ms)
        # Rows first: what is known to be wanted stays bounded while the tree is walked.
        if self._rows and (len(self._rows) >= ROWS_WAITING_MAX or not self._nodes):
            question.rows = dict(self._rows[-limits.copy_rows_max :])
            del self._rows[-limits.copy_rows_max :]
            self._state.send(peer, FetchRows(target.sequence, target.root, tuple(question.rows)))
        else:
            question.nodes = dict(self._nodes[-limits.copy_nodes_max :])
            del self._nodes[-limits.copy_nodes_max :]
            paths = tuple(question.nodes)
            self._state.send(peer, FetchNodes(target.sequence, target.root, paths))
        self._asked[peer] = question

    def _take_back(self, peer: int) -> None:
        question = self._asked.pop(peer, None)
        if question is not None:
            self._nodes.extend(question.nodes.items())
            self._rows.extend(question.rows.items())

    def _put_off(self, peer: int, now_ms: int) -> None:
        """Ask a peer that was of no use again only after the others had their turn."""
        strikes = min(self._strikes.get(peer, 0) + 1, STRIKES_MAX)
        self._strikes[peer] = strikes
        timeout_ms = self._state.config.limits.copy_timeout_ms
        self._not_before_ms[peer] = now_ms + (timeout_ms << strikes) // 2

    # --- Answers --------------------------------------------------------------------------------

    def on_nodes(self, sender: int, message: TreeNodes, now_ms: int) -> None:
        """Take nodes that were asked for, each proved by its parent."""
        question = self._question(sender, message.sequence)
        if question is None:
            return
        good: list[tuple[str, bytes]] = []
        for path, row in message.nodes:
            expected = question.nodes.pop(path, None)
            if expected is None:
                continue
            if node_digest(row) != expected or not is_node(row):
                question.nodes[path] = expected
                self._caught(sender, f"false node {path or 'root'} at {message.sequence}")
                break
            good.append((path, row))
        self._answered(sender, CopyStage(message.sequence, nodes=tuple(good)), now_ms)

    def on_rows(self, sender: int, message: TreeRows, now_ms: int) -> None:
        """Take rows that were asked for, each proved by its bucket."""
        question = self._question(sender, message.sequence)
        if question is None:
            return
        good: list[tuple[bytes, bytes]] = []
        for key, value in message.rows:
            key_hash = hash_key(key)
            expected = question.rows.pop(key_hash, None)
            if expected is None:
                continue
            if hash_entry(key_hash, value) != expected:
                question.rows[key_hash] = expected
                self._caught(sender, f"false row at {message.sequence}")
                break
            good.append((key, value))
        self._answered(sender, CopyStage(message.sequence, rows=tuple(good)), now_ms)

    def _question(self, sender: int, sequence: int) -> Question | None:
        if self._target is None or sequence != self._target.sequence:
            return None
        return self._asked.get(sender)

    def _caught(self, sender: int, detail: str) -> None:
        self._liars.add(sender)
        self._state.emit(PeerFault(sender, detail))

    def _answered(self, sender: int, stage: CopyStage, now_ms: int) -> None:
        self._take_back(sender)
        if stage.nodes or stage.rows:
            self._strikes[sender] = 0
            self._stage(stage)
        else:
            self._put_off(sender, now_ms)
        self._ask(now_ms)

    def on_checkpoint_gone(self, sender: int, message: CheckpointGone, now_ms: int) -> None:
        """Ask others; turn to a newer checkpoint when f+1 peers no longer hold this one."""
        target = self._target
        if target is None or message.sequence != target.sequence or sender not in self._asked:
            return
        self._take_back(sender)
        self._put_off(sender, now_ms)
        self._gone.add(sender)
        newest = self._newest()
        if len(self._gone) <= self._state.config.f:
            self._ask(now_ms)
        elif newest is not None and newest.sequence > target.sequence and not self._installing:
            self._begin(newest, now_ms)
        else:
            # Nobody has anything newer yet: it may be that they are still to make it.
            self._gone.clear()
            self._ask(now_ms)

    def _stage(self, stage: CopyStage) -> None:
        self._staging += 1
        self._state.emit(stage)

    def on_wanted(self, wanted: Wanted, now_ms: int) -> None:
        """Take the answer of the driver: what is still missing. Nothing: the copy is complete."""
        assert self._staging > 0, "an answer for every question"
        self._staging -= 1
        if self._target is None or wanted.sequence != self._target.sequence:
            return
        self._nodes.extend(wanted.nodes)
        self._rows.extend(wanted.rows)
        self._has_more = wanted.has_more
        missing = self._nodes or self._rows or self._asked
        if missing or self._staging or self._has_more:
            self._ask(now_ms)
        elif not self._installing:
            self._installing = True
            self._state.emit(CopyInstall(self._target))

    def on_installed(self, installed: Installed, now_ms: int) -> None:
        """Continue at the checkpoint; begin again when the copy was not what was certified."""
        state, target = self._state, self._target
        assert target is not None
        assert self._installing
        self._installing, self._target = False, None
        if not installed.is_whole:
            state.alarm("copy_damaged", f"the copy of {target.sequence} is not what was certified")
            self._begin(target, now_ms)
            return
        if state.diverged:
            state.alarm("repaired", f"own state replaced by the certified one of {target.sequence}")
        self.completed += 1
        self._out_of_reach = set()
        state.copying = state.diverged = False
        state.executed = state.requested = target.sequence
        self.jumped(target.sequence)
        self._drop_answered(installed)
        self._checkpoints.jumped(target)

    def jumped(self, sequence: int) -> None:
        """Go on behind `sequence`: what came before is no longer of interest."""
        state, ordering = self._state, self._ordering
        ordering.next_sequence = max(ordering.next_sequence, sequence + 1)
        for slot in state.slots.values():
            if slot.sequence <= sequence and slot.pre_prepare is not None:
                for request in decode_batch(slot.pre_prepare.batch).requests:
                    state.pending.release(request)
        # Which of the others' requests the copied state holds is not asked. To have them all
        # ordered again would drive the cluster on faster than this replica can follow; who still
        # waits for an answer forwards its request itself.
        for request in state.pending.all():
            if state.config.gateway_of(request.client) != state.config.replica_id:
                state.pending.executed(request)

    def _drop_answered(self, installed: Installed) -> None:
        """Forget own requests whose answers came with the state; the gateway takes them there."""
        state = self._state
        for request in state.pending.all():
            if installed.is_answered(request):
                state.mark("answer_copied")
                state.pending.executed(request)

    # --- Serving --------------------------------------------------------------------------------

    def on_fetch(self, sender: int, message: FetchNodes | FetchRows, now_ms: int) -> None:
        """Let a peer be served, so many times a second."""
        second = now_ms // 1_000
        began, count = self._served.get(sender, (second, 0))
        if began != second:
            count = 0
        if count >= self._state.config.limits.copy_serves_max:
            return
        self._served[sender] = (second, count + 1)
        stable = self._state.stable_certificate or self._state.past_certificate
        is_certified = stable is not None and (
            (stable.sequence, stable.root) == (message.sequence, message.root)
        )
        self._state.emit(CopyServe(sender, message, is_certified))
