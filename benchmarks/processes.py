"""What the processes of a cluster take: memory, disk, and what they wrote."""

import os
from pathlib import Path

from dataplane.client.local import LocalCluster


def resident_bytes(cluster: LocalCluster) -> int:
    """Return the memory of all nodes together."""
    pages = sum(int(_proc(pid, "statm").split()[1]) for pid in cluster.pids)
    return pages * os.sysconf("SC_PAGE_SIZE")


def written_bytes(cluster: LocalCluster) -> int:
    """Return what all nodes together have sent to the disk so far."""
    total = 0
    for pid in cluster.pids:
        fields = dict(line.split(": ") for line in _proc(pid, "io").splitlines())
        total += int(fields["write_bytes"])
    return total


def disk_bytes(cluster: LocalCluster) -> int:
    """Return what all nodes together hold on disk."""
    return sum(file.stat().st_size for file in cluster.directory.rglob("*") if file.is_file())


def _proc(pid: int, name: str) -> str:
    return Path(f"/proc/{pid}/{name}").read_text()
