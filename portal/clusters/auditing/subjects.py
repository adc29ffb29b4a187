"""What a cluster stores of a person: handed out as a file, or erased with a receipt."""

from collections.abc import Iterator
from typing import Any, Final

import msgspec
from django.db import transaction

from dataplane.client import calls
from portal.access.types import Access
from portal.clusters.asking import asking
from portal.clusters.connections import admin_client
from portal.clusters.errors import NameNotConfirmed
from portal.clusters.models import Cluster
from portal.clusters.operations.opening import cluster_record
from portal.core.errors import Invalid

CALLS_PER_REQUEST: Final = 5
"""Of some thousand documents each; what is left goes on with the next press of the button."""
SUBJECT_CHARS_MAX: Final = 512


def subject_of(text: str) -> str:
    """Return what names the person.

    Raises:
        Invalid: nothing, or too much.
    """
    if not 0 < len(text) <= SUBJECT_CHARS_MAX:
        raise Invalid(f"Say who, in 1 to {SUBJECT_CHARS_MAX} characters.")
    return text


def subject_lines(access: Access, cluster: Cluster, subject: str) -> Iterator[bytes]:
    """Return everything of a person as lines of JSON; asks the cluster at once.

    Raises:
        Invalid: no collection names persons.
        ClusterUnreachable: no node answers.
    """
    with asking("Nothing was exported"):
        client = admin_client(cluster)
        found = client.subject_export(subject)
        first = next(found, None)
    with transaction.atomic():
        cluster_record(access, "cluster.subject_exported", cluster)

    def lines() -> Iterator[bytes]:
        with client:
            if first is not None:
                yield msgspec.json.encode(first) + b"\n"
            for item in found:
                yield msgspec.json.encode(item) + b"\n"

    return lines()


def subject_erase(
    access: Access, cluster: Cluster, *, subject: str, erasure: str, confirm: str
) -> dict[str, Any]:
    """Erase a person, or some of what there is of one; return the receipt, or how far it is.

    Raises:
        NameNotConfirmed: the typed name is not that of the cluster.
        Invalid: the cluster refuses.
        ClusterUnreachable: no quorum took it.
    """
    if confirm != cluster.name:
        raise NameNotConfirmed(f"To erase, type the name of the cluster, {cluster.name}.")
    done: dict[str, Any] = {"is_over": False, "erasure": erasure or None}
    with asking("The erasure did not go on"), admin_client(cluster) as client:
        for _ in range(CALLS_PER_REQUEST):
            is_begun = done["erasure"] is not None
            done = client.run(calls.subject_erase(subject, done["erasure"]))
            if not is_begun:
                # Before more is asked for: what follows may fail, and this much is gone.
                _record(access, "cluster.subject_erasure_begun", cluster, done)
            if done["is_over"]:
                break
    if done["is_over"]:
        _record(access, "cluster.subject_erased", cluster, done)
    return done


def _record(access: Access, action: str, cluster: Cluster, done: dict[str, Any]) -> None:
    """Note an erasure; the person's name stays out of this trail too."""
    after: dict[str, object] = {"erasure": done["erasure"], "removed": done.get("removed")}
    with transaction.atomic():
        cluster_record(access, action, cluster, after=after)
