"""Ed25519 by libsodium (PyNaCl): one library for the whole cluster.

Libraries differ on odd inputs (small-order points, non-canonical encodings); replicas that disagree
about a signature would disagree about everything after it.
"""

from pathlib import Path

from nacl import bindings
from nacl.exceptions import BadSignatureError

from dataplane.security.errors import KeyFileError

SEED_HEX_LENGTH = 64
OTHERS_MAY_READ = 0o077
REMEMBERED_MAX = 16_384
"""About 4 MB; the votes of some thousand batches."""


class Ed25519Signer:
    """Signs with one key."""

    def __init__(self, seed: bytes) -> None:
        self.public_key, self._secret_key = bindings.crypto_sign_seed_keypair(seed)

    def sign(self, payload: bytes) -> bytes:
        """Return the 64-byte signature of the payload."""
        return bindings.crypto_sign(payload, self._secret_key)[: bindings.crypto_sign_BYTES]


class Ed25519Verifier:
    """Checks signatures of any key."""

    def verify(self, public_key: bytes, payload: bytes, signature: bytes) -> bool:
        """Return whether the signature is the key's for the payload."""
        if len(signature) != bindings.crypto_sign_BYTES or len(public_key) != (
            bindings.crypto_sign_PUBLICKEYBYTES
        ):
            return False
        try:
            bindings.crypto_sign_open(signature + payload, public_key)
        except BadSignatureError:
            return False
        return True


class RememberingVerifier:
    """A verifier that does not check again what it found good lately.

    A vote counted once comes again inside certificates, view changes and repetitions. Only good
    signatures are remembered, the oldest forgotten first.
    """

    def __init__(self, verifier: Ed25519Verifier, count_max: int = REMEMBERED_MAX) -> None:
        self._verifier = verifier
        self._count_max = count_max
        self._good: dict[tuple[bytes, bytes, bytes], None] = {}

    def verify(self, public_key: bytes, payload: bytes, signature: bytes) -> bool:
        """Return whether the signature is the key's for the payload."""
        name = (public_key, payload, signature)
        if name in self._good:
            return True
        if not self._verifier.verify(public_key, payload, signature):
            return False
        self.remember(public_key, payload, signature)
        return True

    def remember(self, public_key: bytes, payload: bytes, signature: bytes) -> None:
        """Take a signature that was just made here as good."""
        if len(self._good) >= self._count_max:
            del self._good[next(iter(self._good))]
        self._good[public_key, payload, signature] = None


class RememberedSigner:
    """Signs what comes back inside batches, so that its own node need not check it there."""

    def __init__(self, signer: Ed25519Signer, verifier: RememberingVerifier) -> None:
        self._signer = signer
        self._verifier = verifier

    def sign(self, payload: bytes) -> bytes:
        """Return the 64-byte signature of the payload."""
        signature = self._signer.sign(payload)
        self._verifier.remember(self._signer.public_key, payload, signature)
        return signature


def load_signer(path: Path) -> Ed25519Signer:
    """Read a key file: 64 hex digits, mode 0600.

    Raises:
        KeyFileError: The file is missing, readable by others or not a key.
    """
    try:
        if path.stat().st_mode & OTHERS_MAY_READ:
            raise KeyFileError(f"{path.name} is readable by others; make it mode 0600")
        text = path.read_text().strip()
    except OSError as error:
        raise KeyFileError(f"cannot read {path.name}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise KeyFileError(f"{path.name} is not hex") from error
    try:
        seed = bytes.fromhex(text)
    except ValueError as error:
        raise KeyFileError(f"{path.name} is not hex") from error
    if len(text) != SEED_HEX_LENGTH:
        raise KeyFileError(f"{path.name} must hold {SEED_HEX_LENGTH} hex digits")
    return Ed25519Signer(seed)
