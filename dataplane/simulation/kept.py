"""The application's state at one node: flushed now and then, damaged or replaced at times."""

from collections.abc import Callable
from random import Random

from dataplane.consensus.messages import Batch
from dataplane.documents.replicated import ReplicatedStore
from dataplane.documents.types import BatchResult, Executor
from dataplane.storage.engine import MemoryStore


class KeptState:
    """Rows, the application over them, and the batches since the rows were written and flushed."""

    def __init__(
        self,
        make: Callable[[MemoryStore], Executor],
        *,
        flippable: bytes,
        checkpoint_interval: int,
    ) -> None:
        self._make = make
        self._flippable = flippable
        self._interval = checkpoint_interval
        self.store = MemoryStore()
        self.executor = make(self.store)
        self.flushed = 0
        self.is_damaged = False
        self.was_damaged = False
        self._damage_shows_at = 0
        self._damage_was_read = False
        self._base = self.store.copy()
        self._base_applied = 0
        self._batches: list[Batch] = []
        self._stable: list[int] = []

    def apply(self, sequence: int, batch: Batch) -> BatchResult:
        """Execute a batch."""
        result = self.executor.apply(sequence, batch.ts_ms, batch.requests)
        self._batches.append(batch)
        if self.is_damaged and not self._damage_was_read and self.is_sound():
            # A batch read the flipped bit: from here on the rows are false and agree with each
            # other, and only the next checkpoint can tell.
            self._damage_was_read = True
            self._damage_shows_at = -(-sequence // self._interval) * self._interval
        return result

    def batches(self) -> dict[int, Batch]:
        """Return the batches that made this state, as far as it was not copied."""
        return dict(enumerate(self._batches, self._base_applied + 1))

    def retain(self, sequence: int) -> None:
        """Keep the state of a stable checkpoint for others to copy, and flush."""
        self.executor.copies.retain(sequence)
        self._stable.append(sequence)
        self.flushed = self.executor.applied

    def crash(self, rng: Random) -> None:
        """Lose some of what was not flushed."""
        kept = rng.randint(self.flushed, self.executor.applied)
        del self._batches[kept - self._base_applied :]
        self.store = self._base.copy()
        self.executor = self._make(self.store)
        for sequence, batch in self.batches().items():
            self.executor.apply(sequence, batch.ts_ms, batch.requests)
        for sequence in self._stable:
            if self._base_applied < sequence <= kept:
                self.executor.copies.retain(sequence)
        self.is_damaged = False

    def installed(self, sequence: int) -> None:
        """Go on from a copied state, which is flushed."""
        self._base = self.store.copy()
        self._base_applied = self.flushed = sequence
        self._batches = []
        # A flipped bit that nobody noticed yet is not mended by a copy that skips what is equal.
        self.is_damaged = self.is_damaged and not self.is_sound()

    # --- Damage ---------------------------------------------------------------------------------

    def flip(self, rng: Random) -> bool:
        """Change a bit of a stored row; say whether there was one."""
        rows = list(self.store.iterate(self._flippable))
        if not rows:
            return False
        key, value = rng.choice(rows)
        self.store.write({key: value[:-1] + bytes([value[-1] ^ 1])})
        self.is_damaged = self.was_damaged = True
        self._damage_was_read = False
        self._damage_shows_at = (self.executor.applied // self._interval + 1) * self._interval
        return True

    def must_be_repaired(self, stable: int) -> bool:
        """Whether damage can be known: by looking at the rows, or by the next checkpoint's root.

        A batch that read a flipped bit makes rows that are false and agree with each other.
        """
        return self.is_damaged and (stable >= self._damage_shows_at or not self.is_sound())

    def is_sound(self) -> bool:
        """Whether the rows have the root that the tree says."""
        return self.hashed_anew() == self.executor.root()

    def hashed_anew(self) -> bytes:
        """Return the root of the stored rows, whatever the tree says of them."""
        rows = {key: value for key, value in self.store.iterate(b"") if key[:1].isupper()}
        return ReplicatedStore(MemoryStore(rows), lambda: None).root()
