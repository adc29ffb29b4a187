"""What the metrics page tells of tiers: memory, disk, segments, and fetching these."""

from collections.abc import Iterator
from dataclasses import dataclass

from dataplane.documents.view import StateView
from dataplane.gateways.fetches import BUCKETS_S, Fetches
from dataplane.node.cold_segments import ColdSegments
from dataplane.replication.fragments import Fragments

type Family = tuple[str, str, str, dict[str, int]]
"""Name, kind, help, and values by labels."""


@dataclass(frozen=True, slots=True)
class TierParts:
    """What the page is read from."""

    view: StateView
    fetches: Fetches
    segments: ColdSegments
    fragments: Fragments


def tier_lines(parts: TierParts) -> list[str]:
    """Return the lines of the page."""
    lines: list[str] = []
    fetches = parts.fetches
    families = [*_memory(parts.view), *_tiers(parts.view), *_fetches(fetches), *_segments(parts)]
    for name, kind, told, values in families:
        lines += [f"# HELP aerolith_{name} {told}", f"# TYPE aerolith_{name} {kind}"]
        lines += [f"aerolith_{name}{labels} {value}" for labels, value in values.items()]
    return [*lines, *_histogram(fetches)]


def _memory(view: StateView) -> Iterator[Family]:
    memory, cache = view.memory, view.cached()
    counter, gauge = "counter", "gauge"
    yield "memory_tier_hits_total", counter, "Documents answered from memory.", {"": memory.hits}
    yield "memory_tier_misses_total", counter, "Documents that were not.", {"": memory.misses}
    evictions = {"": memory.evictions}
    yield "memory_tier_evictions_total", counter, "Documents that had to make room.", evictions
    yield "memory_tier_documents", gauge, "Documents kept in memory.", {"": len(memory)}
    yield "memory_tier_bytes", gauge, "Bytes that they take.", {"": memory.size_bytes}
    yield "memory_tier_limit_bytes", gauge, "Bytes that they may take.", {"": memory.bytes_max}
    yield "block_cache_hits_total", counter, "Blocks found in memory.", {"": cache.hits}
    yield "block_cache_misses_total", counter, "Blocks read from disk.", {"": cache.misses}
    yield "block_cache_bytes", gauge, "Bytes of blocks in memory.", {"": cache.size_bytes}
    yield "block_cache_limit_bytes", gauge, "Bytes that they may take.", {"": cache.bytes_max}


def _tiers(view: StateView) -> Iterator[Family]:
    totals = view.tier_totals().items()
    counter, moves = "counter", view.tiers.moves
    documents = {f'{{tier="{tier}"}}': found[0] for tier, found in totals}
    yield "tier_documents", "gauge", "Documents by where their bodies are.", documents
    sizes = {f'{{tier="{tier}"}}': found[1] for tier, found in totals}
    yield "tier_bytes", "gauge", "Bytes of these bodies.", sizes
    sealed = "Documents that became cold."
    yield "segments_sealed_total", counter, "Segments made.", {"": moves.segments_sealed}
    yield "segments_forgotten_total", counter, "Segments gone.", {"": moves.segments_forgotten}
    yield "documents_sealed_total", counter, sealed, {"": moves.documents_sealed}
    yield "sealed_bytes_total", counter, "Bytes of their bodies.", {"": moves.bytes_sealed}
    held = {"": len(view.tiers.holds.dead)}
    yield "segments_held", "gauge", "Segments of nothing, kept for backups.", held
    archived = {"": moves.segments_archived}
    yield "segments_archived_total", counter, "Segments that left for the archive.", archived
    yield "documents_warmed_total", counter, "Documents put back.", {"": moves.documents_warmed}


def _fetches(fetches: Fetches) -> Iterator[Family]:
    outcomes = {f'{{outcome="{name}"}}': n for name, n in fetches.outcomes.items()}
    told = "Segments asked for, by how that ended."
    yield "segment_reads_total", "counter", told, outcomes
    yield "segment_fetched_bytes_total", "counter", "Bytes fetched.", {"": fetches.bytes}


def _segments(parts: TierParts) -> Iterator[Family]:
    counter, gauge, segments = "counter", "gauge", parts.segments
    yield "segment_cache_hits_total", counter, "Segments found in memory.", {"": segments.hits}
    yield "segment_cache_misses_total", counter, "Segments that were not.", {"": segments.misses}
    yield "segment_cache_bytes", gauge, "Bytes of segments in memory.", {"": segments.known_bytes}
    yield "segment_cache_segments", gauge, "Segments in memory.", {"": segments.known_count}
    yield "segment_fetches_under_way", gauge, "Or waiting for it.", {"": segments.under_way}
    fetched, wrong = {"": parts.fragments.fetched}, sorted(parts.fragments.wrong.items())
    yield "fragments_fetched_total", counter, "Honest ones, of other nodes.", fetched
    told = "Fragments with another digest than agreed, by who gave them."
    yield "wrong_fragments_total", counter, told, {f'{{node="{n}"}}': count for n, count in wrong}


def _histogram(fetches: Fetches) -> Iterator[str]:
    name = "aerolith_segment_fetch_seconds"
    yield f"# HELP {name} How long fetching a segment took."
    yield f"# TYPE {name} histogram"
    ends = [f"{seconds:g}" for seconds in BUCKETS_S] + ["+Inf"]
    for tier, times in fetches.times.items():
        count, label = 0, f'tier="{tier}"'
        for end, more in zip(ends, times.counts, strict=True):
            count += more
            yield f'{name}_bucket{{{label},le="{end}"}} {count}'
        yield f"{name}_sum{{{label}}} {times.seconds:.6f}"
        yield f"{name}_count{{{label}}} {count}"
