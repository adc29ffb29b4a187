"""From specification and replicated state to what the core and the links work with."""

from dataplane.client.spec import MemberSpec, NodeSpec
from dataplane.consensus.config import MemberKeys, ReplicaConfig
from dataplane.documents.membership import EPOCH_TAIL
from dataplane.documents.types import Configuration
from dataplane.wire.membership import Member


def member_of(spec: MemberSpec) -> Member:
    """Return a member of a specification as the state keeps it."""
    return Member(
        spec.id,
        spec.host,
        spec.peer_port,
        spec.http_port,
        bytes.fromhex(spec.public_key),
        bytes.fromhex(spec.gateway_public_key),
    )


def member_spec(member: Member) -> MemberSpec:
    """Return a member of the state as a specification names it."""
    return MemberSpec(
        member.id,
        member.host,
        member.peer_port,
        member.http_port,
        member.public_key.hex(),
        member.gateway_key.hex(),
    )


def initial_configuration(spec: NodeSpec, known: Configuration) -> Configuration:
    """Return where a node begins: what its state knows, unless the specification is newer.

    A node that joins later has an empty state, and the members to learn from in its specification.
    """
    if spec.epoch > known.epoch or not known.members:
        members = tuple(map(member_of, spec.members))
        return Configuration(spec.epoch, spec.base, members)
    return known


def replica_config(cluster_id: bytes, node_id: int, current: Configuration) -> ReplicaConfig:
    """Return the core's configuration of a node in an epoch."""
    config = ReplicaConfig(
        cluster_id=cluster_id,
        epoch=current.epoch,
        replica_id=node_id,
        members=tuple(
            MemberKeys(member.id, member.public_key, member.gateway_key)
            for member in current.members
        ),
        base=current.base,
    )
    # Else a replica could vote beyond the end of an epoch before it knows of that end.
    assert config.limits.pipeline <= EPOCH_TAIL
    return config
