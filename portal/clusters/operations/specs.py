"""Keys and specifications: what each node is told, the same whenever it is told again.

A node's specification says who the members were when it was *added*; later changes are in its own
state. So it is never rewritten: a node that slept through a change learns of it from its peers,
by the votes of the epoch it still knows.
"""

from typing import Any

import msgspec
from django.conf import settings
from django.db import transaction

from dataplane.client.keys import SCOPES, hash_token, key_id_of
from dataplane.client.membership import public_key_of
from dataplane.client.provisioning import (
    Authority,
    NodeMaterial,
    create_authority,
    create_node_material,
)
from dataplane.client.spec import Algorithm, GenesisSpec, KeySpec, MemberSpec
from portal.clusters.archives import archive_of
from portal.clusters.connections import admin_key
from portal.clusters.keeping import provider_spec
from portal.clusters.models import Cluster, Node, Profile
from portal.clusters.ports import Blueprint, Encryption
from portal.core import clock
from portal.core.crypto import seal, unseal
from portal.core.tenancy import current_schema
from portal.plans.selectors import plan_get

USAGE_WINDOW_MS = 60_000


def material_make(cluster: Cluster) -> None:
    """Make what keys are missing; those that exist stay, since peers may know them."""
    now = clock.now()
    with transaction.atomic():
        if not cluster.authority:
            made = create_authority(cluster.data_plane_id, now)
            cluster.authority = seal(msgspec.json.encode(made))
            cluster.save(update_fields=["authority"])
        authority = _authority(cluster)
        for node in cluster.nodes.filter(public_key=""):
            own = create_node_material(authority, cluster.data_plane_id, node.index, node.host, now)
            node.material = seal(msgspec.json.encode(own))
            node.public_key, node.gateway_public_key = own.public_key, own.gateway_public_key
            node.save(update_fields=["material", "public_key", "gateway_public_key"])


def genesis_make(cluster: Cluster) -> None:
    """Fix the state before sequence 1: a node that is added in years must begin with the same."""
    if not cluster.genesis:
        cluster.genesis = msgspec.to_builtins(_genesis_new(cluster))
        cluster.save(update_fields=["genesis"])


def member_spec(node: Node) -> MemberSpec:
    """Return a node as the others know it."""
    return MemberSpec(
        node.index,
        node.host,
        node.peer_port,
        node.http_port,
        node.public_key,
        node.gateway_public_key,
    )


def joined_now(cluster: Cluster) -> dict[str, Any]:
    """Return what a node that is added now has to know of the members."""
    members = [msgspec.to_builtins(member_spec(node)) for node in cluster.members]
    return {"epoch": cluster.epoch, "base": cluster.base, "members": members}


def blueprint_of(cluster: Cluster, node: Node) -> Blueprint:
    """Return everything that a driver needs to place a node."""
    genesis = _genesis(cluster)
    joined = node.joined
    members = msgspec.convert(joined["members"], tuple[MemberSpec, ...]) if joined else ()
    return Blueprint(
        cluster=str(cluster.pk),
        cluster_id=cluster.data_plane_id,
        cluster_name=cluster.name,
        organization=current_schema(),
        index=node.index,
        members=members or genesis.members or tuple(map(member_spec, cluster.members)),
        epoch=joined.get("epoch", 0),
        base=joined.get("base", 0),
        learner=member_spec(node) if joined else None,
        genesis=genesis,
        profile="production" if cluster.profile == Profile.PRODUCTION else "development",
        authority=_authority(cluster),
        material=msgspec.json.decode(unseal(bytes(node.material)), type=NodeMaterial),
        usage_url=f"{_internal_url()}/internal/usage",
        usage_token=unseal(bytes(cluster.usage_token)).decode(),
        grpc_port=node.grpc_port or None,
        encryption=_encryption(cluster),
        archive=archive_of(cluster),
    )


def _encryption(cluster: Cluster) -> Encryption | None:
    if not cluster.wrapped_key:
        return None
    algorithm = msgspec.convert(cluster.encryption, Algorithm)
    return Encryption(algorithm, provider_spec(cluster), bytes(cluster.wrapped_key))


def control_seed(cluster: Cluster) -> bytes:
    """Return the seed that signs changes of the members; never show it to anybody."""
    return unseal(bytes(cluster.control_seed))


def _genesis(cluster: Cluster) -> GenesisSpec:
    if cluster.genesis:
        return msgspec.convert(cluster.genesis, GenesisSpec)
    # Made before there were control-plane keys: its nodes have begun and only need the same again.
    return _genesis_new(cluster)


def _genesis_new(cluster: Cluster) -> GenesisSpec:
    plan = plan_get(cluster.plan)
    token = admin_key(cluster)
    key_id = key_id_of(token)
    assert key_id is not None
    has_control = bool(cluster.control_seed)
    return GenesisSpec(
        (KeySpec(key_id, "portal", hash_token(token), SCOPES),),
        plan.calls_per_month,
        plan.storage_bytes,
        getattr(settings, "USAGE_WINDOW_MS", USAGE_WINDOW_MS),
        members=tuple(map(member_spec, cluster.members)) if has_control else (),
        admin_public_key=public_key_of(control_seed(cluster)) if has_control else None,
        requests_per_s=plan.requests_per_s,
    )


def _internal_url() -> str:
    """Return where nodes reach the portal: not always where browsers do."""
    return str(getattr(settings, "INTERNAL_URL", settings.PORTAL_URL))


def _authority(cluster: Cluster) -> Authority:
    return msgspec.json.decode(unseal(bytes(cluster.authority)), type=Authority)
