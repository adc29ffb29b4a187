"""What a node does for the archive when the state goes on meanwhile."""

from types import SimpleNamespace
from typing import cast

import pytest

from dataplane.client.archive_store import ArchiveStore
from dataplane.client.spec import ArchiveSpec
from dataplane.documents.commands import Delete
from dataplane.node.archived_segments import Archive
from dataplane.node.archiving import Archiver
from dataplane.node.encryption import Encryption
from tests.dataplane.gateways.test_submitting import Gateway, spec

__all__ = ["spec"]

KEYS = SimpleNamespace(archive_keys=("aes-256-gcm", b"k" * 32))


class Slow(ArchiveStore):
    """A store of which an upload takes so long that its segment is gone when it arrives."""

    meanwhile = staticmethod(lambda: None)

    async def put(self, name: str, data: bytes) -> None:
        self.meanwhile()
        await super().put(name, data)


@pytest.mark.parametrize("goes", [False, True])
async def test_an_upload_that_arrives_after_its_segment_went_is_removed_again(spec, tmp_path, goes):
    gateway = Gateway(spec)
    machine = gateway.machine
    store = Slow(ArchiveSpec(url=f"file://{tmp_path}", bucket=""), spec.cluster_id)
    if goes:
        store.meanwhile = lambda: machine.apply(Delete("c", "a"))
    view = machine.state.view
    archive = Archive(store, view, cast("Encryption", KEYS), cluster_id=spec.cluster_id)

    async def gather(record, /, *, timeout_ms):
        return await gateway.segments.fetch(record.number, timeout_ms=timeout_ms)

    archiver = Archiver(gateway.context, view, archive=archive, gather=gather, clock=gateway.clock)
    record = view.tiers.segments(0, 1)[0]
    assert await archiver._is_stored((record.number, record)) is not goes
    assert await store.exists(archive.name(record)) is not goes
