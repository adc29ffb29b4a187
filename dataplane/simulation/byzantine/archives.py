"""A member that tells of the archive what is not so."""

from typing import override

from dataplane.documents.cold import SegmentRecord
from dataplane.node.archived_segments import Archive


class ForgedArchive(Archive):
    """Whatever is asked for is there, whatever is to be removed is gone, and nothing is done."""

    @override
    async def stored(self, record: SegmentRecord, *, timeout_ms: int) -> bytes | None:
        return b""

    @override
    async def remove(self, number: int, plain_digest: bytes) -> bool:
        return True
