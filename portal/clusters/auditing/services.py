"""Asking a cluster for its audit log and its compliance modes, and changing what they say."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Final

import httpx
import msgspec
from django.db import transaction

from dataplane.client.audit import AuditChecker, ProvenAudit, proof_of_audit
from dataplane.client.errors import ClientError, ProofError
from dataplane.client.keys import key_id_of
from dataplane.client.membership import modes_put
from portal.access.types import Access
from portal.clusters.asking import asking
from portal.clusters.connections import admin_client, admin_key, trust_anchor
from portal.clusters.errors import NameNotConfirmed, UnableToChangeCluster
from portal.clusters.models import ApiKey, Cluster
from portal.clusters.operations.opening import cluster_record
from portal.core.crypto import unseal
from portal.core.errors import NotFound

PAGE_SIZE: Final = 50
CHECKED_MAX: Final = 20_000
"""Records that the portal checks by itself; longer logs are downloaded and checked offline."""
TIMEOUT_S: Final = 4.0
GLANCE_TIMEOUT_S: Final = 2.0
CHECK_PAGE: Final = 1_000


@dataclass(frozen=True, slots=True)
class AuditSheet:
    """A page of records, newest first, and the settings of the log."""

    records: list[dict[str, Any]]
    next_after: str | None
    chain: dict[str, Any]


def log_page(
    cluster: Cluster, filters: dict[str, str], after: str, *, limit: int = PAGE_SIZE
) -> AuditSheet:
    """Return a page of what the cluster recorded.

    Raises:
        ClusterUnreachable: no node answers.
        Invalid: the cluster does not understand a filter.
    """
    wanted = {name: value for name, value in filters.items() if value}
    with asking("The log could not be read"), admin_client(cluster, timeout_s=TIMEOUT_S) as client:
        page = client.audit(
            **wanted,
            after=after or None,
            limit=limit,
            order="desc",
            consistency="session",
        )
    names = key_names(cluster)
    records = [_shown(record, names) for record in page["records"]]
    return AuditSheet(records, page["next"], page["chain"])


def log_chain(cluster: Cluster) -> dict[str, Any]:
    """Return the settings of the log, and its ends.

    Raises:
        ClusterUnreachable: no node answers.
    """
    with asking("The log could not be read"), admin_client(cluster, timeout_s=TIMEOUT_S) as client:
        chain: dict[str, Any] = client.audit(limit=1, order="desc", consistency="session")["chain"]
    return chain


def record_get(cluster: Cluster, index: int) -> dict[str, Any]:
    """Return one record of the log.

    Raises:
        NotFound: there is none of that number, or no longer.
        ClusterUnreachable: no node answers.
    """
    with asking("The log could not be read"), admin_client(cluster, timeout_s=TIMEOUT_S) as client:
        page = client.audit(after=index - 1, limit=1, consistency="session")
    found = page["records"]
    if not found or found[0]["index"] != index:
        raise NotFound(f"The audit log has no record {index:,}, or no longer.")
    return _shown(found[0], key_names(cluster))


def key_names(cluster: Cluster) -> dict[str, str]:
    """Return what people call the keys of a cluster."""
    names = dict(ApiKey.objects.filter(cluster=cluster).values_list("key_id", "name"))
    own = key_id_of(admin_key(cluster)) if cluster.admin_key else None
    return names if own is None else {**names, own: "this portal"}


def _shown(record: dict[str, Any], names: dict[str, str]) -> dict[str, Any]:
    actor = record["actor"]
    return {**record, "actor_name": names.get(actor, ""), "is_refused": record["status"] >= 400}


def log_lines(cluster: Cluster) -> Iterator[bytes]:
    """Return the whole log with its proof as lines of JSON, for `verify-audit`; asks at once.

    Raises:
        ClusterUnreachable: no node answers.
    """
    with asking("The log could not be read"):
        client = admin_client(cluster)
        lines = client.audit_export()
        first = next(lines)

    def rest() -> Iterator[bytes]:
        with client:
            yield msgspec.json.encode(first) + b"\n"
            for line in lines:
                yield msgspec.json.encode(line) + b"\n"

    return rest()


def log_check(cluster: Cluster) -> ProvenAudit:
    """Check the newest records of the log against the keys that the portal gave the nodes.

    Raises:
        ProofError: they are not what a quorum signed.
        ClusterUnreachable: no node answers.
    """
    anchor = trust_anchor(cluster)
    if anchor is None:
        raise ProofError("missing", "the nodes of the cluster have no keys yet")
    checker = AuditChecker()
    with asking("The log could not be read"), admin_client(cluster) as client:
        signed = client.audit(limit=1, order="desc", proof=True)
        chain = signed["chain"]
        after = max(chain["first"], chain["last"] - CHECKED_MAX + 1) - 1
        while after < chain["last"]:
            page = client.audit(after=after, limit=CHECK_PAGE, consistency="session")
            if not page["records"]:
                break
            for record in page["records"]:
                if record["index"] <= chain["last"]:
                    checker.take(record)
            after = page["records"][-1]["index"]
    return checker.finish(proof_of_audit(signed["proof"]), anchor)


def log_settings(access: Access, cluster: Cluster, *, level: str, days: int) -> None:
    """Change what the cluster records, and for how long it keeps it.

    Raises:
        Invalid: the cluster refuses; a compliance mode may be the reason.
        ClusterUnreachable: no quorum took it.
    """
    settings = {"level": level, "retention_ms": days * 86_400_000}
    with asking("Nothing was changed"), admin_client(cluster, timeout_s=TIMEOUT_S) as client:
        client.audit_put(**settings)
    with transaction.atomic():
        cluster_record(access, "cluster.audit_set", cluster, after={"level": level, "days": days})


def modes_get(cluster: Cluster) -> dict[str, Any]:
    """Return the compliance modes of a cluster.

    Raises:
        ClusterUnreachable: no node answers.
    """
    with asking("The modes could not be read"), admin_client(cluster, timeout_s=TIMEOUT_S) as asked:
        return asked.compliance()


def modes_show(cluster: Cluster) -> dict[str, Any] | None:
    """Return the compliance modes of a cluster, None when it does not answer at once."""
    try:
        with admin_client(cluster, timeout_s=GLANCE_TIMEOUT_S) as client:
            return client.compliance()
    except (ClientError, httpx.HTTPError):
        return None


def modes_preview(cluster: Cluster, modes: Iterable[str]) -> dict[str, Any]:
    """Return what would change if these modes were on, and no others.

    Raises:
        Invalid: there is no such mode.
        ClusterUnreachable: no node answers.
    """
    with asking("Nothing was looked at"), admin_client(cluster, timeout_s=TIMEOUT_S) as client:
        found: dict[str, Any] = client.compliance_put(modes=list(modes), dry_run=True)
    own = key_id_of(admin_key(cluster))
    names = key_names(cluster)
    longer = [names.get(key, key) for key in found["keys_that_live_longer"] if key != own]
    return {**found, "keys_that_live_longer": longer}


def modes_set(access: Access, cluster: Cluster, *, modes: list[str], confirm: str) -> None:
    """Set which modes are on; to turn one off the name of the cluster is typed, and this signs.

    Raises:
        NameNotConfirmed: a mode would be turned off, and the name is not that of the cluster.
        UnableToChangeCluster: the cluster was made before there were signatures for it.
        Invalid: the cluster refuses.
        ClusterUnreachable: no quorum took it.
    """
    with asking("Nothing was changed"), admin_client(cluster, timeout_s=TIMEOUT_S) as client:
        now = client.compliance()
        gone = sorted(set(now["modes"]) - set(modes))
        if gone and confirm != cluster.name:
            raise NameNotConfirmed(
                f"To turn off {', '.join(gone)}, type the name of the cluster, {cluster.name}."
            )
        if gone and not cluster.control_seed:
            raise UnableToChangeCluster("This cluster has no key of the control plane.")
        if gone:
            seed = unseal(bytes(cluster.control_seed))
            revision, of = now["revision"], cluster.data_plane_id
            client.run(modes_put(of, revision=revision, modes=modes, seed=seed))
        else:
            client.compliance_put(modes=modes, revision=now["revision"])
    with transaction.atomic():
        before: dict[str, object] = {"modes": now["modes"]}
        after: dict[str, object] = {"modes": sorted(modes)}
        cluster_record(access, "cluster.compliance_set", cluster, before=before, after=after)
