"""Experiments as the API prints them and the page draws them."""

from dataclasses import dataclass
from typing import Any, Final

from django.template.defaultfilters import pluralize

from portal.clusters.constants import SAMPLE
from portal.clusters.faults import FAULTS
from portal.clusters.models import Experiment, ExperimentRecord, ExperimentStatus
from portal.clusters.presentation import moment

REASONS: Final = {
    "deadline": "its time was over",
    "manual": "reverted by hand",
    "not_started": "it could not begin",
}


def experiment_json(experiment: Experiment) -> dict[str, Any]:
    """Print an experiment and what came of it."""
    return {
        "id": str(experiment.pk),
        "cluster": str(experiment.cluster_id),
        "status": experiment.status,
        "faults": [
            {"node": index, "behaviour": behaviour}
            for index, behaviour in experiment.broken.items()
        ],
        "beyond_f": experiment.is_beyond_f,
        "started_by": experiment.started_by,
        "created": moment(experiment.created_at),
        "running": moment(experiment.running_at),
        "ends": moment(experiment.ends_at),
        "reason": experiment.reason or None,
        "ended_by": experiment.ended_by or None,
        "reverted": moment(experiment.reverted_at),
        "over": moment(experiment.over_at),
        "outcome": experiment.outcome,
    }


def record_json(record: ExperimentRecord) -> dict[str, Any]:
    """Print a second, or an event, of an experiment."""
    if record.kind == SAMPLE:
        return {"id": record.pk, "at": moment(record.at), "kind": SAMPLE, **record.facts}
    return {
        "id": record.pk,
        "at": moment(record.at),
        "kind": record.kind,
        "node": record.node,
        "about": record.about,
        "facts": record.facts,
    }


@dataclass(frozen=True, slots=True)
class ExperimentRow:
    """A past experiment in words."""

    experiment: Experiment
    faults: str
    reason: str
    verdict: str
    tone: str
    seconds: int | None


def row_of(experiment: Experiment) -> ExperimentRow:
    """Say what an experiment was and how it ended."""
    by_fault: dict[str, list[str]] = {}
    for index, behaviour in experiment.broken.items():
        by_fault.setdefault(FAULTS[behaviour].name, []).append(str(index))
    faults = "; ".join(f"{name}: {', '.join(nodes)}" for name, nodes in by_fault.items())
    verdict, tone = _verdict(experiment)
    ended = experiment.reverted_at
    seconds = None if ended is None else round((ended - experiment.created_at).total_seconds())
    reason = REASONS.get(experiment.reason, experiment.reason)
    return ExperimentRow(experiment, faults, reason, verdict, tone, seconds)


def _verdict(experiment: Experiment) -> tuple[str, str]:
    found = experiment.outcome
    if experiment.status != ExperimentStatus.OVER:
        return experiment.get_status_display(), "azure"
    if found.get("is_healthy") is False or found.get("roots_equal") is False:
        return "Honest nodes held different states", "red"
    if found.get("reads_wrong"):
        return "Reads were wrong", "red"
    if not found.get("writes"):
        return "No write came through", "red" if found.get("writes_failed") else "secondary"
    failed = found.get("writes_failed")
    if failed:
        return f"No wrong answer; {failed} write{pluralize(failed)} failed", "yellow"
    return "Held", "green"
