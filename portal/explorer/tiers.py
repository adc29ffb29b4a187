"""Where documents are, as pages show it: a bar with a part for each tier, and policies in words."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final, Self

from dataplane.client.quorum import faults_tolerated
from portal.explorer.spans import Span

SHARE_LEAST: Final = 1.0
"""Little is shown as little, not as nothing: percent of the bar."""
COLLECTIONS_SHOWN: Final = 6
LABELS: Final = {
    "ssd": ("Disk", "whole on the disk of every node"),
    "distributed": ("Distributed", "coded, a part on every node"),
    "archive": ("Archive", "sealed, in object storage"),
}


@dataclass(frozen=True, slots=True)
class Tier:
    """A part of the bar; `start` and `share` are percent of it."""

    name: str
    documents: int
    bytes: int
    start: float = 0.0
    share: float = 0.0

    @property
    def label(self) -> str:
        """What people call it."""
        return LABELS[self.name][0]

    @property
    def words(self) -> str:
        """How documents lie there."""
        return LABELS[self.name][1]


@dataclass(frozen=True, slots=True)
class Places:
    """Where all documents of something are."""

    tiers: tuple[Tier, ...]

    @classmethod
    def of(cls, amounts: Mapping[str, tuple[int, int]]) -> Self:
        """Lay out documents and bytes by tier."""
        total = sum(size for _, size in amounts.values())
        wide = {
            name: max(SHARE_LEAST, 100 * size / total) if size else 0.0
            for name, (_, size) in amounts.items()
        }
        stretch, start, tiers = 100 / (sum(wide.values()) or 1), 0.0, []
        for name in LABELS:
            documents, size = amounts.get(name, (0, 0))
            share = wide.get(name, 0.0) * stretch
            tiers.append(Tier(name, documents, size, round(start, 2), round(share, 2)))
            start += share
        return cls(tuple(tiers))

    @property
    def documents(self) -> int:
        """All of them."""
        return sum(tier.documents for tier in self.tiers)

    @property
    def bytes(self) -> int:
        """Of all of them."""
        return sum(tier.bytes for tier in self.tiers)

    @property
    def is_all_on_disk(self) -> bool:
        """Tell whether nothing was ever moved."""
        return not any(tier.documents for tier in self.tiers[1:])

    @property
    def sentence(self) -> str:
        """Say what the bar shows to who does not see it."""
        if not self.documents:
            return "No documents"
        parts = [f"{tier.label} {tier.documents:,}" for tier in self.tiers if tier.documents]
        return f"Documents by tier: {', '.join(parts)}"


@dataclass(frozen=True, slots=True)
class Policy:
    """After which times the documents of a collection move; None: they do not."""

    cold_after: Span | None = None
    archive_after: Span | None = None

    @property
    def words(self) -> str:
        """Say it in few words."""
        parts = []
        if self.cold_after is not None:
            parts.append(f"cold after {self.cold_after.words}")
        if self.archive_after is not None:
            parts.append(f"archived after {self.archive_after.words}")
        return ", ".join(parts)


@dataclass(frozen=True, slots=True)
class Memory:
    """What the node that was asked has of documents in memory: copies, so no part of the bar."""

    documents: int
    bytes: int
    # Of the whole node: which it is, how much it may be, and the share of reads answered by it.
    node: int | None = None
    limit: int = 0
    hit_rate: float | None = None

    @property
    def percent(self) -> str:
        """The share of reads that needed no disk; empty before the first."""
        return "" if self.hit_rate is None else f"{100 * self.hit_rate:.0f} %"


@dataclass(frozen=True, slots=True)
class Listed:
    """A collection as the list shows it."""

    name: str
    documents: int
    bytes: int
    places: Places
    policy: Policy
    memory: Memory | None = None

    @property
    def is_tiered(self) -> bool:
        """Tell whether its documents may be in several tiers, or are."""
        return bool(self.policy.words) or not self.places.is_all_on_disk


@dataclass(frozen=True, slots=True)
class Spread:
    """How cold documents lie in a cluster of some size."""

    nodes: int
    needed: int
    """So many of the nodes give a document back."""

    @classmethod
    def over(cls, nodes: int) -> Self:
        """Return it for a number of members; decision 32 of the data plane has the reasons."""
        return cls(nodes, max(1, min(nodes - 2 * faults_tolerated(nodes), nodes - 1)))

    @property
    def part(self) -> str:
        """Say how much of a cold document one node keeps."""
        names = {1: "all", 2: "a half", 3: "a third", 4: "a quarter"}
        return names.get(self.needed, f"1/{self.needed}")


def care_words(stats: Mapping[str, Any]) -> list[str]:
    """Say what a cluster does for cold documents just now; nothing where all is as it should be.

    How parts of documents are is what the node that was asked knows of its own disk.
    """
    told = stats["segments"]
    total, misplaced, waiting = (int(told[name]) for name in ("total", "misplaced", "waiting"))
    missing = int(told["fragments"]["missing"])
    words = []
    if waiting:
        words.append(f"A change of nodes waits until {waiting:,} of {total:,} segments are moved.")
    elif misplaced:
        words.append(f"{misplaced:,} of {total:,} segments are on their way to the present nodes.")
    if missing:
        words.append(f"Node {stats['node_id']} makes {missing:,} of its parts anew.")
    return words


def listed(collection: Mapping[str, Any]) -> Listed:
    """Return a collection as the cluster tells it with what the list shows."""
    documents, size = int(collection["documents"]), int(collection["bytes"])
    told = collection.get("tiers") or {"ssd": {"documents": documents, "bytes": size}}
    amounts = {
        name: (int(tier["documents"]), int(tier["bytes"]))
        for name, tier in told.items()
        if name in LABELS
    }
    options = collection.get("options") or {}
    places, policy = Places.of(amounts), policy_of(options.get("tiering") or {})
    held = told.get("memory")
    memory = None if held is None else Memory(int(held["documents"]), int(held["bytes"]))
    return Listed(str(collection["name"]), documents, size, places, policy, memory)


def memory_of(stats: Mapping[str, Any]) -> Memory:
    """Return what the node that was asked has in memory."""
    told = stats["tiers"]["memory"]
    return Memory(
        int(told["documents"]),
        int(told["bytes"]),
        int(stats["node_id"]),
        int(told["limit"]),
        told["hit_rate"],
    )


def policy_of(tiering: Mapping[str, Any]) -> Policy:
    """Return the policy that an option `tiering` stands for."""
    cold, archive = tiering.get("cold_after_s"), tiering.get("archive_after_s")
    return Policy(
        None if cold is None else Span.of(int(cold)),
        None if archive is None else Span.of(int(archive)),
    )


def places_together(collections: Iterable[Listed]) -> Places:
    """Return where the documents of several collections are."""
    amounts = dict.fromkeys(LABELS, (0, 0))
    for collection in collections:
        for tier in collection.places.tiers:
            documents, size = amounts[tier.name]
            amounts[tier.name] = (documents + tier.documents, size + tier.bytes)
    return Places.of(amounts)


def largest_tiered(collections: Iterable[Listed]) -> list[Listed]:
    """Return the collections with tiers that hold most, the largest first."""
    tiered = [collection for collection in collections if collection.is_tiered]
    return sorted(tiered, key=lambda found: (-found.bytes, found.name))[:COLLECTIONS_SHOWN]
