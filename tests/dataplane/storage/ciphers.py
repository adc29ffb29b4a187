"""Ciphers of tests: keys that are there, keys that follow, keys that are gone."""

from pathlib import Path

from dataplane.client.spec import Algorithm
from dataplane.security.aead import Sealer


class Ring:
    """Holds keys by number; the last that was added is the one in use."""

    def __init__(self, algorithm: Algorithm = "aes-256-gcm", seed: int = 0) -> None:
        self._seed = seed
        self._known: dict[int, Sealer] = {}
        self._number = 0
        self.add(algorithm)

    def add(self, algorithm: Algorithm = "chacha20-poly1305") -> None:
        self._number += 1
        key = bytes([self._seed, self._number] * 16)
        self._known[self._number] = Sealer(algorithm, key, self._number)

    def forget_old(self) -> None:
        self._known = {self._number: self._known[self._number]}

    @property
    def current(self) -> Sealer:
        return self._known[self._number]

    def of(self, number: int) -> Sealer | None:
        return self._known.get(number)


def found_in(directory: Path, *words: bytes) -> dict[str, list[bytes]]:
    """Return which files below a directory hold which of these words, in their names too."""
    found: dict[str, list[bytes]] = {}
    for path in sorted(directory.rglob("*")):
        content = path.name.encode() + (path.read_bytes() if path.is_file() else b"")
        held = [word for word in words if word in content]
        if held:
            found[path.name] = held
    return found
