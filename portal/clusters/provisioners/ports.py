"""What a driver of nodes must be able to do; every call is idempotent."""

from dataclasses import dataclass
from typing import Literal, Protocol

from dataplane.client.provisioning import Authority, NodeMaterial
from dataplane.client.spec import GenesisSpec, MemberSpec

type NodeState = Literal["absent", "starting", "running", "backoff", "failed", "stopped"]


@dataclass(frozen=True, slots=True)
class Place:
    """Where a node listens."""

    host: str
    peer_port: int
    http_port: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Placement:
    """Everything a driver needs to place one node."""

    cluster_id: str
    cluster_name: str
    organization: str
    index: int
    members: tuple[MemberSpec, ...]
    genesis: GenesisSpec
    authority: Authority
    material: NodeMaterial
    usage_url: str
    usage_token: str


@dataclass(frozen=True, slots=True)
class Observed:
    """What the driver sees of a node's process or container."""

    state: NodeState
    restarts: int = 0
    last_exit: int | None = None


class Driver(Protocol):
    """Places nodes somewhere: processes, containers, pods.

    Every method raises `UnableToOperate` when it cannot do its work.
    """

    def reserve(self, cluster_id: str, index: int) -> Place:
        """Return where the node will listen; the same node gets the same place again."""
        ...

    def place(self, placement: Placement) -> None:
        """Write the node's files."""
        ...

    def start(self, cluster_id: str, index: int) -> None:
        """Start the node, or leave it running."""
        ...

    def stop(self, cluster_id: str, index: int) -> None:
        """Stop the node and keep its data."""
        ...

    def restart(self, cluster_id: str, index: int) -> None:
        """Stop and start the node."""
        ...

    def remove(self, cluster_id: str, index: int) -> None:
        """Stop the node and delete everything it had."""
        ...

    def observe(self, cluster_id: str) -> dict[int, Observed]:
        """Return the nodes of a cluster that are placed, by index."""
        ...

    def log_tail(self, cluster_id: str, index: int) -> str:
        """Return the end of the node's log."""
        ...
