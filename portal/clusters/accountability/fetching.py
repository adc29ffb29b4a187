"""Reading proofs from nodes. Nodes lie: what they answer is bounded, and believed by nobody yet."""

import logging
from collections.abc import Iterator
from typing import Final

import httpx
import msgspec

from portal.clusters.accountability.types import EvidenceAnswer, EvidenceItem
from portal.clusters.connections import admin_key
from portal.clusters.constants import OBSERVE_TIMEOUT_S
from portal.clusters.models import Cluster, Node

logger = logging.getLogger(__name__)

PAGE_LIMIT: Final = 100
PAGES_PER_TURN: Final = 5
ANSWER_BYTES_MAX: Final = 512 * 1024

_decoder = msgspec.json.Decoder(EvidenceAnswer)


def has_news(node: Node) -> bool:
    """Tell whether a node says that it keeps more (or less) proofs than were read from it."""
    told = (node.observed or {}).get("evidence")
    return isinstance(told, int) and told != node.evidence_read


def node_read(cluster: Cluster, node: Node) -> Iterator[list[EvidenceItem]]:
    """Yield what a node keeps beyond what was read before; moves `evidence_read` along.

    A node that lost its disk keeps less than was read: then all is read again.
    """
    headers = {"Authorization": f"Bearer {admin_key(cluster)}"}
    with httpx.Client(timeout=OBSERVE_TIMEOUT_S, trust_env=False, headers=headers) as http:
        for _ in range(PAGES_PER_TURN):
            answer = _page(http, node)
            if answer is None:
                return
            if answer.count < node.evidence_read:
                node.evidence_read = 0
                continue
            node.evidence_read += len(answer.results[:PAGE_LIMIT])
            if answer.results:
                yield answer.results[:PAGE_LIMIT]
            if not answer.results or node.evidence_read >= answer.count:
                return


def _page(http: httpx.Client, node: Node) -> EvidenceAnswer | None:
    params = {"cursor": str(node.evidence_read), "limit": str(PAGE_LIMIT)}
    body = bytearray()
    try:
        with http.stream("GET", f"{node.url}/api/v1/evidence", params=params) as response:
            if response.status_code != httpx.codes.OK:
                return None
            for chunk in response.iter_bytes():
                body += chunk
                if len(body) > ANSWER_BYTES_MAX:
                    raise msgspec.DecodeError("the answer is too long")
        answer = _decoder.decode(bytes(body))
    except (httpx.HTTPError, msgspec.MsgspecError, UnicodeDecodeError) as error:
        logger.warning(
            "evidence.unreadable",
            extra={"cluster": str(node.cluster_id), "node": node.index, "reason": str(error)[:200]},
        )
        return None
    return answer if answer.node_id == node.index else None
