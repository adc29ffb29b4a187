"""Cut a segment into fragments of which any `k` of `n` give it back.

The code is systematic: the first `k` fragments are the segment itself, cut into equal pieces, so
that a reader who gets those only puts them together. It says nothing about truth: a wrong fragment
decodes to a wrong segment. Callers compare every fragment with its agreed digest first.

zfec, which does the arithmetic, is under another licence than this program (see docs/tiers.md). It
is imported where it is needed first: never without cold documents, nor where one fragment is all.
"""

from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, Final

from blake3 import blake3

if TYPE_CHECKING:
    from zfec import Decoder, Encoder

FRAGMENTS_COUNT_MAX: Final = 256
"""The code counts in a field of 256 elements."""
DIGEST_BYTES: Final = 32
_CODERS_COUNT_MAX: Final = 16


def digest(data: bytes) -> bytes:
    """Return what a segment or a fragment is told by."""
    return blake3(data).digest()


def needed(n: int) -> int:
    """Return of how many fragments any give the segment back, in a cluster of `n` members.

    A quorum may have moved it while f members were away, and f of that quorum may lie. Where none
    may (two or three members), one lost disk must not lose it either.
    """
    assert n >= 1
    return max(1, min(n - 2 * ((n - 1) // 3), n - 1))


def fragment_bytes(size: int, k: int) -> int:
    """Return how long each fragment of a segment of `size` bytes is."""
    return max(1, -(-size // k))


def encode(segment: bytes, k: int, n: int) -> list[bytes]:
    """Return the `n` fragments of a segment, all of one length."""
    length = fragment_bytes(len(segment), k)
    padded = segment.ljust(length * k, b"\0")
    if k == 1:
        return [padded] * n
    pieces = tuple(padded[at : at + length] for at in range(0, len(padded), length))
    fragments: list[bytes] = _encoder(k, n).encode(pieces)
    return fragments


def decode(fragments: Mapping[int, bytes], k: int, n: int, size: int) -> bytes:
    """Return the segment of `size` bytes from at least `k` of its fragments by their places.

    Every fragment must have been compared with its digest: what is wrong makes the whole wrong.
    """
    length = fragment_bytes(size, k)
    places = sorted(fragments)[:k]
    assert len(places) == k, "fewer fragments than the code needs"
    assert all(0 <= place < n and len(fragments[place]) == length for place in places)
    if k == 1 or places == list(range(k)):
        return b"".join(fragments[place] for place in places)[:size]
    blocks = tuple(fragments[place] for place in places)
    pieces: list[bytes] = _decoder(k, n).decode(blocks, tuple(places))
    return b"".join(pieces)[:size]


def rebuild(segment: bytes, k: int, n: int, place: int) -> bytes:
    """Return one fragment of a whole segment, as `encode` gave it."""
    return encode(segment, k, n)[place]


def is_sound(fragment: bytes, place: int, digests: Sequence[bytes]) -> bool:
    """Tell whether a fragment is the one that was agreed on for this place."""
    return 0 <= place < len(digests) and digest(fragment) == digests[place]


@lru_cache(maxsize=_CODERS_COUNT_MAX)
def _encoder(k: int, n: int) -> "Encoder":
    from zfec import Encoder  # noqa: PLC0415 - optional, see above

    assert 1 <= k <= n <= FRAGMENTS_COUNT_MAX
    return Encoder(k, n)


@lru_cache(maxsize=_CODERS_COUNT_MAX)
def _decoder(k: int, n: int) -> "Decoder":
    from zfec import Decoder  # noqa: PLC0415 - optional, see above

    assert 1 <= k <= n <= FRAGMENTS_COUNT_MAX
    return Decoder(k, n)
