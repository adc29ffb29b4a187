"""A node's keys: bound to it, wrapped on disk, and gone when they are destroyed."""

from pathlib import Path

import msgspec
import pytest

from dataplane.security.errors import EncryptionError
from dataplane.security.keyring import LOG, ROWS, Keyring

CLUSTER_KEY, OTHER = bytes(range(32)), bytes(32)


def made(path: Path) -> Keyring:
    return Keyring.create(path, CLUSTER_KEY, owner="c/0", algorithm="aes-256-gcm", now_ms=1_000)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "keyring.json"


def test_keys_come_back_and_are_wrapped_on_disk(path: Path) -> None:
    sealed = made(path).ciphers(ROWS).current.seal(b"row", b"here")
    again = Keyring(path, CLUSTER_KEY, owner="c/0")
    assert again.ciphers(ROWS).current.open(sealed, b"here") == b"row"
    key = again.key(1)
    assert key is not None
    assert key[1] not in path.read_bytes()
    assert key[1].hex().encode() not in path.read_bytes()
    assert path.stat().st_mode & 0o777 == 0o600


def test_each_purpose_has_its_own_key(path: Path) -> None:
    ring = made(path)
    sealed = ring.ciphers(ROWS).current.seal(b"row", b"here")
    assert ring.ciphers(LOG).current.open(sealed, b"here") is None
    assert ring.ciphers(ROWS).of(1) is ring.ciphers(ROWS).current


def test_another_cluster_key_is_named_as_such(path: Path) -> None:
    made(path)
    with pytest.raises(EncryptionError, match="not the one this data is under"):
        Keyring(path, OTHER, owner="c/0")


def test_the_keys_of_another_node_are_refused(path: Path) -> None:
    made(path)
    with pytest.raises(EncryptionError, match="of another node"):
        Keyring(path, CLUSTER_KEY, owner="c/1")


def test_a_changed_file_is_refused(path: Path) -> None:
    made(path)
    stored = msgspec.json.decode(path.read_bytes())
    stored["keys"][0]["algorithm"] = "chacha20-poly1305"
    path.write_bytes(msgspec.json.encode(stored))
    with pytest.raises(EncryptionError, match="does not open"):
        Keyring(path, CLUSTER_KEY, owner="c/0")
    path.write_bytes(b"{")
    with pytest.raises(EncryptionError, match="cannot be read"):
        Keyring(path, CLUSTER_KEY, owner="c/0")


def test_a_new_key_is_used_at_once_and_the_old_one_until_it_is_destroyed(path: Path) -> None:
    ring = made(path)
    ciphers = ring.ciphers(ROWS)
    old = ciphers.current.seal(b"row", b"here")
    ring.add("xchacha20-poly1305", 2_000)
    assert ciphers.current.number == 2
    assert ciphers.current.algorithm == "xchacha20-poly1305"
    again = Keyring(path, CLUSTER_KEY, owner="c/0")
    assert again.old_numbers == (1,)
    for held in (ring, again):
        cipher = held.ciphers(ROWS).of(1)
        assert cipher is not None
        assert cipher.open(old, b"here") == b"row"
    wrapped = msgspec.json.decode(path.read_bytes())["keys"][0]["wrapped"].encode()
    inode = path.open("rb")
    ring.destroy_old()
    assert ciphers.of(1) is None
    assert wrapped not in path.read_bytes()
    with inode:
        assert wrapped not in inode.read(), "the file that was replaced is overwritten"
    assert Keyring(path, CLUSTER_KEY, owner="c/0").ciphers(ROWS).of(1) is None


def test_numbers_are_never_used_again(path: Path) -> None:
    ring = made(path)
    for expected in (2, 3, 4):
        assert ring.add("aes-256-gcm", 0) == expected
        ring.destroy_old()
        ring = Keyring(path, CLUSTER_KEY, owner="c/0")


def test_a_class_has_a_key_of_its_own_until_it_is_settled_away(path: Path) -> None:
    ring = made(path)
    assert ring.keep_classes([b"Dab", b"Dcd"], 5) == [b"Dab", b"Dcd"]
    sealed = ring.classes[b"Dab"].seal(b"body", b"key")
    assert ring.classes[b"Dcd"].open(sealed, b"key") is None
    assert ring.ciphers(ROWS).current.open(sealed, b"key") is None
    ring.add("chacha20-poly1305", 6)
    ring.destroy_old()
    again = Keyring(path, CLUSTER_KEY, owner="c/0")
    assert again.classes[b"Dab"].open(sealed, b"key") == b"body"
    wrapped = msgspec.json.decode(path.read_bytes())["classes"][0]["wrapped"].encode()
    again.settle_classes([b"Dcd"])
    assert again.keep_classes([b"Dcd", b"Def"], 7) == [b"Def"]
    assert set(again.classes) == {b"Dcd", b"Def"}
    assert wrapped not in path.read_bytes()
    again.keep_classes([b"Dcd", b"Dab"], 8)
    assert again.classes[b"Dab"].open(sealed, b"key") is None, "a new key for an old name"


def test_a_class_counts_as_unsettled_until_that_is_noted_however_often_the_node_starts(
    path: Path,
) -> None:
    made(path).keep_classes([b"Dab", b"Dcd"], 5)
    for _ in range(2):
        ring = Keyring(path, CLUSTER_KEY, owner="c/0")
        assert ring.keep_classes([b"Dab", b"Dcd"], 6) == [b"Dab", b"Dcd"]
    ring.settle_classes([b"Dab"])
    again = Keyring(path, CLUSTER_KEY, owner="c/0")
    assert again.keep_classes([b"Dab", b"Dcd"], 6) == [b"Dcd"]
