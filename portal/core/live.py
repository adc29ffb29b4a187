"""Publishing to browsers that are watching, through the channel layer."""

import logging
from functools import partial
from uuid import UUID

from asgiref.sync import async_to_sync
from channels.layers import get_channel_layer
from django.db import transaction
from redis.exceptions import RedisError

logger = logging.getLogger(__name__)


def organization_group(schema_name: str) -> str:
    """Return the group of everyone watching an organization."""
    return f"org.{schema_name}"


def cluster_group(cluster_id: UUID) -> str:
    """Return the group of everyone watching a cluster."""
    return f"cluster.{cluster_id.hex}"


def person_group(user_id: UUID) -> str:
    """Return the group of everything that one person has open."""
    return f"person.{user_id.hex}"


def access_changed(*user_ids: UUID) -> None:
    """Have what these people hold open ask anew what they may see, once this is committed."""
    for user_id in user_ids:
        news: dict[str, object] = {"type": "access.changed"}
        transaction.on_commit(partial(_send, person_group(user_id), news))


def publish(group: str, event: dict[str, object]) -> None:
    """Send `event` to the group; news nobody could be told of is logged, not raised.

    Whoever publishes has already committed the fact: a page that missed it reads it on reload.
    """
    _send(group, {"type": "live.event", "event": event})


def _send(group: str, message: dict[str, object]) -> None:
    layer = get_channel_layer()
    if layer is None:
        return
    try:
        async_to_sync(layer.group_send)(group, message)
    except (OSError, RedisError):
        logger.warning("live.publish_failed", extra={"group": group}, exc_info=True)
