"""What the portal needs of whoever places and runs nodes."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Literal, Protocol

from dataplane.client.provisioning import Authority, NodeMaterial
from dataplane.client.spec import (
    Algorithm,
    ArchiveSpec,
    FileKeySpec,
    GenesisSpec,
    MemberSpec,
    TransitKeySpec,
)


class DriverError(Exception):
    """The driver could not do it now; the same call may work later."""


@dataclass(frozen=True, slots=True)
class Address:
    """Where a node listens."""

    host: str
    peer_port: int
    http_port: int
    # 0: the node was placed before nodes spoke gRPC.
    grpc_port: int = 0


@dataclass(frozen=True, slots=True)
class Encryption:
    """How a node encrypts what it stores; the wrapped key is no secret."""

    algorithm: Algorithm
    provider: FileKeySpec | TransitKeySpec
    wrapped_key: bytes


@dataclass(frozen=True, slots=True)
class Archive:
    """Where nodes archive; the credentials are JSON, for a file that the node alone may read."""

    spec: ArchiveSpec
    credentials: bytes | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True)
class Blueprint:
    """Everything that distinguishes one node; the driver adds where its files are."""

    # The portal's id of the cluster, by which the driver is asked about it later.
    cluster: str
    cluster_id: str
    cluster_name: str
    organization: str
    index: int
    # Those of the epoch in which the node was added, and where the epoch before ended.
    members: tuple[MemberSpec, ...]
    epoch: int
    base: int
    # The node itself when it was added later: it learns from the members before it is one.
    learner: MemberSpec | None
    genesis: GenesisSpec
    profile: Literal["development", "production"]
    authority: Authority = field(repr=False)
    material: NodeMaterial = field(repr=False)
    usage_url: str
    usage_token: str = field(repr=False)
    grpc_port: int | None = None
    encryption: Encryption | None = None
    archive: Archive | None = None


@dataclass(frozen=True, slots=True)
class Placed:
    """A node as its driver sees it, from outside."""

    index: int
    state: str
    pid: int | None
    restarts: int
    last_exit: int | None
    # How it goes wrong on purpose; empty for a node like any other.
    behaviour: str = ""

    @property
    def is_up(self) -> bool:
        """Tell whether its process runs."""
        return self.state == "running" and self.pid is not None


class Driver(Protocol):
    """Places nodes. Every call is idempotent; `cluster` is the portal's id."""

    def reserve(self, cluster: str, indexes: Sequence[int]) -> Mapping[int, Address]:
        """Choose addresses for nodes; a node that has one keeps it."""
        ...

    def place(self, blueprint: Blueprint) -> None:
        """Put a node's specification and secrets where it will run."""
        ...

    def start(self, cluster: str, index: int) -> None:
        """Run a placed node; it stays wanted until stopped. One that was broken is replaced."""
        ...

    def start_broken(self, cluster: str, index: int, behaviour: str, until: datetime) -> None:
        """Run a placed node so that it goes wrong on purpose, at the longest `until` then.

        Raises:
            DriverError: the node is one that is never made to.
        """
        ...

    def crash(self, cluster: str, index: int) -> None:
        """End a node's process without warning, and leave it stopped."""
        ...

    def stop(self, cluster: str, index: int) -> None:
        """Stop a node and keep its data."""
        ...

    def restart(self, cluster: str, index: int) -> None:
        """Stop and start a node."""
        ...

    def remove(self, cluster: str, index: int) -> None:
        """Stop a node, delete its data and keys, and give its address back."""
        ...

    def release(self, cluster: str) -> None:
        """Give a cluster's addresses and folders back."""
        ...

    def observe(self, cluster: str) -> dict[int, Placed]:
        """Answer which nodes exist and how they are."""
        ...

    def logs(self, cluster: str, index: int, *, lines: int) -> list[str]:
        """Answer the last lines that a node logged."""
        ...
