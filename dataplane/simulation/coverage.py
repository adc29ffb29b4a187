"""Which rules of the protocol a run made use of: a rule no run needs is a rule nobody tests.

Most rules show outside a replica, in what it says, writes and executes. The others are counted by
the core itself (`ReplicaState.mark`). A sweep prints the table; a long one fails when a listed rule
applied in no run.
"""

from collections import Counter
from typing import TYPE_CHECKING, override

from dataplane.consensus.messages import (
    NULL_DIGEST,
    AnyMessage,
    BatchBody,
    BatchesGone,
    CheckpointCertificate,
    CheckpointGone,
    Commit,
    Committed,
    FetchBatch,
    FetchCommitted,
    Forward,
    NewView,
    Prepare,
    PrePrepare,
    Suspect,
    TreeNodes,
    TreeRows,
    ViewChange,
)
from dataplane.consensus.outcome import Broadcast, Evidence, Send
from dataplane.consensus.records import Accepted, Decided, MadeStable, Record, ViewEntered, ViewLeft
from dataplane.consensus.replica import Replica
from dataplane.documents.state import StateMachine
from dataplane.simulation.checkers.checker import Checker, Executed
from dataplane.simulation.options import Options

if TYPE_CHECKING:
    from dataplane.simulation.node import Node

SEEDS_TO_COVER = 1_000

NORMAL_RULES = {
    "accused_double_vote": "two Prepares or Commits of one replica for one slot became evidence",
    "accused_equivocation": "two proposals for one slot became evidence",
    "alarm.clock_skew": "a proposal with a time in the future was refused",
    "certificate_before_execution": "a checkpoint was proved before this replica executed so far",
    "checkpoint_certified": "a quorum of equal roots made a certificate",
    "committed_served": "decided batches were sent to a laggard",
    "damaged_log_set_aside": "a replica with a flipped bit in its log goes on without a vote",
    "decided_before_proposal": "a quorum of Commits came before the proposal",
    "decided_out_of_order": "a batch was decided while one before it was not",
    "decision_learned": "a decided batch came from a peer with its certificate",
    "decision_repeated_to_laggard": "a proposal and a Commit were repeated to one replica",
    "disk_full_halt": "a replica halted because it could not write a record",
    "duplicate_request_at_execution": "a request was ordered twice and took effect once",
    "early_proposal_kept": "a proposal came before the window moved and was kept",
    "early_proposal_used": "a kept proposal was accepted when the window moved",
    "evidence_bound_hit": "evidence was not kept because there is enough",
    "evidence_passed_on": "a replica learned of a lie from a peer",
    "fetch_committed": "a laggard asked for decided batches",
    "high_watermark_reached": "a proposal was accepted at H",
    "laggard_got_certificate": "one replica was sent the proof of a stable checkpoint",
    "late_root_withheld": "a laggard's root of a checkpoint proved long ago was not sent",
    "pending_bound_hit": "a request was refused because too many wait",
    "pipeline_full": "a proposal was accepted ALPHA beyond the last execution",
    "primary_prepare_ignored": "a Prepare of the primary was not counted",
    "rejected": "a message with a wrong signature or shape was dropped",
    "request_forwarded": "a backup passed requests to the primary",
    "request_known": "a repeated request was recognized in the pool",
    "restart_resent_vote": "a vote of an earlier life was sent again, unchanged",
    "strong_read_agreed": "a read that was not ordered was answered",
    "strong_read_left_to_the_log": "a read could not be settled without an order",
    "state_newer_than_log": "a restart found a state that is ahead of the log",
    "state_older_than_log": "a restart executed decided batches of the log again",
    "surplus_vote_skipped": "a vote that adds nothing was dropped unverified",
    "torn_tail": "a crash kept a part of what was not synced",
    "vote_below_watermark_answered": "a vote for an old checkpoint was answered with the proof",
    "vote_repeated": "a vote was sent again because it might be lost",
}
TRANSFER_RULES = {
    "alarm.diverged": "a replica found that its state is not the certified one",
    "alarm.state_damaged": "a scrub found a row that is not what its hash says",
    "answer_copied": "a copied state held the answer to a request that its copier waited for",
    "batches_gone": "a laggard was told that the batches it wants are dropped",
    "checkpoint_gone": "a copying replica was told that a newer checkpoint is served",
    "log_lost": "a replica lost its log and votes no more",
    "nodes_served": "inner nodes of a state's tree were sent to a copying replica",
    "peer_fault": "a peer was caught serving what its own word proves false",
    "row_flipped": "a bit of a stored row turned",
    "rows_served": "rows of a state were sent to a copying replica",
    "state_copied": "a replica replaced its state by a certified one",
}
MEMBER_RULES = {
    "crash_at_epoch_end": "nodes crashed around the end of an epoch",
    "epoch_began": "a replica went on with other members",
    "epoch_passed_over": "a replica could not come to the end of its epoch, and joined a later one",
    "epoch_ended_in_later_view": "an epoch ended after its primary was replaced",
    "learner_joined": "a node that learned became a member",
    "learner_started": "the control plane started a node that learns",
    "log_of_later_epoch": "a restart went through the end of an epoch again, and found votes there",
    "member_left": "a member was removed and learns from then on",
}
VIEW_CHANGE_RULES = {
    "body_fetched": "a batch that a new view carries was asked of a peer",
    "body_served": "a replica sent a batch that another one missed",
    "carried_slot": "a new view carried a prepared batch over",
    "jumped_to_new_view": "a replica entered a view without leaving the one before",
    "laggard_got_new_view": "one replica was sent what opened the view",
    "new_view_accepted": "a replica took part in a new view",
    "null_filler": "a new view filled a gap with an empty batch",
    "proof_in_view_change": "a ViewChange had a prepared certificate",
    "restart_between_views": "a replica restarted after it left a view and before it entered one",
    "restart_in_later_view": "a replica restarted in a view above the first",
    "suspect_sent": "a replica suspected its primary",
    "view_change_repeated": "a ViewChange was sent again",
    "view_change_sent": "a replica told what it prepared",
    "view_left": "a timeout certificate ended a view for a replica",
}
_SAID: dict[type[AnyMessage], tuple[str, str]] = {
    BatchBody: ("", "body_served"),
    BatchesGone: ("", "batches_gone"),
    CheckpointCertificate: ("checkpoint_certified", "laggard_got_certificate"),
    CheckpointGone: ("", "checkpoint_gone"),
    Commit: ("", "decision_repeated_to_laggard"),
    Committed: ("", "committed_served"),
    FetchBatch: ("", "body_fetched"),
    FetchCommitted: ("", "fetch_committed"),
    Forward: ("request_forwarded", "request_forwarded"),
    NewView: ("", "laggard_got_new_view"),
    PrePrepare: ("", "decision_repeated_to_laggard"),
    Suspect: ("suspect_sent", ""),
    TreeNodes: ("", "nodes_served"),
    TreeRows: ("", "rows_served"),
    ViewChange: ("view_change_sent", "view_change_repeated"),
}
"""By message: the rule when it goes to all, and when it goes to one."""


def rules() -> dict[str, str]:
    """Return every rule that a long sweep must see, with what it says."""
    return NORMAL_RULES | MEMBER_RULES | TRANSFER_RULES | VIEW_CHANGE_RULES


def missing_rules(totals: Counter[str]) -> list[str]:
    """Return the rules that never applied."""
    return [rule for rule in sorted(rules()) if not totals[rule]]


class Coverage(Checker):
    """Watches honest nodes as checkers do, and counts."""

    name = "coverage"

    def __init__(self, options: Options, counters: Counter[str]) -> None:
        super().__init__(options)
        self._counters = counters
        self._said: dict[int, dict[tuple[type, int, int], int]] = {}
        self._decided: dict[int, int] = {}
        self._stable: dict[int, int] = {}
        self._view: dict[int, int] = {}
        self._entered: dict[int, NewView] = {}

    def on_crash(self, node: "Node", written: int, kept: int) -> None:
        """See a node lose its memory, and `kept` of `written` records survive unsynced."""
        if node.is_liar:
            return
        if 0 < kept < written:
            self._counters["torn_tail"] += 1
        self.collect(node)

    def on_epoch_over(self, node: "Node", ended: Replica, *, found_more: bool) -> None:
        """See the end of an epoch at a node; `found_more`: its log has votes of the next one."""
        if node.is_liar:
            return
        self._counters.update(ended.marks)
        self._counters["epoch_ended_in_later_view"] += ended.view > 0
        self._counters["log_of_later_epoch"] += found_more
        self._counters["learner_joined"] += ended.is_learner and node.is_member
        self._counters["member_left"] += not ended.is_learner and not node.is_member

    def collect(self, node: "Node") -> None:
        """Take over what the node's core counted in this life."""
        if node.replica is not None and not node.is_liar:
            self._counters.update(node.replica.marks)
            self._count_kept(node)

    def _count_kept(self, node: "Node") -> None:
        """Count what the document state machine did beside its requests, in this life."""
        if isinstance(node.executor, StateMachine):
            self._counters["document_expired"] += node.executor.maintenance.expired
            self._counters["document_sealed"] += node.executor.maintenance.sealed
            self._counters["operation_audited"] += node.executor.view.audit.ends.last

    def on_effect(self, node: "Node", effect: Send | Broadcast) -> None:
        """See a message leave, to one or to all."""
        message = effect.message
        if node.is_liar:
            return
        said = _SAID.get(type(message))
        if said is not None:
            rule = said[isinstance(effect, Send)]
            if rule:
                self._counters[rule] += 1
        if isinstance(message, Prepare | Commit):
            lives = self._said.setdefault(node.id, {})
            vote = (type(message), message.view, message.sequence)
            before = lives.get(vote)
            lives[vote] = node.life
            if before is not None:
                rule = "vote_repeated" if before == node.life else "restart_resent_vote"
                self._counters[rule] += 1

    @override
    def on_start(self, node: "Node") -> None:
        applied, decided = node.executor.applied, self._decided.get(node.id, 0)
        if applied > decided:
            self._counters["state_newer_than_log"] += 1
        elif applied < decided:
            self._counters["state_older_than_log"] += 1
        if node.replica is not None and node.replica.view:
            rule = "restart_in_later_view" if node.replica.active else "restart_between_views"
            self._counters[rule] += 1

    @override
    def on_durable(self, node: "Node", record: Record) -> None:
        if isinstance(record, Decided):
            known = self._decided.get(node.id, 0)
            self._decided[node.id] = max(known, record.certificate.sequence)

    @override
    def on_persist(self, node: "Node", record: Record) -> None:
        counters, limits = self._counters, self.options.limits
        match record:
            case Accepted(pre_prepare=proposal):
                if proposal.sequence == self._stable.get(node.id, 0) + limits.window:
                    counters["high_watermark_reached"] += 1
                if proposal.sequence == node.executor.applied + limits.pipeline:
                    counters["pipeline_full"] += 1
            case Decided(certificate=certificate, batch=batch):
                if batch is not None:
                    counters["decision_learned"] += 1
                if certificate.sequence > node.executor.applied + 1:
                    counters["decided_out_of_order"] += 1
            case MadeStable(certificate=stable):
                self._stable[node.id] = stable.sequence
            case ViewLeft() | ViewEntered():
                self._count_view(node, record)
            case _:
                pass

    def _count_view(self, node: "Node", record: ViewLeft | ViewEntered) -> None:
        counters, known = self._counters, self._view.get(node.id, 0)
        if isinstance(record, ViewLeft):
            counters["view_left"] += record.change.view > known
            counters["proof_in_view_change"] += bool(record.change.prepared)
            self._view[node.id] = record.change.view
            return
        new_view = record.new_view
        if new_view == self._entered.get(node.id):
            return
        self._entered[node.id] = new_view
        counters["new_view_accepted"] += 1
        counters["jumped_to_new_view"] += known < new_view.view
        fillers = sum(proposal.digest == NULL_DIGEST for proposal in new_view.proposals)
        counters["null_filler"] += fillers
        counters["carried_slot"] += len(new_view.proposals) - fillers
        self._view[node.id] = new_view.view

    @override
    def on_execute(self, node: "Node", executed: Executed) -> None:
        for result in executed.results:
            if result.sequence != executed.sequence or result.status == "already_applied":
                self._counters["duplicate_request_at_execution"] += 1

    @override
    def on_evidence(self, node: "Node", evidence: Evidence) -> None:
        is_proposal = evidence.proof.kind == "pre_prepare"
        self._counters["accused_equivocation" if is_proposal else "accused_double_vote"] += 1
        if evidence.told_by is not None:
            self._counters["evidence_passed_on"] += 1
