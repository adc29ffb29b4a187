"""Keys and signatures."""

import os
from pathlib import Path

import pytest

from dataplane.security.errors import KeyFileError
from dataplane.security.signing import Ed25519Signer, Ed25519Verifier, load_signer

# RFC 8032, section 7.1, test 2.
SEED = bytes.fromhex("4ccd089b28ff96da9db6c346ec114e0f5b8a319f35aba624da8cf6ed4fb8a6fb")
PUBLIC = bytes.fromhex("3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c")
SIGNATURE = bytes.fromhex(
    "92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da"
    "085ac1e43e15996e458f3613d0f11d8c387b2eaeb4302aeeb00d291612bb0c00"
)


def test_signatures_are_those_of_rfc_8032():
    signer = Ed25519Signer(SEED)
    assert signer.public_key == PUBLIC
    assert signer.sign(b"\x72") == SIGNATURE
    assert Ed25519Verifier().verify(PUBLIC, b"\x72", SIGNATURE)


@pytest.mark.parametrize("position", [0, 31, 32, 63])
def test_a_changed_signature_is_refused(position):
    changed = bytearray(SIGNATURE)
    changed[position] ^= 1
    assert not Ed25519Verifier().verify(PUBLIC, b"\x72", bytes(changed))


@pytest.mark.parametrize(
    ("key", "payload", "signature"),
    [
        (PUBLIC, b"\x73", SIGNATURE),
        (bytes(32), b"\x72", SIGNATURE),
        (PUBLIC[:-1], b"\x72", SIGNATURE),
        (PUBLIC, b"\x72", SIGNATURE[:-1]),
        (PUBLIC, b"\x72", b""),
        (b"\x01" + bytes(31), b"\x72", b"\x01" + bytes(63)),
    ],
    ids=["payload", "zero key", "short key", "short signature", "none", "small order"],
)
def test_what_does_not_fit_is_refused_without_an_exception(key, payload, signature):
    assert not Ed25519Verifier().verify(key, payload, signature)


def key_file(directory: Path, text: str, mode: int = 0o600) -> Path:
    path = directory / "signing.key"
    path.write_text(text)
    path.chmod(mode)
    return path


def test_a_key_file_is_a_seed_in_hex(tmp_path):
    assert load_signer(key_file(tmp_path, SEED.hex() + "\n")).public_key == PUBLIC


@pytest.mark.parametrize(
    ("text", "mode", "words"),
    [
        (SEED.hex(), 0o640, "readable by others"),
        (SEED.hex(), 0o604, "readable by others"),
        (SEED.hex()[:-2], 0o600, "64 hex digits"),
        ("not hex", 0o600, "not hex"),
        ("é" * 32, 0o600, "not hex"),
        ("", 0o600, "64 hex digits"),
    ],
)
def test_a_bad_key_file_is_named_without_its_content(tmp_path, text, mode, words):
    with pytest.raises(KeyFileError, match=words) as raised:
        load_signer(key_file(tmp_path, text, mode))
    assert SEED.hex()[:8] not in str(raised.value)
    assert "signing.key" in str(raised.value)


def test_a_key_file_that_is_not_text_is_refused(tmp_path):
    path = tmp_path / "signing.key"
    path.write_bytes(os.urandom(16) + b"\xff\xfe")
    path.chmod(0o600)
    with pytest.raises(KeyFileError):
        load_signer(path)


def test_a_missing_key_file_is_named(tmp_path):
    with pytest.raises(KeyFileError, match="cannot read"):
        load_signer(tmp_path / "signing.key")
