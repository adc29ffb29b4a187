"""Publishing to browsers that are watching, through the channel layer."""

import logging
from uuid import UUID

from asgiref.sync import async_to_sync
from channels.layers import get_channel_layer
from redis.exceptions import RedisError

logger = logging.getLogger(__name__)


def organization_group(schema_name: str) -> str:
    """Return the group of everyone watching an organization."""
    return f"org.{schema_name}"


def cluster_group(cluster_id: UUID) -> str:
    """Return the group of everyone watching a cluster."""
    return f"cluster.{cluster_id.hex}"


def publish(group: str, event: dict[str, object]) -> None:
    """Send `event` to the group; news nobody could be told of is logged, not raised.

    Whoever publishes has already committed the fact: a page that missed it reads it on reload.
    """
    layer = get_channel_layer()
    if layer is None:
        return
    try:
        async_to_sync(layer.group_send)(group, {"type": "live.event", "event": event})
    except (OSError, RedisError):
        logger.warning("live.publish_failed", extra={"group": group}, exc_info=True)
