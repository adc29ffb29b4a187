"""Signatures of the simulation: keyed hashes that only the holder of the key can make."""

from blake3 import blake3

SIGNATURE_BYTES = 64


class FakeSigner:
    """Signs with one secret; a liar is given no secret but its own."""

    def __init__(self, secret: bytes) -> None:
        self._secret = secret
        self.public_key = blake3(b"public" + secret).digest()

    def sign(self, payload: bytes) -> bytes:
        """Return the signature of the payload."""
        return blake3(payload, key=self._secret).digest(SIGNATURE_BYTES)


class FakeVerifier:
    """Knows every secret of the world, and is used only to check."""

    def __init__(self, signers: list[FakeSigner]) -> None:
        self._signers = {signer.public_key: signer for signer in signers}

    def verify(self, public_key: bytes, payload: bytes, signature: bytes) -> bool:
        """Return whether the signature is the key's for the payload."""
        signer = self._signers.get(public_key)
        return signer is not None and signer.sign(payload) == signature


def signer_of(kind: str, replica_id: int) -> FakeSigner:
    """Return the signer of a replica ("vote") or of its gateway ("gateway")."""
    return FakeSigner(blake3(f"{kind} {replica_id}".encode()).digest())
