"""PBFT as text: what each message of a run makes the replicas say.

`pytest tests/transcripts --rewrite` writes the files again; the change is reviewed as a diff.
"""

from dataclasses import replace
from pathlib import Path

import pytest
from msgspec import structs

from dataplane.consensus.messages import Commit, Prepare, PrePrepare, TreeRows
from dataplane.simulation.scenarios.lab import LIMITS, Lab
from dataplane.simulation.trace import describe

HERE = Path(__file__).parent


class Scribe:
    """Runs a lab message by message and writes down what happens."""

    def __init__(self, n: int, **options) -> None:
        self.lab = Lab(n, **options)
        self.lines: list[str] = []
        self._executed = dict.fromkeys(self.lab.bench, 0)
        self._stable = dict.fromkeys(self.lab.bench, 0)
        self._evidence = dict.fromkeys(self.lab.bench, 0)
        self._faults = dict.fromkeys(self.lab.bench, 0)
        self._copies = dict.fromkeys(self.lab.bench, 0)
        self._view = dict.fromkeys(self.lab.bench, (0, True))
        self.dead: set[int] = set()

    def note(self, text: str) -> None:
        self.lines.append(f"# {text}")

    def ask(self, at: int, cseq: int) -> None:
        self.lines.append(f"request {cseq} arrives at {at}")
        self.lab.ask(at, self.lab.request(at, cseq))
        self.outcome(at)

    def give(self, to: int, message) -> None:
        self.lines.append(f"{message.replica}>{to} {describe(message)}")
        self.lab.give(to, message)
        self.outcome(to)

    def suspect(self, i: int) -> None:
        self.lines.append(f"{i} suspects its primary")
        self.lab.bench[i].replica._views.suspect(self.lab.now_ms, "test")
        self.lab.settle(i)
        self.outcome(i)

    def tick(self, after_ms: int) -> None:
        self.lines.append(f"{after_ms} ms pass")
        self.lab.tick(after_ms=after_ms)

    def run(self) -> None:
        while self.lab.wire:
            source, target, message = self.lab.wire.popleft()
            if self.dead & {source, target}:
                continue
            if self.lab.drop(source, target, message):
                self.lines.append(f"{source}>{target} {describe(message)} (lost)")
                continue
            self.lines.append(f"{source}>{target} {describe(message)}")
            self.lab.give(target, message, source)
            self.outcome(target)

    def outcome(self, i: int) -> None:
        bench = self.lab.bench[i]
        for replica in bench.faults[self._faults[i] :]:
            self.lines.append(f"    {i} caught {replica} serving what is false")
        if bench.replica.copies_completed > self._copies[i]:
            self._copies[i] = bench.replica.copies_completed
            self._executed[i] = bench.replica.stable
            self.lines.append(f"    {i} puts the state at s{bench.replica.stable} in place")
        view = (bench.replica.view, bench.replica.active)
        if view != self._view[i]:
            self._view[i] = view
            self.lines.append(
                f"    {i} {'takes part in' if view[1] else 'waits for'} view {view[0]}"
            )
        for sequence in range(self._executed[i] + 1, bench.app.applied + 1):
            self.lines.append(f"    {i} executes s{sequence}")
        for evidence in bench.evidence[self._evidence[i] :]:
            source = "" if evidence.told_by is None else f" from {evidence.told_by}"
            kind = evidence.proof.kind
            self.lines.append(
                f"    {i} has evidence{source} against {evidence.replica}: two {kind}"
            )
        for sequence in bench.stable[self._stable[i] :]:
            self.lines.append(f"    {i} has a stable checkpoint s{sequence}")
        self._executed[i], self._stable[i] = bench.app.applied, len(bench.stable)
        self._evidence[i], self._faults[i] = len(bench.evidence), len(bench.faults)


def normal_case() -> Scribe:
    scribe = Scribe(4)
    scribe.note("Four replicas, the primary is 0; a request arrives at a backup.")
    scribe.ask(2, 1)
    scribe.run()
    scribe.note("Four batches make a checkpoint.")
    for cseq in (2, 3, 4):
        scribe.ask(0, cseq)
        scribe.run()
    return scribe


def lost_prepares() -> Scribe:
    scribe = Scribe(4)
    scribe.note("Every Prepare is lost once; after the retransmission time all is sent again.")
    scribe.lab.drop = lambda source, target, message: isinstance(message, Prepare)
    scribe.ask(0, 1)
    scribe.run()
    scribe.lab.drop = lambda source, target, message: False
    scribe.tick(LIMITS.retransmit_ms)
    scribe.run()
    return scribe


def equivocation() -> Scribe:
    scribe = Scribe(4)
    lab = scribe.lab
    first, second = (lab.proposal(1, lab.request(0, cseq)) for cseq in (1, 2))
    scribe.note("The primary proposes two batches for one sequence, and votes for both.")
    for to, proposal in ((1, first), (2, first), (3, second), (1, second)):
        scribe.give(to, proposal)
    for to in (1, 2, 3):
        for proposal in (first, second):
            scribe.give(to, lab.vote(Commit, 0, 1, proposal.digest))
    lab.drop = lambda source, target, message: 0 in (source, target)
    scribe.run()
    return scribe


def laggard() -> Scribe:
    scribe = Scribe(4)
    scribe.note("Replica 3 is cut off while two batches are decided; then all is quiet.")
    scribe.lab.drop = lambda source, target, message: 3 in (source, target)
    for cseq in (1, 2):
        scribe.ask(0, cseq)
        scribe.run()
    scribe.lab.drop = lambda source, target, message: False
    scribe.note("It hears the others' Status and fetches what it misses.")
    scribe.tick(LIMITS.status_ms)
    scribe.run()
    return scribe


def transfer() -> Scribe:
    limits = replace(LIMITS, retained_batches_max=4, copy_nodes_max=8, copy_rows_max=12)
    scribe = Scribe(4, limits=limits)
    scribe.note("Replica 3 is cut off for ten batches; four are retained. Then all is quiet.")
    lab = scribe.lab
    lab.drop = lambda source, target, message: 3 in (source, target)
    lab.ask(0, lab.request(0, 0, b"nonce"))
    lab.run()
    for cseq in range(1, 10):
        lab.ask(0, lab.request(0, cseq, *[b"%d.%d" % (cseq, n) for n in range(8)]))
        lab.run()
    for i in lab.bench:
        scribe.outcome(i)
    scribe.lines = scribe.lines[:1]

    def twist(source, target, message):
        if source != 2 or not isinstance(message, TreeRows):
            return False
        (key, value), *rest = message.rows
        false = structs.replace(message, rows=((key, value + b"!"), *rest))
        lab.give(target, false, source)
        scribe.outcome(target)
        return True

    lab.drop = twist
    scribe.note("Two peers no longer have its next batch: it copies the state at s8, from all.")
    scribe.note("Replica 2 serves a false row.")
    for _ in range(3):
        scribe.tick(LIMITS.status_ms)
        scribe.run()
    return scribe


def view_change() -> Scribe:
    scribe = Scribe(4)
    lab = scribe.lab
    scribe.note(
        "Replica 0 leads view 0 and dies: its proposal for 1 reached nobody, that for 2 all."
    )
    second = lab.proposal(2, lab.request(0, 2))
    scribe.dead.add(0)
    for to in (1, 2, 3):
        scribe.give(to, second)
    scribe.note("2 is prepared and decided, but 1 is missing: nothing can be executed.")
    scribe.run()
    scribe.note("One suspicion moves nothing: a timeout certificate takes n-q+1 = 2.")
    scribe.suspect(3)
    scribe.run()
    scribe.note(
        "With the second one view 0 is left. Nobody votes in it any more; each replica says"
    )
    scribe.note(
        "what it prepared. 1 leads view 1: of q = 3 ViewChanges follows what view 1 carries,"
    )
    scribe.note("2 with its batch, and for 1, which nobody prepared, the null batch.")
    scribe.suspect(2)
    scribe.run()
    scribe.note("Both are executed. What waits is ordered in view 1.")
    scribe.ask(3, 3)
    scribe.run()
    return scribe


def lone_suspicion() -> Scribe:
    scribe = Scribe(4)
    scribe.note("Replica 3 alone suspects the primary. It stays in the view and goes on voting.")
    scribe.suspect(3)
    scribe.run()
    scribe.ask(3, 1)
    scribe.run()
    return scribe


STORIES = [
    normal_case,
    lost_prepares,
    equivocation,
    laggard,
    transfer,
    view_change,
    lone_suspicion,
]


@pytest.mark.parametrize("story", STORIES)
def test_a_run_reads_as_it_did(story, request):
    scribe = story()
    text = "\n".join(scribe.lines) + "\n"
    golden = HERE / f"{story.__name__}.txt"
    if request.config.getoption("--rewrite", default=False):
        golden.write_text(text)
    assert golden.read_text() == text, "if the change is meant: pytest tests/transcripts --rewrite"
    for i, bench in scribe.lab.bench.items():
        views = {proposal.view for proposal in bench.votes(PrePrepare)}
        assert all(view % scribe.lab.n == i for view in views), "only the primary proposes"
