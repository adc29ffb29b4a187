"""Writing down what was seen of an experiment, within bounds."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from uuid import UUID

from portal.clusters.constants import EXPERIMENT_EVENTS_MAX, EXPERIMENT_SAMPLES_MAX, SAMPLE
from portal.clusters.models import Experiment, ExperimentRecord, ExperimentStatus


@dataclass(frozen=True, slots=True)
class Happening:
    """An event: who tells it, of whom, and what."""

    kind: str
    node: int | None = None
    about: int | None = None
    facts: Mapping[str, object] = field(default_factory=dict)


def experiments_open() -> list[Experiment]:
    """Return the experiments that are to be watched, with their clusters."""
    rows = Experiment.objects.exclude(status=ExperimentStatus.OVER)
    return list(rows.select_related("cluster").prefetch_related("cluster__nodes"))


def records_add(
    experiment_id: UUID,
    *,
    at: datetime,
    sample: Mapping[str, object],
    happenings: Sequence[Happening],
) -> None:
    """Append a second of an experiment that is not over; what is beyond the bounds is dropped."""
    experiment = Experiment.objects.exclude(status=ExperimentStatus.OVER).filter(pk=experiment_id)
    if not experiment.exists():
        return
    known = ExperimentRecord.objects.filter(experiment=experiment_id)
    rows = [
        ExperimentRecord(
            experiment_id=experiment_id,
            at=at,
            kind=found.kind,
            node=found.node,
            about=found.about,
            facts=dict(found.facts),
        )
        for found in happenings
    ]
    if rows:
        rows = rows[: max(0, EXPERIMENT_EVENTS_MAX - known.exclude(kind=SAMPLE).count())]
    if known.filter(kind=SAMPLE).count() < EXPERIMENT_SAMPLES_MAX:
        rows.append(
            ExperimentRecord(experiment_id=experiment_id, at=at, kind=SAMPLE, facts=dict(sample))
        )
    ExperimentRecord.objects.bulk_create(rows)
