"""Labels of clusters: words by which grants mean several clusters at once.

A label can give people access, so setting one is granting: it takes `members:write`, and nobody
brings a cluster under a grant that is beyond their own.
"""

from collections.abc import Collection
from typing import Final
from uuid import UUID

from django.db import transaction

from portal.access.bindings import check_held_within, held_with_label
from portal.access.models import ClusterLabel, RoleBinding
from portal.access.ports import cluster_names
from portal.access.selectors import people_of
from portal.access.types import LABEL, LABEL_PATTERN, Access
from portal.audit.services import audit_record
from portal.core import live
from portal.core.errors import Invalid, NotFound

LABEL_COUNT_MAX: Final = 10


def label_map() -> dict[UUID, list[str]]:
    """Return the labels of each cluster that has some, sorted."""
    found: dict[UUID, list[str]] = {}
    for row in ClusterLabel.objects.order_by("label"):
        found.setdefault(row.cluster_id, []).append(row.label)
    return found


def labels_of(cluster_id: UUID) -> list[str]:
    """Return the labels of a cluster, sorted."""
    rows = ClusterLabel.objects.filter(cluster_id=cluster_id).order_by("label")
    return list(rows.values_list("label", flat=True))


def labels_set(access: Access, *, cluster_id: UUID, labels: Collection[str]) -> list[str]:
    """Give a cluster these labels and no others.

    Raises:
        NotFound: there is no such cluster.
        Invalid: there are too many, or one is not a label.
        GrantBeyondOwn: a new label brings grants that the caller could not give.
    """
    wanted = sorted(set(labels))
    _check(wanted)
    names = cluster_names()
    if cluster_id not in names:
        raise NotFound("There is no such cluster.")
    with transaction.atomic():
        rows = ClusterLabel.objects.select_for_update().filter(cluster_id=cluster_id)
        before = sorted(row.label for row in rows)
        added, gone = set(wanted) - set(before), set(before) - set(wanted)
        if not added and not gone:
            return before
        for label in sorted(added):
            check_held_within(access, held_with_label(label))
        rows.filter(label__in=gone).delete()
        ClusterLabel.objects.bulk_create(
            ClusterLabel(cluster_id=cluster_id, label=label) for label in sorted(added)
        )
        concerned = RoleBinding.objects.filter(scope_kind=LABEL, scope__in=added | gone)
        live.access_changed(*people_of(concerned))
        audit_record(
            access_or_actor=access,
            action="cluster.labels_changed",
            target_type="cluster",
            target_id=cluster_id,
            target_label=names[cluster_id],
            before={"labels": before},
            after={"labels": wanted},
        )
    return wanted


def _check(labels: list[str]) -> None:
    if len(labels) > LABEL_COUNT_MAX:
        detail = f"A cluster has at most {LABEL_COUNT_MAX} labels."
        raise Invalid.at("/labels", detail)
    for index, label in enumerate(labels):
        if not LABEL_PATTERN.fullmatch(label):
            detail = "Use 1 to 40 lower-case letters, digits, dots, hyphens or underscores."
            raise Invalid.at(f"/labels/{index}", detail)
