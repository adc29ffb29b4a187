"""A disk that keeps what was synced and loses the rest, or tears it."""

from random import Random


class Disk:
    """The write-ahead log of one node: synced records and a burst that is not synced yet."""

    def __init__(self) -> None:
        self._synced: list[tuple[int, bytes]] = []
        self._burst: list[tuple[int, bytes]] = []

    def append(self, label: int, records: tuple[bytes, ...]) -> None:
        """Buffer records."""
        self._burst.extend((label, record) for record in records)

    @property
    def burst_size(self) -> int:
        """How many records are not synced."""
        return len(self._burst)

    def sync(self, count: int) -> list[bytes]:
        """Make the first `count` buffered records durable and return them."""
        done, self._burst = self._burst[:count], self._burst[count:]
        self._synced.extend(done)
        return [record for _, record in done]

    def crash(self, rng: Random, *, torn: bool) -> list[bytes]:
        """Lose the burst; of a torn one a prefix survives and is returned."""
        survivors = self.sync(rng.randint(0, len(self._burst)) if torn else 0)
        self._burst = []
        return survivors

    def records(self) -> list[bytes]:
        """Return what a restart reads."""
        return [record for _, record in self._synced]

    def truncate_before(self, label: int) -> None:
        """Drop the oldest records as long as their labels are below."""
        keep = 0
        while keep < len(self._synced) and self._synced[keep][0] < label:
            keep += 1
        del self._synced[:keep]
