"""What a replica tells the gateways."""

import pytest

from dataplane.consensus.config import MemberKeys, ReplicaConfig
from dataplane.documents.types import RequestResult
from dataplane.replication.answers import is_awaited, send_replies
from dataplane.wire.quorum import reply_quorum


def config(me: int, count: int) -> ReplicaConfig:
    members = tuple(MemberKeys(n, b"v%d" % n, b"g%d" % n) for n in range(count))
    return ReplicaConfig(cluster_id=bytes(16), epoch=0, replica_id=me, members=members)


@pytest.mark.parametrize("count", [2, 3, 4, 7, 10])
def test_as_many_answer_a_gateway_at_once_as_must_agree_with_it(count):
    for gateway in range(count):
        others = [me for me in range(count) if me != gateway]
        awaited = [me for me in others if is_awaited(gateway, config(me, count))]
        assert len(awaited) == reply_quorum(count) - 1


def test_every_gateway_hears_of_its_own_requests_and_the_rest_may_come_later():
    sent: dict[int, bool] = {}

    class Link:
        def send(self, node_id: int, payload: bytes, *, later: bool = False) -> None:
            sent[node_id] = later

    results = [RequestResult(b"g%d" % n, bytes(8), 1, 5, "ok", (), bytes(32)) for n in (0, 1, 3)]
    send_replies(results, config(1, 4), Link())
    assert sent == {0: False, 3: True}
