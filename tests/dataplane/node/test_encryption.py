"""Everything is sealed anew in small steps, and the disk after any of them is a whole node."""

import shutil
from pathlib import Path

import msgspec
import pytest

from dataplane.client.local import LocalCluster
from dataplane.client.spec import NodeSpec, load_spec
from dataplane.node import encryption
from dataplane.node.encryption import Encryption, open_keyring, open_store
from dataplane.ports import SystemClock
from dataplane.security.errors import EncryptionError
from dataplane.security.keyring import EVIDENCE, LOG
from dataplane.storage import encrypted
from dataplane.storage.directory import DataDirectory
from dataplane.storage.evidence import EvidenceLog
from tests.dataplane.storage.ciphers import found_in
from tests.dataplane.storage.test_evidence import record

ROWS = {b"Dorder-%03d" % number: b"pangolin %d" % number for number in range(120)}
RECORDS = [b"vote on okapi %d" % number for number in range(60)]
PROOFS = [record(1), record(2)]
WORDS = (b"order-", b"pangolin", b"okapi", b"seen_ms")


class Disk:
    """What of a node is on its disk, opened."""

    def __init__(self, spec: NodeSpec) -> None:
        self.keyring = None

        def ciphers(path: Path):
            self.keyring = open_keyring(spec, path, SystemClock())
            return None if self.keyring is None else self.keyring.ciphers(LOG)

        self.directory = DataDirectory(
            Path(spec.data_dir), segment_bytes=1_500, open_ciphers=ciphers
        )
        self.store = open_store(self.directory, self.keyring)
        sealing = None if self.keyring is None else self.keyring.ciphers(EVIDENCE)
        self.evidence = EvidenceLog(self.directory.evidence_path, sealing)
        self.encryption = Encryption(
            directory=self.directory,
            store=self.store,
            evidence=self.evidence,
            keyring=self.keyring,
            provider=spec.encryption,
            respec=lambda: spec,
            clock=SystemClock(),
        )

    def check(self) -> None:
        assert dict(self.store.iterate(b"D")) == ROWS
        assert self.store.get_many(list(ROWS)) == list(ROWS.values())
        assert [payload for _, payload in self.directory.wal.replay()] == RECORDS
        assert self.evidence.records == PROOFS
        assert self.directory.amnesia is None

    def close(self) -> None:
        self.store.close()
        self.encryption.close()
        self.evidence.close()
        self.directory.close()


@pytest.fixture
def cluster(tmp_path: Path) -> LocalCluster:
    return LocalCluster(tmp_path / "cluster", 1)


@pytest.fixture(autouse=True)
def small_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(encrypted, "ROWS_MAX", 16)
    monkeypatch.setattr(encrypted, "ROWS_NEW", 10)
    monkeypatch.setattr(encrypted, "STIR_MAX", 24)
    monkeypatch.setattr(encryption, "PAGES_A_STEP", 2)
    monkeypatch.setattr(encryption, "ROWS_A_STEP", 20)


def filled(spec: NodeSpec) -> None:
    disk = Disk(spec)
    for start in range(0, 120, 10):
        disk.store.write(dict(list(ROWS.items())[start : start + 10]))
    disk.store.write({b"Dgone": b"x", b"Dgone too": b"x"})
    disk.store.write({b"Dgone": None, b"Dgone too": None})
    for label, payload in enumerate(RECORDS):
        disk.directory.wal.append([payload], label=label)
        disk.directory.wal.sync()
    for proof in PROOFS:
        disk.evidence.append(proof)
    disk.close()


def copied(spec: NodeSpec, home: Path) -> NodeSpec:
    """Copy the disk as a crash would leave it."""
    shutil.copytree(spec.data_dir, home)
    return msgspec.structs.replace(spec, data_dir=str(home))


def walk(spec: NodeSpec, begin, tmp_path: Path) -> int:
    """Change the keys in steps; at each, the disk as it is there opens whole and goes on."""
    disk = Disk(spec)
    begin(disk)
    count = 0
    for count, _ in enumerate(disk.encryption.steps(), start=1):
        disk.check()
        crashed = copied(spec, tmp_path / f"crash-{count}")
        again = Disk(crashed)
        again.check()
        if again.encryption.progress is None:
            assert again.keyring.old_numbers == ()
            assert not found_in(tmp_path / f"crash-{count}", *WORDS), "it thinks that it is done"
        if count % 5 == 0:
            list(again.encryption.steps())
            again.check()
            assert not found_in(tmp_path / f"crash-{count}", *WORDS)
        again.close()
    disk.check()
    disk.close()
    return count


def test_a_plain_node_turns_encrypted_whole_at_every_step(cluster, tmp_path):
    filled(load_spec(cluster.specs[0]))
    cluster.encrypt("aes-256-gcm")
    spec = load_spec(cluster.specs[0])
    assert found_in(Path(spec.data_dir), *WORDS)
    assert walk(spec, lambda _: None, tmp_path) > 12
    assert not found_in(Path(spec.data_dir), *WORDS)
    assert not (Path(spec.data_dir) / "state").exists()
    disk = Disk(spec)
    assert disk.encryption.progress is None
    disk.check()
    disk.close()


def test_a_key_is_changed_whole_at_every_step(cluster, tmp_path):
    cluster.encrypt("aes-256-gcm")
    spec = load_spec(cluster.specs[0])
    filled(spec)
    ring = (Path(spec.data_dir) / "keyring.json").read_bytes()

    def begin(disk: Disk) -> None:
        disk.keyring.add("chacha20-poly1305", 1)

    assert walk(spec, begin, tmp_path) > 6
    old = ring.split(b'"wrapped": "')[1].split(b'"')[0]
    assert not found_in(Path(spec.data_dir), old)
    disk = Disk(spec)
    assert disk.keyring.old_numbers == ()
    assert disk.keyring.current.algorithm == "chacha20-poly1305"
    disk.check()
    disk.close()


async def test_a_change_is_refused_while_one_is_under_way_or_without_a_section(cluster):
    spec = load_spec(cluster.specs[0])
    disk = Disk(spec)
    with pytest.raises(EncryptionError, match="has no section `encryption`"):
        await disk.encryption.rotate(None)
    assert disk.encryption.describe() == {"enabled": False}
    cluster.encrypt("aes-256-gcm")
    disk.encryption._respec = lambda: load_spec(cluster.specs[0])
    await disk.encryption.rotate(None)
    with pytest.raises(EncryptionError, match="is under way"):
        await disk.encryption.rotate(None)
    described = disk.encryption.describe()
    assert described["key"] == 1
    assert described["provider"] == "file kek.key"
    disk.close()


CLASS, EMPTY = b"Dorde", b"Dnone"


@pytest.mark.parametrize("killed_at", ["key made", "half taken in", "taken in", "changing keys"])
def test_rows_that_came_before_the_key_of_their_class_end_under_it_wherever_a_crash_falls(
    cluster, tmp_path, monkeypatch, killed_at
):
    """As after a copy of a state: the rows are there, then the node learns of their class."""
    cluster.encrypt("aes-256-gcm")
    spec = load_spec(cluster.specs[0])
    filled(spec)
    disk = Disk(spec)
    first = disk.keyring.current.number
    match killed_at:
        case "key made":
            disk.keyring.keep_classes([CLASS], 1)
        case "half taken in":
            disk.keyring.keep_classes([CLASS], 1)
            disk.store.write(dict(list(ROWS.items())[:50]))
        case "taken in":
            disk.keyring.keep_classes([CLASS], 1)
            disk.store.write(ROWS)
        case _:
            disk.encryption.open({CLASS})
            assert disk.encryption.progress is not None
            next(disk.encryption.steps())
    disk.close()
    again = Disk(spec)
    again.encryption.open({CLASS})
    again.check()
    assert again.keyring.current.number == first + 1
    list(again.encryption.steps())
    again.check()
    assert again.keyring.old_numbers == ()
    again.close()
    last = Disk(spec)
    assert last.encryption.progress is None
    last.encryption.open({CLASS})
    assert last.encryption.progress is None, "what is settled is not looked at again"
    last.check()
    last.encryption.settle(set())
    assert {*dict(last.store.iterate(b"D")).values()} == {b""}, "nothing is left without the key"
    last.close()


def test_a_class_that_begins_empty_changes_no_other_key(cluster):
    cluster.encrypt("aes-256-gcm")
    disk = Disk(load_spec(cluster.specs[0]))
    disk.encryption.open({CLASS})
    assert disk.encryption.progress is None
    disk.store.write(ROWS)
    disk.encryption.open({CLASS})
    assert disk.encryption.progress is None
    disk.close()


def test_a_change_of_keys_under_way_is_followed_by_another(cluster, monkeypatch):
    cluster.encrypt("aes-256-gcm")
    spec = load_spec(cluster.specs[0])
    filled(spec)
    disk = Disk(spec)
    disk.keyring.add("aes-256-gcm", 1)
    disk.encryption._begin()
    taken_in, rewrite = [], encrypted.EncryptedStore.rewrite
    monkeypatch.setattr(
        encrypted.EncryptedStore,
        "rewrite",
        lambda self, prefix: taken_in.append(prefix) or rewrite(self, prefix),
    )
    disk.encryption.open({CLASS})
    disk.encryption.open({CLASS, EMPTY})
    assert taken_in == [CLASS, EMPTY], "each only once"
    second = disk.keyring.current.number
    list(disk.encryption.steps())
    disk.encryption.progress = None
    disk.encryption._settle_classes()
    assert disk.keyring.current.number == second + 1
    list(disk.encryption.steps())
    assert disk.keyring.keep_classes([CLASS, EMPTY], 1) == []
    disk.check()
    disk.close()
