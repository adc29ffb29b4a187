"""Taking evidence in: the portal believes two good signatures, never the node that sends them."""

import logging
from collections.abc import Iterable
from datetime import timedelta
from typing import Final

import msgspec
from django.conf import settings
from django.db import transaction
from django.urls import reverse

from dataplane.client.anchors import TrustAnchor
from dataplane.client.errors import AnchorError, EvidenceError
from dataplane.client.evidence import (
    FAULTS,
    Equivocation,
    EvidenceDocument,
    read_evidence,
    verify_evidence,
)
from portal.access.selectors import permission_holders
from portal.audit.services import Actor, audit_record
from portal.clusters.accountability.fetching import has_news, node_read
from portal.clusters.accountability.selectors import experiment_behind
from portal.clusters.accountability.types import EvidenceItem
from portal.clusters.models import Cluster, Evidence, EvidenceReport, Node
from portal.clusters.operations.live import announce_cluster
from portal.core import clock
from portal.core.tenancy import current_schema, public_context
from portal.notifications.services import mail_send
from portal.organizations.models import Organization

logger = logging.getLogger(__name__)

PER_NODE_MAX: Final = 250
"""Proofs kept against one node: one is enough, and a liar can sign as many as it likes."""
FUTURE_MAX: Final = timedelta(minutes=1)


def evidence_collect(cluster: Cluster) -> int:
    """Read what nodes have news of; return how many proofs were new."""
    added = 0
    for node in cluster.present_nodes:
        if not has_news(node) or not node.url:
            continue
        for items in node_read(cluster, node):
            added += evidence_take(cluster, node, items)
        Node.objects.filter(pk=node.pk).update(evidence_read=node.evidence_read)
    return added


def evidence_take(cluster: Cluster, reporter: Node, items: Iterable[EvidenceItem]) -> int:
    """Check and store what a node reports; return how many proofs were new."""
    added, refused = 0, 0
    for item in items:
        try:
            proven = verify_evidence(item.proof, _anchor(cluster, item.proof))
        except EvidenceError:
            refused += 1
            continue
        added += _store(cluster, reporter, item, proven)
    if refused:
        # Somebody tries to frame a node, or speaks another version: nothing is believed.
        logger.warning(
            "evidence.refused",
            extra={"cluster": str(cluster.pk), "node": reporter.index, "count": refused},
        )
    return added


def evidence_verify(cluster: Cluster, evidence: Evidence) -> Equivocation:
    """Check a stored proof again with the pinned keys.

    Raises:
        EvidenceError: it proves nothing.
    """
    proof = read_evidence(evidence.proof)
    return verify_evidence(proof, _anchor(cluster, proof))


def _anchor(cluster: Cluster, proof: EvidenceDocument) -> TrustAnchor:
    """Return the key that the portal itself gave the accused.

    A node has one key for all its life, and what it signed names the epoch: its proofs stay good
    after it left, and after the members changed.
    """
    keys = [(node.index, node.public_key) for node in cluster.nodes.all()]
    try:
        accused = [key for key in keys if key[0] == proof.replica]
        return TrustAnchor.of_keys(cluster.data_plane_id, proof.epoch, accused)
    except AnchorError as error:
        raise EvidenceError("unknown_signer", FAULTS["unknown_signer"]) from error


@transaction.atomic
def _store(cluster: Cluster, reporter: Node, item: EvidenceItem, proven: Equivocation) -> int:
    now = clock.now()
    # Two tasks may read the same cluster: whose proof is the first is said once.
    Cluster.objects.select_for_update().only("pk").get(pk=cluster.pk)
    experiment = experiment_behind(cluster, proven, now)
    # What it was made to say must not push out what it says by itself.
    alike = Evidence.objects.filter(cluster=cluster, node=proven.replica)
    known = alike.filter(experiment__isnull=experiment is None)
    place = {
        "kind": proven.kind,
        "epoch": proven.epoch,
        "view": proven.view,
        "sequence": proven.sequence,
    }
    row, count = alike.filter(**place).first(), known.count()
    is_new = row is None
    if row is None:
        if count >= PER_NODE_MAX:
            return 0
        row, is_new = Evidence.objects.get_or_create(
            cluster=cluster,
            node=proven.replica,
            **place,
            defaults={
                "proof": msgspec.to_builtins(item.proof),
                "reported_at": now,
                "experiment": experiment,
            },
        )
    # A node's clock is its own word: it may not be ahead of ours.
    seen_at = item.seen if item.seen.tzinfo and item.seen <= now + FUTURE_MAX else now
    EvidenceReport.objects.get_or_create(
        evidence=row, node=reporter.index, defaults={"seen_at": seen_at}
    )
    if is_new and count == 0:
        _tell(cluster, reporter, row)
    return int(is_new)


def _tell(cluster: Cluster, reporter: Node, evidence: Evidence) -> None:
    """Tell of the first proof against a node: trail, open pages, mail to who is responsible."""
    audit_record(
        access_or_actor=Actor("Accountability"),
        action="node.accused",
        target_type="cluster",
        target_id=cluster.pk,
        target_label=cluster.name,
        after={
            "node": evidence.node,
            "kind": evidence.kind,
            "view": evidence.view,
            "sequence": evidence.sequence,
            "reported_by_node": reporter.index,
            **({"experiment": str(evidence.experiment_id)} if evidence.experiment_id else {}),
        },
    )
    announce_cluster(cluster)
    if evidence.experiment_id:
        return  # Who broke the node knows; nobody is to be alarmed by mail.
    schema = current_schema()
    with public_context():
        organization = Organization.objects.get(schema_name=schema)
    path = reverse("clusters:accountability", args=[organization.slug, cluster.pk])
    for user in permission_holders(organization, "clusters:delete", cluster.pk):
        mail_send(
            to=user.email,
            template="node_accused",
            cluster=cluster,
            organization=organization,
            node=evidence.node,
            link=settings.PORTAL_URL + path,
        )
