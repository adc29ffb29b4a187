"""A node's specification as the core's configuration."""

from dataplane.client.spec import NodeSpec
from dataplane.consensus.config import MemberKeys, ReplicaConfig


def replica_config(spec: NodeSpec) -> ReplicaConfig:
    """Return the core's configuration for a node's specification."""
    members = tuple(
        MemberKeys(
            member.id,
            bytes.fromhex(member.public_key),
            bytes.fromhex(member.gateway_public_key),
        )
        for member in spec.members
    )
    return ReplicaConfig(
        cluster_id=bytes.fromhex(spec.cluster_id),
        epoch=spec.epoch,
        replica_id=spec.node_id,
        members=members,
    )
