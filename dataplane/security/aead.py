"""Authenticated encryption under one key, with nonces that cannot repeat.

A sealed message is the number of its key (2 bytes), a nonce (24), the ciphertext and a tag (16).
The nonce is 12 random bytes, drawn once in the life of a `Sealer`, and a 12-byte counter. AES-GCM
and ChaCha20-Poly1305 take nonces of 12 bytes, too few to draw at random for a node that writes ten
thousand rows a second for a year: for them the random half derives a key of its own from the key
(HKDF-SHA256), and the counter alone is the nonce under it. XChaCha20-Poly1305 takes all 24.
"""

import os
from collections.abc import Callable
from itertools import count
from typing import Final

from blake3 import blake3
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM, ChaCha20Poly1305
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from nacl import bindings
from nacl.exceptions import CryptoError

from dataplane.client.spec import Algorithm

KEY_BYTES: Final = 32
NAME_BYTES: Final = 16
NUMBER_BYTES: Final = 2
NUMBER_MAX: Final = 2 ** (8 * NUMBER_BYTES) - 1
HALF_BYTES: Final = 12
NONCE_BYTES: Final = 2 * HALF_BYTES
TAG_BYTES: Final = 16
OVERHEAD_BYTES: Final = NUMBER_BYTES + NONCE_BYTES + TAG_BYTES
MESSAGES_MAX: Final = 2**32
"""Messages under one derived key: far below what the ciphers bear, and a year at 136 a second."""
DERIVED_MAX: Final = 1_024
"""Derived keys kept for reading; a node makes one a life."""
_BODY_AT: Final = NUMBER_BYTES + NONCE_BYTES

type Crypt = Callable[[bytes, bytes, bytes], bytes]
"""(nonce, data, associated data) to the result; decryption raises `InvalidTag`."""


def derive(key: bytes, purpose: bytes) -> bytes:
    """Return the key for one purpose of a key; nobody learns the one from the other."""
    return HKDF(SHA256(), KEY_BYTES, salt=None, info=b"aerolith|" + purpose).derive(key)


class Sealer:
    """Seals and opens under one key; `number` names the key inside what it sealed."""

    def __init__(self, algorithm: Algorithm, key: bytes, number: int) -> None:
        assert len(key) == KEY_BYTES, "a key has 32 bytes"
        assert 0 < number <= NUMBER_MAX, "the number of a key fits two bytes"
        self.algorithm = algorithm
        self.number = number
        self._key = derive(key, b"seal")
        self._name_key = derive(key, b"name")
        self._head = number.to_bytes(NUMBER_BYTES, "big")
        self._opening: dict[bytes, Crypt] = {}
        self._begin()

    def _begin(self) -> None:
        """Begin with a new random half, and so with a new derived key."""
        half = os.urandom(HALF_BYTES)
        self._writing = self._head + half, self._crypts(half)[0], count()

    def seal(self, plain: bytes, place: bytes) -> bytes:
        """Return the sealed message; it opens at this place only."""
        prefix, encrypt, counter = self._writing
        number = next(counter)
        if number >= MESSAGES_MAX:
            self._begin()
            return self.seal(plain, place)
        nonce = number.to_bytes(HALF_BYTES, "big")
        return prefix + nonce + encrypt(nonce, plain, place)

    def open(self, sealed: bytes, place: bytes) -> bytes | None:
        """Return what was sealed at this place, None when these bytes are not from here."""
        if len(sealed) < OVERHEAD_BYTES or sealed[:NUMBER_BYTES] != self._head:
            return None
        half = sealed[NUMBER_BYTES : NUMBER_BYTES + HALF_BYTES]
        decrypt = self._opening.get(half)
        if decrypt is None:
            if len(self._opening) >= DERIVED_MAX:
                self._opening.pop(next(iter(self._opening), b""), None)
            decrypt = self._opening[half] = self._crypts(half)[1]
        nonce = sealed[NUMBER_BYTES + HALF_BYTES : _BODY_AT]
        try:
            return decrypt(nonce, sealed[_BODY_AT:], place)
        except (InvalidTag, CryptoError):
            return None

    def name(self, key: bytes) -> bytes:
        """Return what stands for a key where the key itself must not be readable."""
        return blake3(key, key=self._name_key).digest(NAME_BYTES)

    def _crypts(self, half: bytes) -> tuple[Crypt, Crypt]:
        if self.algorithm == "xchacha20-poly1305":
            return self._xchacha(half)
        kind = AESGCM if self.algorithm == "aes-256-gcm" else ChaCha20Poly1305
        cipher = kind(derive(self._key, b"half|" + half))
        return cipher.encrypt, cipher.decrypt

    def _xchacha(self, half: bytes) -> tuple[Crypt, Crypt]:
        key = self._key

        def encrypt(nonce: bytes, plain: bytes, place: bytes) -> bytes:
            return bindings.crypto_aead_xchacha20poly1305_ietf_encrypt(
                plain, place, half + nonce, key
            )

        def decrypt(nonce: bytes, sealed: bytes, place: bytes) -> bytes:
            return bindings.crypto_aead_xchacha20poly1305_ietf_decrypt(
                sealed, place, half + nonce, key
            )

        return encrypt, decrypt


def number_of(sealed: bytes) -> int:
    """Return the number of the key under which a message was sealed."""
    return int.from_bytes(sealed[:NUMBER_BYTES], "big")
