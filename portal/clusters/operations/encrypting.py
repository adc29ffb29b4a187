"""Steps about keys: changing them node by node, and certifying that they are destroyed."""

from typing import Any, Final

import httpx

from dataplane.client.calls import Call
from dataplane.client.client import Client
from dataplane.client.errors import ClientError, KeyProviderError
from portal.clusters.connections import admin_client, admin_key
from portal.clusters.keeping import cluster_key_destroy, cluster_key_ensure, provider_reference
from portal.clusters.models import Node
from portal.clusters.operations.changing import PATIENCE
from portal.clusters.operations.creation import error_words, has_waited
from portal.clusters.operations.specs import blueprint_of
from portal.clusters.operations.types import Context, Outcome, Waiting
from portal.core import clock

TIMEOUT_S: Final = 5.0


def prepare(context: Context) -> Outcome:
    """Have the cluster's key made, and say in every specification where it is."""
    cluster = context.cluster
    if not cluster.encryption:
        cluster.encryption = str(context.operation.params["algorithm"])
        cluster.save(update_fields=["encryption"])
    try:
        cluster_key_ensure(cluster)
    except KeyProviderError as error:
        return Waiting(f"the keeper of the keys ({error_words(error)})")
    for node in cluster.present_nodes:
        context.driver.place(blueprint_of(cluster, node))
    return None


def rotate(context: Context) -> Outcome:
    """Ask one node after the other for a new data key, and wait until it has done all with it."""
    before: dict[str, int] = context.operation.params.setdefault("before", {})
    for node in context.cluster.present_nodes:
        try:
            waiting = _rotate_node(context, node, before)
        except (ClientError, httpx.HTTPError) as error:
            return Waiting(f"node {node.index} to answer ({error_words(error)})")
        if waiting is not None:
            return waiting
    cluster = context.cluster
    cluster.encryption = str(context.operation.params["algorithm"])
    cluster.save(update_fields=["encryption"])
    return None


def _rotate_node(context: Context, node: Node, before: dict[str, int]) -> Waiting | None:
    name = str(node.index)
    with Client(
        [node.url], admin_key(context.cluster), timeout_s=TIMEOUT_S, follow=False
    ) as client:
        found = client.run(Call("GET", "/api/v1/encryption"))
        number = int(found.get("key", 0))
        if name not in before:
            # Written down before it is asked: who takes over must not ask for a second change.
            before[name] = number
            context.operation.save(update_fields=["params"])
        if number == before[name] and not found.get("rotation"):
            body = {"algorithm": context.operation.params["algorithm"]}
            found = client.run(Call("POST", "/api/v1/encryption/rotate", body=body))
    progress: dict[str, Any] | None = found.get("rotation")
    if progress is None and int(found.get("key", 0)) > before[name]:
        return None
    words = f"{progress['phase']}: {progress['done']} of {progress['total']}" if progress else ""
    return Waiting(f"node {name} to seal everything anew ({words})")


def certify(context: Context) -> Outcome:
    """Have a quorum sign what the cluster held and which key is to go, while it still runs.

    A cluster that cannot sign is deleted all the same: without a certificate.
    """
    cluster, operation = context.cluster, str(context.operation.pk)
    if not cluster.wrapped_key or cluster.erasure.get("operation") == operation:
        return None
    if cluster.erasure:
        # Of a deletion that was undone: the cluster was written to since.
        cluster.erasure = {}
        cluster.save(update_fields=["erasure"])
    try:
        with admin_client(cluster, timeout_s=TIMEOUT_S) as client:
            key = provider_reference(cluster)
            order = {"subject": key, "cluster_id": cluster.data_plane_id}
            made = client.run(Call("POST", "/api/v1/tombstones", body=order))
            tombstone = client.run(Call("GET", f"/api/v1/tombstones/{made['number']}"))
    except (ClientError, httpx.HTTPError) as error:
        if has_waited(context, PATIENCE):
            return None
        return Waiting(f"a quorum to sign the erasure ({error_words(error)})")
    cluster.erasure = {"operation": operation, "key": key, "tombstone": tombstone}
    cluster.save(update_fields=["erasure"])
    return None


def shred(context: Context) -> Outcome:
    """Destroy the cluster's key, and note when."""
    cluster = context.cluster
    if not cluster.wrapped_key:
        return None
    try:
        cluster_key_destroy(cluster)
    except KeyProviderError as error:
        return Waiting(f"the keeper of the keys to destroy this one ({error_words(error)})")
    destroyed = {"key": provider_reference(cluster), "destroyed_at": clock.now().isoformat()}
    cluster.erasure, cluster.wrapped_key = {**cluster.erasure, **destroyed}, b""
    cluster.save(update_fields=["erasure", "wrapped_key"])
    return None
