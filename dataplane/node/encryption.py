"""The keys of a running node, and sealing everything anew while it serves.

One change of keys at a time. Each begins with a new data key, under which everything new is from
then on; then rows, log and evidence are sealed anew a little at a time, and at the end the old key
is destroyed. What is still to be done is told from the disk alone, so that a node that was killed
goes on where it was.
"""

import asyncio
import logging
from collections.abc import Callable, Iterator
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from pathlib import Path
from typing import Final, override

from dataplane.client.errors import KeyProviderError
from dataplane.client.key_providers import cluster_key_read, provider_of
from dataplane.client.spec import Algorithm, EncryptionSpec, NodeSpec
from dataplane.documents.tables import META
from dataplane.documents.types import Classes
from dataplane.ports import Clock
from dataplane.security.errors import EncryptionError
from dataplane.security.keyring import EVIDENCE, FILE_NAME, LOG, ROWS, Keyring
from dataplane.storage.directory import DataDirectory
from dataplane.storage.encrypted import EncryptedStore
from dataplane.storage.engine import RocksStore
from dataplane.storage.errors import CorruptionError
from dataplane.storage.evidence import EvidenceLog
from dataplane.storage.ports import KeyValueStore
from dataplane.storage.standing_in import StandIn
from dataplane.storage.turning import TurningStore, open_sealed

log = logging.getLogger(__name__)

PAGES_A_STEP: Final = 4
ROWS_A_STEP: Final = 128
"""About a millisecond of work."""
PAUSE_S: Final = 0.004
"""Between two steps: the node spends at most a fifth of its time on this."""


@dataclass(slots=True)
class Progress:
    """How far a change of keys is; `total` is an estimate while rows are written."""

    phase: str
    done: int
    total: int


def open_keyring(spec: NodeSpec, data_dir: Path, clock: Clock) -> Keyring | None:
    """Return the node's keys, made when there are none yet; None for a node that is not encrypted.

    Raises:
        EncryptionError: The keys cannot be had; says what to do.
    """
    path = data_dir / FILE_NAME
    if spec.encryption is None:
        if path.exists():
            raise EncryptionError(
                "the data of this node is encrypted, but its specification has no section "
                "`encryption`: put the section back"
            )
        return None
    try:
        cluster_key = cluster_key_read(
            Path(spec.encryption.wrapped_key_file), spec.encryption.provider, spec.cluster_id
        )
    except KeyProviderError as error:
        raise EncryptionError(str(error)) from error
    owner = f"{spec.cluster_id}/{spec.node_id}"
    if path.exists():
        return Keyring(path, cluster_key, owner=owner)
    if (data_dir / "state.sealed").exists():
        raise EncryptionError(
            f"{FILE_NAME} of this node is gone, and with it the keys of its data: put it back "
            "from a copy, or replace the node, which then copies the state of its peers"
        )
    return Keyring.create(
        path,
        cluster_key,
        owner=owner,
        algorithm=spec.encryption.algorithm,
        now_ms=clock.now_ms(),
    )


def open_store(directory: DataDirectory, keyring: Keyring | None) -> StandIn:
    """Open the node's store as its keys demand.

    Raises:
        StorageError: It cannot be opened, or is damaged where it begins.
    """
    if keyring is None:
        return StandIn(RocksStore(directory.state_path))
    store = open_sealed(
        directory.state_path, directory.sealed_path, keyring.ciphers(ROWS), keyring.classes
    )
    sealed = _sealed(store)
    if store.get(META) is None and sealed is not None and sealed.damaged_count:
        # Without this row the state would begin anew, on top of what is there.
        raise CorruptionError(
            f"the totals of the state are damaged: move {directory.sealed_path.name} away and "
            "start the node again, which then copies the state of its peers"
        )
    return StandIn(store)


class Encryption(Classes):
    """What a node does about its keys; everything but `unlock` runs in the event loop."""

    def __init__(
        self,
        *,
        directory: DataDirectory,
        store: StandIn,
        evidence: EvidenceLog,
        keyring: Keyring | None,
        provider: EncryptionSpec | None,
        respec: Callable[[], NodeSpec],
        clock: Clock,
    ) -> None:
        self._directory, self._store, self._evidence = directory, store, evidence
        self._keyring, self._provider, self._respec = keyring, provider, respec
        self._clock = clock
        self._wake = asyncio.Event()
        self.progress: Progress | None = None
        self._turned: TurningStore | None = None
        self._wanted: AbstractSet[bytes] = frozenset()
        self._unsettled: list[bytes] = []
        self._are_rows_behind = False
        if keyring is not None and self._is_unfinished():
            self._begin()

    def _is_unfinished(self) -> bool:
        keyring = self._keyring
        return keyring is not None and (
            bool(keyring.old_numbers)
            or isinstance(self._store.store, TurningStore)
            or self._directory.wal.stale_count() > 0
            or self._evidence.is_stale
        )

    # --- What is said of it ---------------------------------------------------------------------

    def describe(self) -> dict[str, object]:
        """Return what `/encryption` and `/stats` show; no key is in it."""
        keyring = self._keyring
        if keyring is None or self._provider is None:
            return {"enabled": False}
        current, progress = keyring.current, self.progress
        return {
            "enabled": True,
            "algorithm": current.algorithm,
            "key": current.number,
            "key_created_ms": current.created_ms,
            "provider": provider_of(self._provider.provider).reference,
            "rotation": None
            if progress is None
            else {"phase": progress.phase, "done": progress.done, "total": progress.total},
        }

    @property
    def archive_keys(self) -> tuple[Algorithm, bytes] | None:
        """With what objects of the archive are sealed, and a secret that all nodes share.

        None for a node that is not encrypted.
        """
        if self._keyring is None:
            return None
        return self._keyring.current.algorithm, self._keyring.archive_secret

    @property
    def gauges(self) -> dict[str, Callable[[], int]]:
        """Return what the metrics page shows."""
        return {
            "encryption_enabled": lambda: int(self._keyring is not None),
            "encryption_key": lambda: self._keyring.current.number if self._keyring else 0,
            "encryption_rotating": lambda: int(self.progress is not None),
            "encryption_done": lambda: self.progress.done if self.progress else 0,
            "encryption_total": lambda: self.progress.total if self.progress else 0,
            "rows_unreadable": self._unreadable,
        }

    def _unreadable(self) -> int:
        sealed = _sealed(self._store.store)
        return 0 if sealed is None else sealed.damaged_count

    # --- Keys of classes ------------------------------------------------------------------------

    @override
    def open(self, prefixes: AbstractSet[bytes]) -> None:
        self._wanted = prefixes
        if self._keyring is None:
            return
        known = self._keyring.classes
        unsettled = self._keyring.keep_classes({*known, *prefixes}, self._clock.now_ms())
        # Of those that wait for the end of another change of keys every row was taken in already.
        behind = [prefix for prefix in unsettled if prefix not in self._unsettled]
        self._unsettled = unsettled
        if behind:
            sealed = _sealed(self._store.store)
            assert sealed is not None, "a node with keys has an encrypted store"
            # A copied or restored state brings rows that no key of a class was there for, and a
            # crash may have come between the key and their being taken under it.
            if sum(map(sealed.rewrite, behind)):
                self._are_rows_behind = True
            self._settle_classes()

    def _settle_classes(self) -> None:
        """Begin to destroy the key that such rows lay under, then forget that there were any.

        While another change of keys is under way it is left for the end of that.
        """
        assert self._keyring is not None, "there are no classes without keys"
        if self._are_rows_behind:
            if self.progress is not None:
                return
            self._store.store.flush()
            self._keyring.add(self._keyring.current.algorithm, self._clock.now_ms())
            self._begin()
        self._keyring.settle_classes(self._unsettled)
        self._unsettled, self._are_rows_behind = [], False

    @override
    def settle(self, prefixes: AbstractSet[bytes]) -> None:
        self._wanted = prefixes
        if self._keyring is not None and not prefixes >= self._keyring.classes.keys():
            # The rows must be gone for good before the key is.
            self._store.store.flush()
            self._keyring.keep_classes(prefixes, self._clock.now_ms())
            self._unsettled = [prefix for prefix in self._unsettled if prefix in prefixes]

    # --- A change of keys -----------------------------------------------------------------------

    async def rotate(self, algorithm: Algorithm | None) -> None:
        """Begin to use a new data key; a node that is plain turns encrypted.

        Raises:
            EncryptionError: One is under way, or the keys cannot be had.
        """
        if self.progress is not None:
            raise EncryptionError("a change of keys is under way")
        self.progress = Progress("begin", 0, 0)
        try:
            if self._keyring is None:
                spec, keyring = await asyncio.to_thread(self.unlock)
                self._turn(spec, keyring)
            else:
                current = self._keyring.current
                self._keyring.add(algorithm or current.algorithm, self._clock.now_ms())
            self._begin()
        except BaseException:
            self.progress = None
            raise

    def unlock(self) -> tuple[NodeSpec, Keyring]:
        """Read the specification again and make the keys that it now asks for.

        Raises:
            EncryptionError: It asks for none, or they cannot be had.
        """
        spec = self._respec()
        keyring = open_keyring(spec, self._directory.path, self._clock)
        if keyring is None:
            raise EncryptionError(
                "the specification of this node has no section `encryption`: the control plane "
                "writes it, with the wrapped cluster key, before it asks for this"
            )
        return spec, keyring

    def _turn(self, spec: NodeSpec, keyring: Keyring) -> None:
        directory, plain = self._directory, self._store.store
        assert isinstance(plain, RocksStore), "a node without keys has a plain store"
        # Whatever is written from here on is written under them.
        keyring.settle_classes(keyring.keep_classes(self._wanted, self._clock.now_ms()))
        sealed = EncryptedStore(
            RocksStore(directory.sealed_path), keyring.ciphers(ROWS), keyring.classes
        )
        self._store.stand_for(TurningStore(plain, sealed, directory.state_path))
        directory.wal.use(keyring.ciphers(LOG))
        self._evidence.use(keyring.ciphers(EVIDENCE))
        self._keyring, self._provider = keyring, spec.encryption

    def _begin(self) -> None:
        self.progress = Progress("rows", 0, 0)
        self._wake.set()

    async def run(self) -> None:
        """Do what is to be done, now and whenever a change begins; never returns."""
        while True:
            await self._wake.wait()
            self._wake.clear()
            if self.progress is None:
                continue
            log.info("encryption.begun", extra={"key": self._key_number})
            for _ in self.steps():
                await asyncio.sleep(PAUSE_S)
            self.progress = None
            log.info("encryption.done", extra={"key": self._key_number})
            if self._are_rows_behind:
                self._settle_classes()

    @property
    def _key_number(self) -> int:
        return 0 if self._keyring is None else self._keyring.current.number

    def steps(self) -> Iterator[None]:
        """Seal everything anew, a little between two yields, and destroy the old key."""
        keyring, directory = self._keyring, self._directory
        assert keyring is not None, "there are keys by now"
        yield from self._rows(self._store.store)
        wal = directory.wal
        wal.begin_segment()
        self.progress = progress = Progress("log", 0, wal.stale_count())
        for _ in wal.reseal():
            progress.done = progress.total - wal.stale_count()
            yield
        self.progress = Progress("evidence", 0, 1)
        directory.drop_lost_log()
        self._evidence.reseal()
        yield
        # What was sealed anew must be on disk before the key of what it replaced is not.
        self._store.store.flush()
        keyring.destroy_old()

    def _rows(self, store: KeyValueStore) -> Iterator[None]:
        if isinstance(store, TurningStore):
            self.progress = progress = Progress("rows", 0, store.estimate())
            while store.step(ROWS_A_STEP):
                progress.done = store.copied
                progress.total = max(progress.total, progress.done)
                yield
            while store.clear(ROWS_A_STEP):
                yield
            store.finish()
            self._turned = store
            self._store.stand_for(store.sealed)
        sealed = _sealed(self._store.store)
        assert sealed is not None, "the store is encrypted by now"
        self.progress = progress = Progress("rows", 0, sealed.stale_count())
        while sealed.reseal(PAGES_A_STEP):
            progress.done = progress.total - sealed.stale_count()
            yield

    def close(self) -> None:
        """Let go of what a turning store still holds."""
        if self._turned is not None:
            self._turned.close_plain()


def _sealed(store: KeyValueStore) -> EncryptedStore | None:
    if isinstance(store, TurningStore):
        return store.sealed
    return store if isinstance(store, EncryptedStore) else None
