"""A cluster's members, and the order of the control plane that changes them, as they travel."""

from typing import Final

import msgspec
from blake3 import blake3

from dataplane.wire.errors import MalformedMessageError

MEMBERS_MAX: Final = 31
KEY_BYTES: Final = 32
HOST_CHARS_MAX: Final = 255
PORT_MAX: Final = 65_535
ID_MAX: Final = 2**31 - 1


class Member(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """One node: where it is, and its public keys for votes and for its gateway's requests."""

    id: int
    host: str
    peer_port: int
    http_port: int
    public_key: bytes
    gateway_key: bytes


class NextMembers(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """The members of the epoch that follows; signed by the control plane's key."""

    epoch: int
    members: tuple[Member, ...]


_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(NextMembers)


def encode_next(order: NextMembers) -> bytes:
    """Return the bytes that are signed and ordered."""
    return _encoder.encode(order)


def decode_next(data: bytes) -> NextMembers:
    """Return the order in `data`.

    Raises:
        MalformedMessageError: The bytes are not one.
    """
    try:
        return _decoder.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise MalformedMessageError(str(error)) from error


def order_payload(cluster_id: bytes, data: bytes) -> bytes:
    """Return what the control plane signs: the order, bound to one cluster."""
    return blake3(b"AEROL1|RECONFIGURE|" + cluster_id + data).digest()


def members_fault(members: tuple[Member, ...]) -> str | None:
    """Return what is wrong with a set of members, None when nothing is."""
    ids = [member.id for member in members]
    if not 1 <= len(ids) <= MEMBERS_MAX or ids != sorted(set(ids)):
        return f"a cluster has 1 to {MEMBERS_MAX} members with distinct ids in rising order"
    if len(ids) == 2:
        return "two members are less available than one"
    if not 0 <= ids[0] <= ids[-1] <= ID_MAX:
        return "the id of a member is out of range"
    keys = [key for member in members for key in (member.public_key, member.gateway_key)]
    if any(len(key) != KEY_BYTES for key in keys) or len(set(keys)) != len(keys):
        return f"every member needs two keys of {KEY_BYTES} bytes that nobody else has"
    if not all(_is_address(member) for member in members):
        return "a member has no usable address"
    return None


def _is_address(member: Member) -> bool:
    ports = (member.peer_port, member.http_port)
    return 0 < len(member.host) <= HOST_CHARS_MAX and all(0 < port <= PORT_MAX for port in ports)
