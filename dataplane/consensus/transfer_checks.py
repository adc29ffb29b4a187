"""Shapes of the messages of a state transfer; what they claim is checked against the tree."""

from dataplane.consensus.config import Limits
from dataplane.consensus.messages import (
    DIGEST_BYTES,
    BatchesGone,
    CheckpointGone,
    FetchNodes,
    FetchRows,
    TreeNodes,
    TreeRows,
)
from dataplane.consensus.tree import DEPTH_MAX, KEY_HASH_BYTES, NODE_BYTES_MAX

ROW_KEY_BYTES_MAX = 4_096
_NIBBLES = frozenset("0123456789abcdef")

type TransferMessage = BatchesGone | FetchNodes | TreeNodes | FetchRows | TreeRows | CheckpointGone


def check_transfer(message: TransferMessage, limits: Limits) -> bool:
    """Return whether the message has a legal shape."""
    match message:
        case BatchesGone():
            return message.first >= 1
        case CheckpointGone():
            return message.sequence >= 1
        case FetchNodes():
            return (
                message.sequence >= 1
                and len(message.root) == DIGEST_BYTES
                and 1 <= len(message.paths) <= limits.copy_nodes_max
                and all(map(_is_path, message.paths))
            )
        case FetchRows():
            return (
                message.sequence >= 1
                and len(message.root) == DIGEST_BYTES
                and 1 <= len(message.keys) <= limits.copy_rows_max
                and all(len(key) == KEY_HASH_BYTES for key in message.keys)
            )
        case TreeNodes():
            return len(message.nodes) <= limits.copy_nodes_max and all(
                _is_path(path) and len(row) <= NODE_BYTES_MAX for path, row in message.nodes
            )
        case TreeRows():
            # How long a value may be is the state machine's affair; the frame bounds it here.
            return len(message.rows) <= limits.copy_rows_max and all(
                len(key) <= ROW_KEY_BYTES_MAX for key, _ in message.rows
            )


def _is_path(path: str) -> bool:
    return len(path) <= DEPTH_MAX and not set(path) - _NIBBLES
