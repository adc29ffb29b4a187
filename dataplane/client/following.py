"""How a client learns where the members are, and whom it believes: shared by both clients.

A node that lies could name any address, and would have the client send its token there. So an
address that was told is asked for nothing but a signature (`GET /identity`, without the token),
where the client has a trust anchor; without one it is believed when f+1 nodes tell the same.
"""

import re
import secrets
from collections.abc import Generator
from typing import Any, Final

import httpx
import msgspec

from dataplane.client.anchors import TrustAnchor, follow, is_signed
from dataplane.client.errors import ProofError
from dataplane.client.nodes import Nodes, votes_needed
from dataplane.client.quorum import faults_tolerated
from dataplane.client.spec import MEMBERS_MAX
from dataplane.wire.proofs import NONCE_BYTES, EpochChange, identity_payload

GATEWAYS_PATH: Final = "/api/v1/gateways"
IDENTITY_PATH: Final = "/identity"
ASK_TIMEOUT_S: Final = 2.0
ANSWER_BYTES_MAX: Final = 2 * 1024 * 1024
_NUMBER_MAX: Final = 2**63 - 1
_is_address: Final = re.compile(
    r"http://(?:[A-Za-z0-9._-]{1,255}|\[[0-9A-Fa-f:.]{2,45}\]):[1-9][0-9]{0,4}"
).fullmatch
"""`http://host:port` and nothing else: no path, no name and password."""

type Request = dict[str, Any]
type Asking[T] = Generator[Request, httpx.Response | None, T]
"""Yields the arguments of requests, is sent the responses: None where there was none."""


class Gathered:
    """An answer of a stranger, read no further than one may go."""

    def __init__(self, head: httpx.Response) -> None:
        self._status = head.status_code
        self.is_plain = "content-encoding" not in head.headers
        """What was compressed unasked says nothing, and could be any length."""
        self._parts: list[bytes] = []
        self._size_bytes = 0

    def add(self, part: bytes) -> bool:
        """Take a part; say whether more may come."""
        self._parts.append(part)
        self._size_bytes += len(part)
        return self._size_bytes <= ANSWER_BYTES_MAX

    def response(self) -> httpx.Response:
        """Return the response, as far as it was read."""
        return httpx.Response(self._status, content=b"".join(self._parts))


class Gateway(msgspec.Struct, frozen=True):
    """A member, and where it is said to be."""

    id: int
    url: str


class Told(msgspec.Struct, frozen=True):
    """The answer of a node to who the members are."""

    epoch: int
    gateways: tuple[Gateway, ...]
    changes: tuple[EpochChange, ...] = ()


class Identity(msgspec.Struct, frozen=True):
    """The answer of a node to who it is."""

    id: int
    url: str
    signature: str


def learning(nodes: Nodes) -> Asking[None]:
    """Ask who the members are, and take what may be believed; nothing is raised."""
    if nodes.anchor is None:
        yield from _by_votes(nodes)
    else:
        yield from _by_proof(nodes)
    nodes.settle()


def _by_votes(nodes: Nodes) -> Asking[None]:
    for voters in nodes.electorates:
        votes: dict[tuple[int, tuple[str, ...]], int] = {}
        for url in voters:
            told = yield from _ask(nodes, url)
            if told is None or nodes.is_older(told.epoch):
                continue
            said = (told.epoch, tuple(gateway.url for gateway in told.gateways))
            votes[said] = votes.get(said, 0) + 1
            if votes[said] == votes_needed(len(voters)):
                nodes.believe(*said)
                return
        if votes:
            return


def _by_proof(nodes: Nodes) -> Asking[None]:
    """Take who signs from the chain of epochs, and where they are from themselves.

    Whoever told only some members, or an old chain, lacks what the next one tells: f+1 answers
    have one of an honest node among them.
    """
    assert nodes.anchor is not None
    answers, tried = 0, set[Gateway]()
    for url in nodes.urls:
        told = yield from _ask(nodes, url)
        if told is None:
            continue
        answers += 1
        _follow(nodes, told.changes)
        for gateway in told.gateways:
            if gateway not in tried and not nodes.is_proven(gateway.id, gateway.url):
                tried.add(gateway)
                yield from _prove(nodes, gateway)
        has_heard_enough = answers > faults_tolerated(len(nodes.anchor.validators))
        if has_heard_enough or (nodes.is_complete and told.epoch == nodes.anchor.epoch):
            return


def _follow(nodes: Nodes, changes: tuple[EpochChange, ...]) -> None:
    assert nodes.anchor is not None
    try:
        nodes.followed(follow(nodes.anchor, changes))
    except ProofError:
        return  # What proves nothing changes nothing; another node may have what does.


def _prove(nodes: Nodes, gateway: Gateway) -> Asking[None]:
    """Have a stranger show that it is the validator it is said to be; it gets no token."""
    anchor = nodes.anchor
    assert anchor is not None
    if anchor.public_key(gateway.id) is None:
        return
    nonce = secrets.token_bytes(NONCE_BYTES)
    response = yield _request(gateway.url + IDENTITY_PATH, params={"nonce": nonce.hex()})
    identity = _decoded(response, Identity)
    if identity is not None and _is_proof(anchor, gateway, identity, nonce):
        nodes.prove(gateway.id, gateway.url)


def _is_proof(anchor: TrustAnchor, gateway: Gateway, identity: Identity, nonce: bytes) -> bool:
    """Whether the validator itself says, just now, that this is its address.

    The address is in what is signed: else a liar could pass the question on to the true node.
    """
    key = anchor.public_key(gateway.id)
    if key is None or (identity.id, identity.url) != (gateway.id, gateway.url):
        return False
    try:
        signature = bytes.fromhex(identity.signature)
    except ValueError:
        return False
    cluster_id = bytes.fromhex(anchor.cluster_id)
    payload = identity_payload(cluster_id, replica=gateway.id, url=gateway.url, nonce=nonce)
    return is_signed(key, payload, signature)


def _ask(nodes: Nodes, url: str) -> Asking[Told | None]:
    params = {} if nodes.anchor is None else {"epoch": str(nodes.anchor.epoch)}
    response = yield _request(url + GATEWAYS_PATH, params=params, headers=nodes.headers)
    told = _decoded(response, Told)
    if told is None or not _is_usable(told):
        return None
    return told


def _request(url: str, **options: Any) -> Request:
    headers = {"Accept-Encoding": "identity", **options.pop("headers", {})}
    return {"method": "GET", "url": url, "timeout": ASK_TIMEOUT_S, "headers": headers, **options}


def _decoded[T](response: httpx.Response | None, kind: type[T]) -> T | None:
    if response is None or not response.is_success or len(response.content) > ANSWER_BYTES_MAX:
        return None
    try:
        return msgspec.json.decode(response.content, type=kind)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None


def _is_usable(told: Told) -> bool:
    ids = [gateway.id for gateway in told.gateways]
    urls = {gateway.url for gateway in told.gateways}
    return (
        0 <= told.epoch <= _NUMBER_MAX
        and 1 <= len(ids) <= MEMBERS_MAX
        and 0 <= ids[0] <= ids[-1] <= _NUMBER_MAX
        and ids == sorted(set(ids))
        and len(urls) == len(ids)
        and all(map(_is_address, urls))
    )
