"""Lies to readers that do not order: how far the log is decided, what rows and fragments are."""

from random import Random

from msgspec.structs import replace

from dataplane.replication.peer_messages import FragmentAnswer, IndexAnswer
from dataplane.storage.fragments import pack, packed_length, unpack

FAR = 1_000_000


def lie_to_reader(answer: IndexAnswer, rng: Random) -> IndexAnswer | None:
    """Return what a liar answers a reader with; None for nothing."""
    match rng.randrange(6):
        case 0:
            return None
        case 1:
            return replace(answer, promised=0)
        case 2:
            return replace(answer, promised=FAR, executed=FAR)
        case 3:
            # Old rows, said to be new.
            return replace(answer, promised=0, executed=FAR)
        case 4:
            return replace(answer, digests=rng.randbytes(len(answer.digests)))
        case _:
            return answer


def lie_about_fragment(answer: FragmentAnswer, rng: Random) -> FragmentAnswer | None:
    """Return what a liar answers who asks for its fragment of a segment; None for nothing."""
    match rng.randrange(6):
        case 0:
            return None
        case 1:
            return replace(answer, fragment=None, later=False)
        case 2:
            return replace(answer, fragment=None, later=True)
        case 3:
            return replace(answer, fragment=rng.randbytes(rng.randrange(200)))
        case 4 if answer.fragment is not None:
            return replace(answer, fragment=flipped_fragment(answer.fragment))
        case _:
            return answer


def flipped_fragment(packed: bytes) -> bytes:
    """Return a fragment, as it is stored and sent, with one bit of it turned."""
    fragment = unpack(packed, packed_length(packed))
    assert fragment is not None
    return pack(fragment[:-1] + bytes([fragment[-1] ^ 1]))
