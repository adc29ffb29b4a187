"""Where the nodes of clusters keep what nobody touches for long: the operator's store of archives.

Each cluster has a prefix of its own in it. Nodes seal what they store under the key of their
cluster, so a cluster that stores in the clear has no archive.
"""

import asyncio
import time
from collections.abc import Callable
from itertools import batched
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final
from urllib.parse import urlsplit

import msgspec
from django.conf import settings

from dataplane.client.archive_store import REMOVED, ArchiveStore, Credentials
from dataplane.client.provisioning import write_private
from dataplane.client.spec import ArchiveSpec
from portal.clusters.models import Cluster
from portal.clusters.ports import Archive

PREFIX: Final = "archive/"
"""Below it are the clusters: a bucket may hold other things of theirs, such as backups."""
DIRECTORY: Final = "segments"
REGION: Final = "us-east-1"
CLEAR_S: Final = 15.0
"""So long objects are deleted before the operation says how far it is."""


def archive_store() -> Archive | None:
    """Return the store that the operator named, None when there is none."""
    url, options = str(settings.ARCHIVE_STORE_URL), dict(settings.ARCHIVE_STORE_OPTIONS)
    if not url:
        return None
    parts = urlsplit(url)
    if parts.scheme == "file":
        return Archive(ArchiveSpec(url, DIRECTORY, PREFIX))
    region = options.get("region", REGION)
    inside = parts.path.strip("/")
    spec = ArchiveSpec(
        options.get("endpoint") or f"https://s3.{region}.amazonaws.com",
        parts.netloc,
        f"{inside}/{PREFIX}" if inside else PREFIX,
        region,
    )
    if "access_key_id" not in options:
        return Archive(spec)
    secret = Credentials(options["access_key_id"], options.get("secret_access_key", ""))
    return Archive(spec, msgspec.json.encode(secret))


def archive_of(cluster: Cluster) -> Archive | None:
    """Return where the nodes of a cluster archive, None when they do not."""
    return archive_store() if cluster.wrapped_key else None


def archive_refusal(cluster: Cluster) -> str:
    """Say why a cluster has no archive; empty when it has one."""
    if archive_store() is None:
        return "This installation has no store for archives."
    if not cluster.wrapped_key:
        return "Only clusters that encrypt what they store have an archive: see Settings."
    return ""


def archive_clear(archive: Archive, cluster_id: str, tell: Callable[[str], None]) -> int | None:
    """Delete what a cluster archived, for a while; return how much, None when there may be more.

    Raises:
        ArchiveUnavailableError: the store does not do it now.
    """
    with TemporaryDirectory(prefix="archive-") as directory:
        spec = archive.spec
        if archive.credentials is not None:
            path = Path(directory) / "credentials.json"
            write_private(path, archive.credentials)
            spec = msgspec.structs.replace(spec, credentials_file=str(path))
        return asyncio.run(_clear(ArchiveStore(spec, cluster_id), tell))


async def _clear(store: ArchiveStore, tell: Callable[[str], None]) -> int | None:
    ends_at, count = time.perf_counter() + CLEAR_S, 0
    async for names in store.names():
        for part in batched(names, REMOVED):
            await store.delete(part)
            count += len(part)
            tell(f"{count:,} archived segments are deleted, others to go")
            if time.perf_counter() > ends_at:
                return None
    return count
