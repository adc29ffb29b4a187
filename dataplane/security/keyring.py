"""The keys of one node, in one file, each wrapped under the cluster key.

The cluster key is what the provider unwraps at each start; it is never stored in the clear. Under
it are the node's data keys: one in use, and while everything is being sealed anew the one before.
Each purpose (rows, log, evidence) has a key of its own, derived from the data key.
"""

import contextlib
import os
import secrets
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Final

import msgspec
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from dataplane.client.provisioning import write_private
from dataplane.client.spec import Algorithm
from dataplane.security.aead import KEY_BYTES, NUMBER_MAX, Sealer, derive
from dataplane.security.errors import EncryptionError

FILE_NAME: Final = "keyring.json"
ROWS: Final = b"rows"
LOG: Final = b"log"
EVIDENCE: Final = b"evidence"
CLASS: Final = b"class"
ARCHIVE: Final = b"archive"
CLASS_NUMBER: Final = 1
"""What stands for a key's number in values of a class: each class has one key only."""
_FINGERPRINT_BYTES: Final = 8
_NONCE_BYTES: Final = 12


class StoredKey(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A data key as the file has it."""

    number: int
    algorithm: Algorithm
    created_ms: int
    wrapped: bytes


class StoredClass(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The key of one class of rows, as the file has it."""

    prefix: bytes
    algorithm: Algorithm
    created_ms: int
    wrapped: bytes
    is_settled: bool = False
    """Whether no row of the class is left that was written before this key was there."""


class StoredRing(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The file: the last key is the one in use."""

    version: int
    fingerprint: str
    """Tells one cluster key from another, and nothing about either."""
    keys: tuple[StoredKey, ...]
    highest: int
    classes: tuple[StoredClass, ...] = ()


class Keyring:
    """The file and its keys."""

    def __init__(self, path: Path, cluster_key: bytes, *, owner: str) -> None:
        """Open the file, which must exist; `owner` is the one node it is bound to.

        Raises:
            EncryptionError: The cluster key is another, or the file cannot be read.
        """
        self._path = path
        self._wrapping = AESGCM(derive(cluster_key, b"wrap"))
        self._fingerprint = fingerprint_of(cluster_key)
        self._owner = owner
        self.archive_secret = derive(cluster_key, ARCHIVE)
        """The same on every node of the cluster, whatever its own keys are."""
        self._ring = self._read()
        self._keys = {stored.number: self._open_key(stored) for stored in self._ring.keys}
        self._sets: dict[bytes, PurposeCiphers] = {}
        self.classes = {stored.prefix: self._open_class(stored) for stored in self._ring.classes}
        """By the start of a row's key, what its value is sealed with besides; changes in place."""

    @classmethod
    def create(
        cls, path: Path, cluster_key: bytes, *, owner: str, algorithm: Algorithm, now_ms: int
    ) -> "Keyring":
        """Make the file with a first key.

        Raises:
            EncryptionError: It cannot be written.
        """
        ring = object.__new__(cls)
        ring._path, ring._owner = path, owner
        ring._wrapping = AESGCM(derive(cluster_key, b"wrap"))
        ring._fingerprint = fingerprint_of(cluster_key)
        ring.archive_secret = derive(cluster_key, ARCHIVE)
        ring._ring = StoredRing(1, ring._fingerprint, (), 0)
        ring._keys, ring._sets, ring.classes = {}, {}, {}
        ring.add(algorithm, now_ms)
        return ring

    @property
    def current(self) -> StoredKey:
        """The key in use."""
        return self._ring.keys[-1]

    @property
    def old_numbers(self) -> tuple[int, ...]:
        """Keys under which something may still be."""
        return tuple(stored.number for stored in self._ring.keys[:-1])

    def key(self, number: int) -> tuple[Algorithm, bytes] | None:
        """Return algorithm and key of a number, None when it is not held."""
        for stored in self._ring.keys:
            if stored.number == number:
                return stored.algorithm, self._keys[number]
        return None

    def ciphers(self, purpose: bytes) -> "PurposeCiphers":
        """Return the ciphers for one purpose; they follow what happens to the ring."""
        return self._sets.setdefault(purpose, PurposeCiphers(self, purpose))

    def add(self, algorithm: Algorithm, now_ms: int) -> int:
        """Make a new key and use it from now on; it is on disk when this returns.

        Raises:
            EncryptionError: It cannot be written.
        """
        number = self._ring.highest + 1
        if number > NUMBER_MAX:
            raise EncryptionError(f"a node has at most {NUMBER_MAX} keys in its life")
        key, wrapped = self._new_key(self._place(number, algorithm))
        stored = StoredKey(number, algorithm, now_ms, wrapped)
        self._keys[number] = key
        self._write((*self._ring.keys, stored), number)
        return number

    def destroy_old(self) -> None:
        """Forget every key but the one in use, for ever.

        Raises:
            EncryptionError: The file cannot be written.
        """
        self._write(self._ring.keys[-1:], self._ring.highest)
        for number in [n for n in self._keys if n != self.current.number]:
            del self._keys[number]
        for ciphers in self._sets.values():
            ciphers.forget_old()

    def keep_classes(self, prefixes: Iterable[bytes], now_ms: int) -> list[bytes]:
        """Have a key for each of these classes, and destroy those of all others.

        Returns:
            The classes of which rows may be left that are not under their key yet.

        Raises:
            EncryptionError: The file cannot be written.
        """
        wanted = sorted(set(prefixes))
        kept = [stored for stored in self._ring.classes if stored.prefix in wanted]
        known = {stored.prefix for stored in kept}
        new = [prefix for prefix in wanted if prefix not in known]
        if not new and len(kept) == len(self._ring.classes):
            return [stored.prefix for stored in kept if not stored.is_settled]
        algorithm = self.current.algorithm
        for prefix in new:
            wrapped = self._new_key(self._class_place(prefix, algorithm))[1]
            kept.append(StoredClass(prefix, algorithm, now_ms, wrapped))
        self._write(self._ring.keys, self._ring.highest, tuple(kept))
        for stored in kept:
            if stored.prefix in new:
                self.classes[stored.prefix] = self._open_class(stored)
        for prefix in [prefix for prefix in self.classes if prefix not in wanted]:
            del self.classes[prefix]
        return [stored.prefix for stored in kept if not stored.is_settled]

    def settle_classes(self, prefixes: Iterable[bytes]) -> None:
        """Note durably that all rows of these classes are under their keys.

        Raises:
            EncryptionError: The file cannot be written.
        """
        settled = set(prefixes)
        classes = tuple(
            [
                msgspec.structs.replace(stored, is_settled=True)
                if stored.prefix in settled
                else stored
                for stored in self._ring.classes
            ]
        )
        self._write(self._ring.keys, self._ring.highest, classes)

    def _new_key(self, place: bytes) -> tuple[bytes, bytes]:
        """Return a new key, and it wrapped for its place."""
        key, nonce = secrets.token_bytes(KEY_BYTES), secrets.token_bytes(_NONCE_BYTES)
        return key, nonce + self._wrapping.encrypt(nonce, key, place)

    def _open_class(self, stored: StoredClass) -> Sealer:
        place = self._class_place(stored.prefix, stored.algorithm)
        key = self._unwrap(f"the key of a class in {self._path.name}", stored.wrapped, place)
        return Sealer(stored.algorithm, derive(key, CLASS), CLASS_NUMBER)

    def _class_place(self, prefix: bytes, algorithm: str) -> bytes:
        return f"aerolith-class-key|{self._owner}|{prefix.hex()}|{algorithm}".encode()

    def _write(
        self,
        keys: tuple[StoredKey, ...],
        highest: int,
        classes: tuple[StoredClass, ...] | None = None,
    ) -> None:
        held = self._ring.classes if classes is None else classes
        ring = StoredRing(1, self._fingerprint, keys, highest, held)
        try:
            with _wiped(self._path):
                write_private(self._path, msgspec.json.format(msgspec.json.encode(ring)))
                _sync_directory(self._path.parent)
        except OSError as error:
            raise EncryptionError(f"cannot write {self._path.name}: {error.strerror}") from error
        self._ring = ring

    def _read(self) -> StoredRing:
        name = self._path.name
        try:
            ring = msgspec.json.decode(self._path.read_bytes(), type=StoredRing)
        except OSError as error:
            raise EncryptionError(f"cannot read {name}: {error.strerror}") from error
        except (msgspec.MsgspecError, UnicodeDecodeError) as error:
            raise EncryptionError(
                f"{name} cannot be read ({error}): put it back from a copy of this node's disk, or "
                "replace the node, which then copies the state of its peers"
            ) from error
        if ring.version != 1 or not ring.keys:
            raise EncryptionError(f"{name} is of a version that this node does not know")
        if ring.fingerprint != self._fingerprint:
            raise EncryptionError(
                f"the cluster key is not the one this data is under (it is {self._fingerprint}, "
                f"needed is {ring.fingerprint}): give the node the right wrapped key and provider"
            )
        return ring

    def _unwrap(self, name: str, wrapped: bytes, place: bytes) -> bytes:
        try:
            return self._wrapping.decrypt(wrapped[:_NONCE_BYTES], wrapped[_NONCE_BYTES:], place)
        except (InvalidTag, ValueError) as error:
            raise EncryptionError(
                f"{name} does not open: the file was changed, or is of another node; put back "
                "this node's own"
            ) from error

    def _open_key(self, stored: StoredKey) -> bytes:
        name = f"key {stored.number} of {self._path.name}"
        return self._unwrap(name, stored.wrapped, self._place(stored.number, stored.algorithm))

    def _place(self, number: int, algorithm: str) -> bytes:
        return f"aerolith-data-key|{self._owner}|{number}|{algorithm}".encode()


class PurposeCiphers:
    """The ciphers of a ring for one purpose; each key has one cipher, always the same object."""

    def __init__(self, ring: Keyring, purpose: bytes) -> None:
        self._ring = ring
        self._purpose = purpose
        self._known: dict[int, Sealer] = {}
        self._current: Sealer | None = None

    @property
    def current(self) -> Sealer:
        """What new writes are sealed with."""
        number = self._ring.current.number
        if self._current is None or self._current.number != number:
            self._current = self.of(number)
        assert self._current is not None, "the key in use is held"
        return self._current

    def of(self, number: int) -> Sealer | None:
        """Return a cipher by its number, None when the ring does not hold that key."""
        known = self._known.get(number)
        if known is None:
            found = self._ring.key(number)
            if found is None:
                return None
            known = Sealer(found[0], derive(found[1], self._purpose), number)
            self._known[number] = known
        return known

    def forget_old(self) -> None:
        """Let go of every cipher but the one in use."""
        current = self.current
        self._known = {current.number: current}


def fingerprint_of(cluster_key: bytes) -> str:
    """Return what tells a cluster key from others without saying anything about it."""
    return derive(cluster_key, b"fingerprint")[:_FINGERPRINT_BYTES].hex()


@contextlib.contextmanager
def _wiped(path: Path) -> Iterator[None]:
    """Overwrite the file that is there after another took its place: it may hold a dead key.

    It helps on disks that write in place; a key that was destroyed stays wrapped anyway.
    """
    try:
        old = path.open("r+b")
    except FileNotFoundError:
        yield
        return
    with old:
        yield
        old.write(bytes(os.fstat(old.fileno()).st_size))
        old.flush()
        os.fsync(old.fileno())


def _sync_directory(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
