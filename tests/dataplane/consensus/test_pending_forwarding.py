"""What a backup passes on, and how much of it at once."""

from dataplane.consensus.config import Limits
from dataplane.consensus.messages import Request
from dataplane.consensus.pending import PendingRequests


def pool(*sizes: int) -> PendingRequests:
    pending = PendingRequests(Limits())
    for cseq, size in enumerate(sizes, 1):
        assert pending.add(Request(b"c", b"s", cseq, 0, (bytes(size),), b""), 0)
    return pending


def cseqs(requests: list[Request]) -> list[int]:
    return [request.cseq for request in requests]


def test_the_oldest_go_first_as_far_as_the_bytes_reach() -> None:
    pending = pool(400, 400, 400, 400)
    assert cseqs(pending.due_for_forwarding(300, 300, 64, 1_000)) == [1, 2]
    assert cseqs(pending.due_for_forwarding(400, 300, 64, 1_000)) == [3, 4]
    assert cseqs(pending.due_for_forwarding(500, 300, 64, 1_000)) == []
    assert cseqs(pending.due_for_forwarding(600, 300, 64, 1_000)) == [1, 2]


def test_one_goes_whatever_its_size() -> None:
    pending = pool(5_000, 10)
    assert cseqs(pending.due_for_forwarding(300, 300, 64, 1_000)) == [1]
    assert cseqs(pending.due_for_forwarding(300, 300, 64, 1_000)) == [2]
