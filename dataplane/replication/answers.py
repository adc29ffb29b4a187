"""What a replica tells the gateways about the results of a batch."""

from collections.abc import Iterable
from typing import Protocol

from dataplane.consensus.config import ReplicaConfig
from dataplane.consensus.messages import Replies, Reply, encode_message
from dataplane.documents.types import RequestResult
from dataplane.wire.quorum import reply_quorum


class Link(Protocol):
    """The transport's part in this."""

    def send(self, node_id: int, payload: bytes, *, later: bool = False) -> None:
        """Send to one peer, at once or with the next frame that goes there."""
        ...


def send_replies(results: Iterable[RequestResult], config: ReplicaConfig, link: Link) -> None:
    """Tell the other gateways what their requests came to."""
    for gateway, replies in replies_by_gateway(results, config).items():
        link.send(gateway, encode_message(replies), later=not is_awaited(gateway, config))


def replies_by_gateway(
    results: Iterable[RequestResult], config: ReplicaConfig
) -> dict[int, Replies]:
    """Return the digests for each other member's gateway, in one message each."""
    replies: dict[int, list[Reply]] = {}
    for result in results:
        gateway = config.gateway_of(result.client)
        if gateway is not None and gateway != config.replica_id:
            replies.setdefault(gateway, []).append(
                Reply(
                    result.client,
                    result.session,
                    result.cseq,
                    result.sequence,
                    result.digest,
                    config.replica_id,
                )
            )
    return {gateway: Replies(tuple(mine)) for gateway, mine in replies.items()}


def is_awaited(gateway: int, config: ReplicaConfig) -> bool:
    """Whether this replica's reply is one of those a gateway can be certain with soonest.

    Those right behind it, as many as must agree with it, answer at once. What the rest say matters
    only when one of them is away or lies: it may wait for another frame to go with.
    """
    ids = [member.replica_id for member in config.members]
    behind = (ids.index(config.replica_id) - ids.index(gateway)) % config.n
    return behind < reply_quorum(config.n)
