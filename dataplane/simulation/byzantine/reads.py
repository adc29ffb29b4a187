"""Lies about how far the log is decided, and about rows, to readers that do not order."""

from random import Random

from msgspec.structs import replace

from dataplane.replication.peer_messages import IndexAnswer

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
