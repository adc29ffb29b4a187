"""What a replica tells the gateways about the results of a batch."""

from collections.abc import Iterable

from dataplane.consensus.config import ReplicaConfig
from dataplane.consensus.messages import Replies, Reply
from dataplane.documents.types import RequestResult


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
