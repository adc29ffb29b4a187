"""Whom a client believes about where the members are, and who gets its token."""

import contextlib
from dataclasses import dataclass, field

import httpx
import msgspec
import pytest

from dataplane.client import ApiError, AsyncClient, Client, ClusterUnreachableError, TrustAnchor
from dataplane.client import nodes as rules
from dataplane.client.calls import Call
from dataplane.client.following import ANSWER_BYTES_MAX
from dataplane.client.nodes import Nodes, votes_needed
from dataplane.security.signing import Ed25519Signer
from dataplane.wire.proofs import (
    EpochChange,
    Validator,
    epoch_change_payload,
    identity_payload,
)
from dataplane.wire.quorum import quorum_size

CLUSTER_ID = "ab" * 16
TOKEN = "adk_0_secret"
READ = Call("GET", "/api/v1/collections/c/documents/x")
EVIL = "http://evil.example:80"


def url_of(number: int) -> str:
    return f"http://node-{number}.example:70{number:02}"


def signer_of(number: int) -> Ed25519Signer:
    return Ed25519Signer(bytes([number + 1]) * 32)


def validators(*ids: int) -> tuple[Validator, ...]:
    return tuple(Validator(number, signer_of(number).public_key.hex()) for number in ids)


def change(epoch: int, old: tuple[int, ...], new: tuple[int, ...], *signers: int) -> EpochChange:
    """Return the end of an epoch, signed by a quorum of the old members or by `signers`."""
    unsigned = EpochChange(epoch, 100 * (epoch + 1), validators(*new), ())
    payload = epoch_change_payload(bytes.fromhex(CLUSTER_ID), unsigned)
    chosen = signers or old[: quorum_size(len(old))]
    votes = tuple((number, signer_of(number).sign(payload)) for number in chosen)
    return msgspec.structs.replace(unsigned, votes=votes)


@dataclass
class FakeNode:
    """A node that tells what it is made to tell."""

    number: int
    epoch: int
    members: dict[int, str]
    changes: tuple[EpochChange, ...] = ()
    serves: bool = True
    says_epoch: int | None = None
    """In headers, when it is another than it tells."""
    raw: bytes | None = None
    """Told instead of the members."""
    signs_as: tuple[int, str] | None = None

    def told(self, params: httpx.QueryParams) -> bytes:
        gateways = [{"id": number, "url": url} for number, url in self.members.items()]
        body: dict[str, object] = {"epoch": self.epoch, "gateways": gateways}
        if "epoch" in params:
            body["changes"] = self.changes[int(params["epoch"]) :]
        return msgspec.json.encode(body) if self.raw is None else self.raw

    def identity(self, nonce: bytes) -> bytes:
        number, url = self.signs_as or (self.number, url_of(self.number))
        cluster_id = bytes.fromhex(CLUSTER_ID)
        payload = identity_payload(cluster_id, replica=number, url=url, nonce=nonce)
        signature = signer_of(self.number).sign(payload).hex()
        return msgspec.json.encode({"id": number, "url": url, "signature": signature})


@dataclass
class Network:
    """Nodes by address; it keeps who was asked for what, and whether the token was shown."""

    nodes: dict[str, FakeNode] = field(default_factory=dict)
    asked: list[tuple[str, str, bool]] = field(default_factory=list)

    def answer(self, request: httpx.Request) -> httpx.Response:
        base = f"{request.url.scheme}://{request.url.host}:{request.url.port or 80}"
        path = request.url.path
        self.asked.append((base, path, TOKEN in request.headers.get("authorization", "")))
        node = self.nodes.get(base)
        if node is None:
            raise httpx.ConnectError("nobody there")
        if path == "/identity":
            return httpx.Response(
                200, content=node.identity(bytes.fromhex(request.url.params["nonce"]))
            )
        said = node.epoch if node.says_epoch is None else node.says_epoch
        headers = {"Aerolith-Epoch": str(said), "Retry-After": "0"}
        if path == "/api/v1/gateways":
            return httpx.Response(200, content=node.told(request.url.params), headers=headers)
        if not node.serves:
            return httpx.Response(503, json={"code": "not_ready"}, headers=headers)
        return httpx.Response(200, json={"node": node.number}, headers=headers)

    def cluster(self, epoch: int, *ids: int, changes: tuple[EpochChange, ...] = ()) -> None:
        """Bring nodes to an epoch in which they are the members."""
        members = {number: url_of(number) for number in ids}
        for number in ids:
            self.nodes[url_of(number)] = FakeNode(number, epoch, dict(members), changes)

    def retire(self, *ids: int, epoch: int, members: tuple[int, ...]) -> None:
        """Let nodes know that they left; they serve nobody any more."""
        for number in ids:
            node = self.nodes[url_of(number)]
            node.serves, node.epoch = False, epoch
            node.members = {n: url_of(n) for n in members}

    @property
    def token_holders(self) -> set[str]:
        return {base for base, _, had_token in self.asked if had_token}

    def times_told(self) -> int:
        return sum(1 for _, path, _ in self.asked if path == "/api/v1/gateways")


class FakeClock:
    def __init__(self) -> None:
        self.ms = 1_700_000_000_000

    def now_ms(self) -> int:
        return self.ms


@pytest.fixture
def network() -> Network:
    return Network()


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def make_client(network, clock, monkeypatch):
    """Make a client whose transport and time are fake."""
    monkeypatch.setattr("dataplane.client.client.time.sleep", lambda _: None)
    with contextlib.ExitStack() as stack:

        def make(*seeds: str, **options: object) -> Client:
            client = stack.enter_context(Client(seeds, TOKEN, **options))
            client._nodes._clock = clock
            client._http = stack.enter_context(
                httpx.Client(transport=httpx.MockTransport(network.answer))
            )
            return client

        yield make


def anchor_of(*ids: int, epoch: int = 0) -> TrustAnchor:
    return TrustAnchor(CLUSTER_ID, epoch, validators(*ids))


def urls(*ids: int) -> tuple[str, ...]:
    return tuple(map(url_of, ids))


def later(clock: FakeClock) -> None:
    clock.ms += rules.LEARN_PAUSE_MS_MAX


# --- Without a trust anchor: votes ---------------------------------------------------------------


@pytest.mark.parametrize(
    ("voters", "needed"), [(1, 1), (2, 2), (3, 2), (4, 2), (6, 2), (7, 3), (10, 4), (31, 11)]
)
def test_so_many_nodes_must_tell_the_same(voters, needed):
    assert votes_needed(voters) == needed


def test_a_client_that_knows_one_node_learns_of_the_others(network, make_client):
    network.cluster(0, 0, 1, 2, 3)
    client = make_client(url_of(2))
    client.run(READ)
    assert network.times_told() == 0, "a client that asks once costs no more than that"
    client.run(READ)
    assert client._nodes.members == urls(0, 1, 2, 3)
    assert client._nodes.urls == urls(2, 3, 0, 1)
    del network.nodes[url_of(2)]
    assert client.run(READ)["node"] == 3


def test_a_client_follows_when_every_member_is_replaced_at_once(network, make_client, clock):
    network.cluster(0, 0, 1, 2, 3)
    client = make_client(*urls(0, 1, 2, 3))
    for _ in range(2):
        client.run(READ)
    later(clock)
    network.cluster(1, 4, 5, 6, 7)
    network.retire(0, 1, 2, 3, epoch=1, members=(4, 5, 6, 7))
    assert client.run(READ)["node"] == 4, "within the same call"
    assert client._nodes.urls == (*urls(4, 5, 6, 7), *urls(0, 1, 2, 3)), "seeds come last"


def test_one_liar_moves_nobody_and_gets_no_token_to_its_address(network, make_client, clock):
    network.cluster(0, 0, 1, 2, 3)
    for epoch in (0, 9):
        network.nodes[url_of(0)].members = {0: url_of(0), 9: EVIL}
        network.nodes[url_of(0)].epoch = epoch
        client = make_client(*urls(0, 1, 2, 3))
        for _ in range(5):
            client.run(READ)
            later(clock)
        assert client._nodes.members == urls(0, 1, 2, 3)
    assert network.token_holders <= set(urls(0, 1, 2, 3))


def test_different_lies_do_not_add_up(network, make_client):
    network.cluster(0, *range(7))
    for number in (0, 1, 2):
        network.nodes[url_of(number)].members = {number: f"http://evil-{number}.example:80"}
    client = make_client(*urls(*range(7)))
    for _ in range(2):
        client.run(READ)
    assert client._nodes.members == urls(*range(7))
    assert network.token_holders <= set(urls(*range(7)))


def test_an_older_epoch_is_not_gone_back_to(network, make_client, clock):
    network.cluster(5, 0, 1, 2, 3)
    client = make_client(*urls(0, 1, 2, 3))
    for _ in range(2):
        client.run(READ)
    network.cluster(4, 0, 1, 2, 8)
    for number in (0, 1, 2):
        network.nodes[url_of(number)].says_epoch = 6
    later(clock)
    for _ in range(2):
        client.run(READ)
    assert client._nodes.members == urls(0, 1, 2, 3)


def test_the_seeds_have_a_say_again_only_when_every_member_is_silent(network, make_client, clock):
    network.cluster(0, 0, 1, 2, 3)
    names = ("http://name-0.example:80", "http://name-1.example:80")
    network.nodes |= {name: network.nodes[url_of(n)] for n, name in enumerate(names)}
    client = make_client(*names)
    for _ in range(2):
        client.run(READ)
    assert client._nodes.members == urls(0, 1, 2, 3)
    # The names that the caller gave lead to other nodes now; of the members one is left.
    network.cluster(1, 4, 5, 6, 7)
    network.nodes |= {name: network.nodes[url_of(n)] for n, name in enumerate(names, start=4)}
    for number in (0, 1, 2):
        del network.nodes[url_of(number)]
    for left, members in (((3,), urls(0, 1, 2, 3)), ((), urls(4, 5, 6, 7))):
        for number in {3} - set(left):
            del network.nodes[url_of(number)]
        later(clock)
        for _ in range(2):
            client.run(READ)
        assert client._nodes.members == members


def test_a_call_that_failed_everywhere_ends_the_pauses(network, make_client, clock):
    network.cluster(0, 0, 1, 2, 3)
    away = network.nodes.pop(url_of(1))
    client = make_client(*urls(0, 1))
    for _ in range(50):
        client.run(READ)
        later(clock)
    client.run(READ)
    before = network.times_told()
    network.nodes[url_of(1)] = away
    network.retire(0, 1, epoch=1, members=(4, 5, 6))
    network.cluster(1, 4, 5, 6)
    with pytest.raises(ApiError):
        client.run(READ)
    assert network.times_told() == before, "it asked in vain a moment ago"
    clock.ms += rules.LEARN_PAUSE_MS
    assert client.run(READ)["node"] == 4


@pytest.mark.parametrize(
    "told",
    [
        b"",
        b"[]",
        b'{"epoch":0}',
        b'{"epoch":-1,"gateways":[{"id":0,"url":"http://a:1"}]}',
        b'{"epoch":0,"gateways":[]}',
        b'{"epoch":0,"gateways":[{"id":1,"url":"http://a:1"},{"id":0,"url":"http://b:1"}]}',
        b'{"epoch":0,"gateways":[{"id":0,"url":"http://a:1"},{"id":1,"url":"http://a:1"}]}',
        b'{"epoch":0,"gateways":[{"id":-1,"url":"http://a:1"}]}',
        *(
            msgspec.json.encode({"epoch": 0, "gateways": [{"id": 0, "url": url}]})
            for url in (
                "https://a:1",
                "http://a",
                "http://a:0",
                "http://a:123456",
                "http://user:word@a:1",
                "http://a:1/path",
                "http://a:1?x",
                "http://a:1#x",
                "http://a b:1",
                "http://a:1\n",
                "http://" + "a" * 256 + ":1",
                "ftp://a:1",
                "",
            )
        ),
        msgspec.json.encode(
            {"epoch": 0, "gateways": [{"id": n, "url": f"http://n{n}:1"} for n in range(32)]}
        ),
        b" " * (2 * 1024 * 1024 + 1) + b'{"epoch":0,"gateways":[{"id":0,"url":"http://a:1"}]}',
    ],
)
def test_what_is_no_list_of_addresses_is_passed_over(network, make_client, told):
    network.cluster(0, 0)
    network.nodes[url_of(0)].raw = told
    for options in ({}, {"anchor": anchor_of(0)}):
        client = make_client(url_of(0), **options)
        for _ in range(2):
            client.run(READ)
        assert client._nodes.members == ()
    assert {base for base, _, _ in network.asked} == {url_of(0)}


def test_asking_in_vain_becomes_rare(network, make_client, clock):
    network.cluster(0, 0, 1, 2, 3)
    client = make_client(*urls(0, 1, 2, 3))
    for _ in range(2):
        client.run(READ)
    before = network.times_told()
    network.nodes[client._nodes.urls[0]].says_epoch = 99
    seconds = 600
    for _ in range(10 * seconds):
        client.run(READ)
        clock.ms += 100
    assert client._nodes.members == urls(0, 1, 2, 3)
    times = (network.times_told() - before) / 2
    assert 10 <= times <= 10 + seconds * 1000 / rules.LEARN_PAUSE_MS_MAX


def test_a_node_that_falls_silent_is_a_reason_to_ask(network, make_client, clock):
    network.cluster(0, 0, 1, 2, 3)
    client = make_client(url_of(0))
    for _ in range(2):
        client.run(READ)
    before = network.times_told()
    later(clock)
    client.run(READ)
    assert network.times_told() == before, "nothing happened"
    del network.nodes[url_of(0)]
    for _ in range(2):
        client.run(READ)
    assert network.times_told() > before


def test_nobody_there_is_told_without_asking_more(network, make_client):
    client = make_client(*urls(0, 1))
    with pytest.raises(ClusterUnreachableError):
        client.run(READ)
    assert [path for _, path, _ in network.asked] == [READ.path] * 4


def test_who_asked_for_tls_or_for_these_nodes_alone_is_obeyed(network, make_client):
    network.cluster(0, 0, 1, 2, 3)
    network.nodes["https://node.example:443"] = network.nodes[url_of(0)]
    for client in (
        make_client(*urls(0, 1), follow=False),
        make_client(url_of(0), "https://node.example:443"),
    ):
        for _ in range(3):
            client.run(READ)
        assert client._nodes.members == ()
    assert network.times_told() == 0


# --- With a trust anchor: signatures -------------------------------------------------------------


def test_one_node_is_enough_where_the_members_prove_who_they_are(network, make_client):
    network.cluster(0, 0, 1, 2, 3)
    client = make_client(url_of(1), anchor=anchor_of(0, 1, 2, 3))
    for _ in range(2):
        client.run(READ)
    assert client._nodes.members == urls(0, 1, 2, 3)
    assert client._nodes.urls[0] == url_of(1)
    assert all(had_token != (path == "/identity") for _, path, had_token in network.asked)


def liars() -> dict[str, FakeNode]:
    nobody: dict[int, str] = {}
    return {
        "signs for another address": FakeNode(3, 0, nobody),
        "has another key": FakeNode(8, 0, nobody, signs_as=(3, EVIL)),
        "is another validator": FakeNode(2, 0, nobody, signs_as=(2, EVIL)),
        "is no validator": FakeNode(8, 0, nobody, signs_as=(8, EVIL)),
    }


@pytest.mark.parametrize("name", liars())
def test_an_address_that_does_not_prove_itself_gets_no_token(network, make_client, name):
    network.cluster(0, 0, 1, 2, 3)
    network.nodes[EVIL] = liars()[name]
    for node in network.nodes.values():
        node.members = {0: url_of(0), 1: url_of(1), 3: EVIL, 8: EVIL.replace("80", "81")}
    client = make_client(*urls(0, 1), anchor=anchor_of(0, 1, 2, 3))
    for _ in range(3):
        client.run(READ)
    assert client._nodes.members == urls(0, 1)
    assert network.token_holders <= set(urls(0, 1))
    strangers = {base for base, _, _ in network.asked} - set(urls(0, 1))
    assert strangers <= {EVIL}, "who is no validator is not even asked"


def test_an_answer_to_another_nonce_proves_nothing(network, make_client, monkeypatch):
    network.cluster(0, 0, 1)
    old = network.nodes[url_of(1)].identity(bytes(32))
    monkeypatch.setattr(FakeNode, "identity", lambda *_: old)
    client = make_client(url_of(0), anchor=anchor_of(0, 1))
    for _ in range(2):
        client.run(READ)
    assert client._nodes.members == ()


def test_members_of_later_epochs_are_believed_through_the_chain(network, make_client, clock):
    first, second, third = (0, 1, 2, 3), (2, 3, 4, 5), (4, 5, 6, 7)
    network.cluster(0, *first)
    client = make_client(url_of(0), anchor=anchor_of(*first))
    for _ in range(2):
        client.run(READ)
    network.cluster(2, *third, changes=(change(0, first, second), change(1, second, third)))
    network.retire(0, 1, 2, 3, epoch=2, members=third)
    network.nodes[url_of(0)].changes = network.nodes[url_of(4)].changes
    later(clock)
    assert client.run(READ)["node"] == 4
    assert client._nodes.urls == (*urls(*third), url_of(0))
    assert client._nodes.anchor == anchor_of(*third, epoch=2)


@pytest.mark.parametrize("forged", ["too few", "strangers", "another epoch"])
def test_a_forged_chain_changes_nothing(network, make_client, forged):
    old, new = (0, 1, 2, 3), (5, 6, 7, 8)
    changes = {
        "too few": change(0, old, new, 0, 1),
        "strangers": change(0, old, new, 5, 6, 7),
        "another epoch": change(1, old, new),
    }
    network.cluster(0, *old)
    network.cluster(1, *new)
    network.nodes[url_of(0)] = FakeNode(
        0, 1, {n: url_of(n) for n in new}, (changes[forged], changes[forged])
    )
    client = make_client(*urls(*old), anchor=anchor_of(*old))
    for _ in range(3):
        client.run(READ)
    assert client._nodes.anchor == anchor_of(*old)
    assert client._nodes.members == urls(*old)
    assert network.token_holders <= set(urls(*old))


def test_who_hides_the_others_is_made_up_for_by_the_next(network, make_client):
    network.cluster(0, 0, 1, 2, 3)
    network.nodes[url_of(0)].members = {0: url_of(0)}
    client = make_client(*urls(0, 1), anchor=anchor_of(0, 1, 2, 3))
    for _ in range(2):
        client.run(READ)
    assert client._nodes.members == urls(0, 1, 2, 3)


def test_a_member_that_is_away_is_learned_of_when_it_is_back(network, make_client, clock):
    network.cluster(0, 0, 1, 2, 3)
    away = network.nodes.pop(url_of(3))
    client = make_client(url_of(0), anchor=anchor_of(0, 1, 2, 3))
    for _ in range(2):
        client.run(READ)
    assert client._nodes.members == urls(0, 1, 2)
    network.nodes[url_of(3)] = away
    later(clock)
    client.run(READ)
    assert client._nodes.members == urls(0, 1, 2, 3)


def test_a_validator_that_moved_is_followed_by_its_own_word_alone(network, make_client, clock):
    network.cluster(0, 0, 1, 2, 3)
    client = make_client(url_of(0), anchor=anchor_of(0, 1, 2, 3))
    for _ in range(2):
        client.run(READ)
    moved = "http://elsewhere.example:9000"
    network.nodes[moved] = network.nodes.pop(url_of(3))
    network.nodes[moved].signs_as = (3, moved)
    for node in network.nodes.values():
        node.members = {**node.members, 3: moved}
    client._nodes.lost()
    later(clock)
    client.run(READ)
    assert client._nodes.members == (*urls(0, 1, 2), moved)


class Endless(httpx.SyncByteStream, httpx.AsyncByteStream):
    """An answer that does not end."""

    def __init__(self) -> None:
        self.sent_bytes = 0

    def __iter__(self):
        while self.sent_bytes < 100 * ANSWER_BYTES_MAX:
            self.sent_bytes += 64 * 1024
            yield bytes(64 * 1024)

    async def __aiter__(self):
        for part in self:
            yield part


@pytest.mark.parametrize("is_async", [False, True])
async def test_the_answer_of_a_seed_is_not_read_beyond_what_one_may_be(network, is_async):
    network.cluster(0, 0, 1, 2, 3)
    endless = Endless()

    def answer(request: httpx.Request) -> httpx.Response:
        if request.url.host.startswith("node-0") and request.url.path == "/api/v1/gateways":
            return httpx.Response(200, stream=endless)
        return network.answer(request)

    transport = httpx.MockTransport(answer)
    if is_async:
        async with AsyncClient(urls(0, 1, 2), TOKEN) as client:
            client._http = httpx.AsyncClient(transport=transport)
            for _ in range(2):
                await client.run(READ)
    else:
        with Client(urls(0, 1, 2), TOKEN) as client:
            client._http = httpx.Client(transport=transport)
            for _ in range(2):
                client.run(READ)
    assert client._nodes.members == urls(0, 1, 2, 3), "the others told"
    assert ANSWER_BYTES_MAX < endless.sent_bytes <= ANSWER_BYTES_MAX + 64 * 1024


# --- Both clients --------------------------------------------------------------------------------


async def test_the_asyncio_client_follows_too(network, clock, monkeypatch):
    async def at_once(_: float) -> None:
        return None

    monkeypatch.setattr("dataplane.client.aio.asyncio.sleep", at_once)
    network.cluster(0, 0, 1, 2, 3)
    async with AsyncClient(urls(0, 1), TOKEN) as client:
        client._nodes._clock = clock
        await client._http.aclose()
        client._http = httpx.AsyncClient(transport=httpx.MockTransport(network.answer))
        for _ in range(2):
            await client.run(READ)
        assert client._nodes.members == urls(0, 1, 2, 3)
        network.cluster(1, 4, 5, 6, 7)
        network.retire(0, 1, 2, 3, epoch=1, members=(4, 5, 6, 7))
        later(clock)
        assert (await client.run(READ))["node"] == 4


def test_a_client_needs_a_seed():
    with pytest.raises(ClusterUnreachableError):
        Nodes([], TOKEN)
