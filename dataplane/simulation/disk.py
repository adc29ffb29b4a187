"""A disk that keeps what was synced and loses the rest, or tears it; it may fill up or rot."""

import zlib
from random import Random

from dataplane.simulation.errors import DamagedLogError, DiskFullError


class Disk:
    """The write-ahead log of one node: synced records and a burst that is not synced yet."""

    def __init__(self) -> None:
        self._synced: list[tuple[int, bytes, int]] = []
        self._burst: list[tuple[int, bytes]] = []
        self.is_full = False
        self.was_flipped = False

    def append(self, label: int, records: tuple[bytes, ...]) -> None:
        """Buffer records.

        Raises:
            DiskFullError: There is no room.
        """
        if self.is_full:
            raise DiskFullError
        self._burst.extend((label, record) for record in records)

    @property
    def burst_size(self) -> int:
        """How many records are not synced."""
        return len(self._burst)

    def sync(self, count: int) -> list[bytes]:
        """Make the first `count` buffered records durable and return them."""
        done, self._burst = self._burst[:count], self._burst[count:]
        self._synced.extend((label, record, zlib.crc32(record)) for label, record in done)
        return [record for _, record in done]

    def crash(self, rng: Random, *, torn: bool) -> list[bytes]:
        """Lose the burst; of a torn one a prefix survives and is returned."""
        survivors = self.sync(rng.randint(0, len(self._burst)) if torn else 0)
        self._burst = []
        return survivors

    def flip(self, place: float) -> bool:
        """Turn one bit of a synced record around; return whether there was one."""
        if not self._synced:
            return False
        index = int(place * len(self._synced))
        label, record, checksum = self._synced[index]
        changed = bytearray(record)
        changed[len(changed) // 2] ^= 1
        self._synced[index] = (label, bytes(changed), checksum)
        self.was_flipped = True
        return True

    def records(self) -> list[bytes]:
        """Return what a restart reads.

        Raises:
            DamagedLogError: A synced record is not what was written.
        """
        if any(zlib.crc32(record) != checksum for _, record, checksum in self._synced):
            raise DamagedLogError
        return [record for _, record, _ in self._synced]

    def truncate_before(self, label: int) -> None:
        """Drop the oldest records as long as their labels are below."""
        keep = 0
        while keep < len(self._synced) and self._synced[keep][0] < label:
            keep += 1
        del self._synced[:keep]
