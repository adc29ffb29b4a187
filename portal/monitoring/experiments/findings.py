"""What two looks at the nodes have to tell: a pure comparison. Only honest nodes are believed."""

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from portal.clusters.chaos.recording import Happening
from portal.monitoring.experiments.types import ExperimentTarget, NodeRejections, Seen

# Of one second: more would only push others out.
PER_SECOND_MAX = 20

type Cause = tuple[int, str, str]
"""(sender, kind of message, reason)"""


@dataclass(slots=True)
class Ledger:
    """What was told already, so that each thing is told once."""

    refused: dict[int, dict[Cause, int]] = field(default_factory=dict)
    alarms: dict[int, dict[str, int]] = field(default_factory=dict)
    proofs: dict[tuple[int, int], int] = field(default_factory=dict)
    unreachable: dict[int, frozenset[int]] = field(default_factory=dict)
    leader: tuple[int, int] | None = None
    verdict: tuple[int, bool] | None = None
    silent: frozenset[int] = frozenset()


def leader_of(seen: Mapping[int, Seen]) -> tuple[int, int] | None:
    """Return the view that most honest nodes are in, and who leads it."""
    found = Counter((s.standing.view, s.standing.primary) for s in seen.values())
    return max(found, key=lambda pair: (found[pair], pair[0]), default=None)


def verdict_of(seen: Mapping[int, Seen]) -> tuple[int, bool] | None:
    """Return the last checkpoint that all of them reached, and whether their roots are equal."""
    roots = [{c.sequence: c.root for c in s.standing.checkpoints} for s in seen.values()]
    common = set.intersection(*map(set, roots)) if roots else set()
    if not common:
        return None
    last = max(common)
    return last, len({found[last] for found in roots}) == 1


def happenings(
    target: ExperimentTarget, seen: Mapping[int, Seen], ledger: Ledger
) -> list[Happening]:
    """Return what is new since the last look, and remember it."""
    honest = {i: s for i, s in seen.items() if i not in target.broken}
    found = [*_refusals(honest, ledger), *_proofs(honest, ledger)]
    for index, one in honest.items():
        found += _links(index, one, ledger)
    # What it says of its own health is worth hearing of a broken node too.
    for index, one in seen.items():
        found += _alarms(index, one.rejections, ledger)
    found += _silence(target, seen, ledger)
    leader, verdict = leader_of(honest), verdict_of(honest)
    if leader is not None and leader != ledger.leader:
        if ledger.leader is not None:
            led = {"view": leader[0], "primary": leader[1], "before": ledger.leader[1]}
            found.append(Happening("view", about=leader[1], facts=led))
        ledger.leader = leader
    if verdict is not None and verdict != ledger.verdict:
        found.append(Happening("roots", facts={"sequence": verdict[0], "equal": verdict[1]}))
        ledger.verdict = verdict
    return found


def _refusals(honest: Mapping[int, Seen], ledger: Ledger) -> list[Happening]:
    """Tell once what several nodes refused for one reason in one second."""
    grown: dict[Cause, dict[int, int]] = {}
    for index, one in honest.items():
        for cause, count in _grown(index, one.rejections, ledger).items():
            grown.setdefault(cause, {})[index] = count
    news = sorted(grown, key=lambda cause: -sum(grown[cause].values()))
    return [
        Happening(
            "rejected",
            about=sender,
            facts={
                "nodes": sorted(grown[sender, kind, reason]),
                "message": kind,
                "reason": reason,
                "count": sum(grown[sender, kind, reason].values()),
            },
        )
        for sender, kind, reason in news[:PER_SECOND_MAX]
    ]


def _grown(index: int, told: NodeRejections, ledger: Ledger) -> dict[Cause, int]:
    """Return by how much a node's counts grew; entries go on counting after they were read."""
    counts = {(c.sender, c.kind, c.reason): c.count for c in told.counts}
    before = ledger.refused.get(index)
    ledger.refused[index] = counts
    if before is None:
        return {}
    # A node that began anew counts from nothing.
    grown = {cause: count - before.get(cause, 0) for cause, count in counts.items()}
    return {cause: n if n > 0 else counts[cause] for cause, n in grown.items() if n}


def _proofs(honest: Mapping[int, Seen], ledger: Ledger) -> list[Happening]:
    grown: dict[int, dict[int, int]] = {}
    for index, one in honest.items():
        for peer in one.standing.nodes:
            known = ledger.proofs.get((index, peer.id))
            ledger.proofs[index, peer.id] = peer.evidence
            if known is not None and peer.evidence > known:
                grown.setdefault(peer.id, {})[index] = peer.evidence - known
    return [
        Happening("proof", about=about, facts={"nodes": sorted(by), "count": max(by.values())})
        for about, by in sorted(grown.items())
    ]


def _links(index: int, one: Seen, ledger: Ledger) -> Iterator[Happening]:
    away = frozenset(peer.id for peer in one.standing.nodes if not peer.reachable)
    known = ledger.unreachable.get(index)
    ledger.unreachable[index] = away
    if known is None:
        return
    for peer in sorted(away - known):
        yield Happening("lost", index, peer)
    for peer in sorted(known - away):
        yield Happening("found", index, peer)


def _alarms(index: int, told: NodeRejections, ledger: Ledger) -> Iterator[Happening]:
    known = ledger.alarms.get(index)
    ledger.alarms[index] = dict(told.alarms)
    for code, count in told.alarms.items():
        before = 0 if known is None else known.get(code, 0)
        if known is not None and count > before:
            yield Happening("alarm", index, index, {"code": code, "count": count - before})


def _silence(
    target: ExperimentTarget, seen: Mapping[int, Seen], ledger: Ledger
) -> Iterator[Happening]:
    silent = frozenset(node.index for node in target.nodes) - frozenset(seen)
    for index in sorted(silent - ledger.silent):
        yield Happening("silent", about=index)
    for index in sorted(ledger.silent - silent):
        yield Happening("answers", about=index)
    ledger.silent = silent
