"""Who may do what: one table, held by every protocol against a real node."""

import itertools
import json
import secrets
import time

import grpc
import httpx
import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from websockets.exceptions import InvalidStatus
from websockets.sync.client import connect

from dataplane.client.keys import SCOPES, new_api_key
from dataplane.client.tokens import Grant, issuer_public_key, sign_token
from dataplane.gateways.rpc.pb import aerolith_pb2 as pb
from dataplane.gateways.rpc.pb import aerolith_pb2_grpc as stubs

NEEDED = {
    "get": "documents:read",
    "query": "documents:read",
    "aggregate": "documents:read",
    "watch": "documents:read",
    "put": "documents:write",
    "patch": "documents:write",
    "transact": "documents:write",
    "delete": "documents:write",
    "stats": "cluster:read",
}
OF_NO_COLLECTION = {"stats"}
PUT_STEP = [{"op": "put", "id": "x", "document": {}}]


def steps(collection):
    return [{**step, "collection": collection} for step in PUT_STEP]


class Rest:
    def __init__(self, node):
        self.api = httpx.Client(base_url=f"{node.urls[0]}/api/v1", timeout=20)

    def do(self, operation, token, collection):
        place = f"/collections/{collection}/documents/x"
        method, path, body = {
            "get": ("GET", place, None),
            "put": ("PUT", place, {}),
            "patch": ("PATCH", place, {}),
            "delete": ("DELETE", place, None),
            "query": ("POST", f"/collections/{collection}/query", {}),
            "aggregate": ("POST", f"/collections/{collection}/aggregate", {"pipeline": []}),
            "transact": ("POST", "/transactions", {"operations": steps(collection)}),
            "watch": ("HEAD", f"/changes?collection={collection}", None),
            "stats": ("GET", "/stats", None),
        }[operation]
        headers = {"Authorization": f"Bearer {token}"}
        answer = self.api.request(method, path, json=body, headers=headers)
        if answer.is_success:
            return "ok"
        if method == "HEAD":
            return {401: "unauthenticated", 403: "forbidden"}[answer.status_code]
        return answer.json()["code"]


class WebSocket:
    def __init__(self, node):
        self.url = node.urls[0].replace("http", "ws") + "/api/v1/ws"

    def do(self, operation, token, collection):
        place = {"collection": collection, "document_id": "x"}
        frame = {
            "get": place,
            "put": {**place, "document": {}},
            "patch": {**place, "patch": {}},
            "delete": place,
            "query": {"collection": collection, "query": {}},
            "aggregate": {"collection": collection, "aggregate": {"pipeline": []}},
            "transact": {"operations": steps(collection)},
            "watch": {"type": "subscribe", "collection": collection},
            "stats": {"type": "metrics"},
        }[operation]
        headers = {"Authorization": f"Bearer {token}"}
        try:
            with connect(self.url, additional_headers=headers, proxy=None) as socket:
                socket.send(json.dumps({"id": 1, "type": operation, **frame}))
                answer = json.loads(socket.recv(timeout=20))
        except InvalidStatus as refused:
            return json.loads(refused.response.body)["code"]
        return answer["problem"]["code"] if answer["type"] == "error" else "ok"


class Rpc:
    def __init__(self, node):
        self.channel = grpc.insecure_channel(f"127.0.0.1:{node.grpc_ports[0]}")
        self.data = stubs.DataServiceStub(self.channel)
        self.cluster = stubs.ClusterServiceStub(self.channel)

    def do(self, operation, token, collection):
        place = {"collection": collection, "id": "x"}
        call, request = {
            "get": (self.data.Get, pb.GetRequest(**place)),
            "put": (self.data.Put, pb.PutRequest(json=b"{}", **place)),
            "patch": (self.data.Patch, pb.PatchRequest(merge_patch_json=b"{}", **place)),
            "delete": (self.data.Delete, pb.DeleteRequest(**place)),
            "query": (self.data.Query, pb.QueryRequest(collection=collection)),
            "aggregate": (self.data.Aggregate, pb.AggregateRequest(collection=collection)),
            "transact": (
                self.data.Transact,
                pb.TransactRequest(operations_json=json.dumps(steps(collection)).encode()),
            ),
            "watch": (self.data.Watch, pb.WatchRequest(collections=[collection])),
            "stats": (self.cluster.Stats, pb.StatsRequest()),
        }[operation]
        try:
            answer = call(request, metadata=(("authorization", f"Bearer {token}"),), timeout=20)
            if operation in {"query", "watch"}:
                next(answer)
        except grpc.RpcError as refused:
            return dict(refused.trailing_metadata())["aerolith-code"]
        return "ok"


class Graph:
    def __init__(self, node):
        self.api = httpx.Client(base_url=node.urls[0], timeout=20)

    def do(self, operation, token, collection):
        place = f'collection: "{collection}", id: "x"'
        query = {
            "get": f"{{ document({place}) {{ id }} }}",
            "put": f"mutation {{ put({place}, data: {{}}) {{ id }} }}",
            "patch": f"mutation {{ patch({place}, patch: {{}}) {{ id }} }}",
            "delete": f"mutation {{ delete({place}) }}",
            "query": f'{{ documents(collection: "{collection}") {{ scanned }} }}',
            "transact": "mutation ($o: [JSON!]!) { transact(operations: $o) }",
            "stats": "{ stats { view } }",
        }[operation]
        headers = {"Authorization": f"Bearer {token}"}
        body = {"query": query, "variables": {"o": steps(collection)}}
        if operation != "transact":
            del body["variables"]
        answer = self.api.post("/graphql", json=body, headers=headers).json()
        if "code" in answer:
            return answer["code"]
        return answer["errors"][0]["extensions"]["code"] if "errors" in answer else "ok"


PROTOCOLS = {"rest": Rest, "websocket": WebSocket, "grpc": Rpc, "graphql": Graph}
MISSING = {("graphql", "aggregate"), ("graphql", "watch")}


@pytest.fixture(scope="module")
def protocols(node):
    return {name: kind(node) for name, kind in PROTOCOLS.items()}


class Mint:
    """Makes credentials of both kinds."""

    def __init__(self, node):
        self.node = node
        self.seed, self.issuer = secrets.token_bytes(32), secrets.token_hex(8)
        self.api = httpx.Client(
            base_url=f"{node.urls[0]}/api/v1",
            headers={"Authorization": f"Bearer {node.api_key}"},
        )
        self.put(self.issuer, issuer_public_key(self.seed), kind="issuer", scopes=list(SCOPES))

    def put(self, name, digest, **fields):
        body = {"name": "test", "hash": digest, "scopes": [], **fields}
        assert self.api.put(f"/keys/{name}", json=body).is_success

    def key(self, scopes, patterns, **fields):
        made = new_api_key()
        self.put(made.id, made.hash, scopes=scopes, collections=patterns, **fields)
        return made.token

    def token(self, scopes, patterns, **changes):
        options = {
            "seed": self.seed,
            "issuer": self.issuer,
            "id": secrets.token_hex(8),
            "cluster_id": self.node.cluster_id,
            "organization": "local",
            "lifetime_s": 600,
            "now_s": int(time.time()),
            "claims": {},
            **changes,
        }
        grant = Grant(
            cluster_id=options["cluster_id"],
            organization=options["organization"],
            subject="alice@example.org",
            scopes=scopes,
            collections=patterns,
            lifetime_s=options["lifetime_s"],
        )
        token = sign_token(
            options["seed"],
            grant,
            issuer_id=options["issuer"],
            token_id=options["id"],
            now_s=options["now_s"],
        )
        if not options["claims"]:
            return token
        given = jwt.decode(token, options={"verify_signature": False}) | options["claims"]
        key = Ed25519PrivateKey.from_private_bytes(options["seed"])
        return jwt.encode(given, key, algorithm="EdDSA", headers={"kid": options["issuer"]})


@pytest.fixture(scope="module")
def mint(node):
    return Mint(node)


@pytest.fixture(autouse=True)
def documents(api):
    for collection in ("logs-matrix", "other-matrix"):
        assert api.put(f"/collections/{collection}/documents/x", json={}).is_success


GRANTS = [
    (["documents:read"], ["logs-*"]),
    (["documents:write"], ["logs-*"]),
    (["documents:read", "documents:write"], ["*"]),
    (["cluster:read"], ["*"]),
    ([], ["*"]),
]


@pytest.mark.parametrize("kind", ["key", "token"])
@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize(("scopes", "patterns"), GRANTS, ids=lambda given: ",".join(given) or "-")
def test_scopes_and_patterns_mean_the_same_everywhere(
    protocols, mint, api, kind, protocol, scopes, patterns
):
    token = getattr(mint, kind)(scopes, patterns)
    for operation, collection in itertools.product(NEEDED, ("logs-matrix", "other-matrix")):
        if (protocol, operation) in MISSING:
            continue
        covered = operation in OF_NO_COLLECTION or "*" in patterns or collection[:4] == "logs"
        wanted = "ok" if NEEDED[operation] in scopes and covered else "forbidden"
        found = protocols[protocol].do(operation, token, collection)
        assert found == wanted, (operation, collection)
        if operation == "delete" and found == "ok":
            api.put(f"/collections/{collection}/documents/x", json={})


def strangers(mint):
    """Return credentials that are no good, and what they meet."""
    everything = (list(SCOPES), ["*"])
    now_s = int(time.time())
    revoked = secrets.token_hex(8)
    mint.put(revoked, "0" * 64, kind="revocation", expires_ms=(now_s + 600) * 1000)
    gone, other = secrets.token_bytes(32), secrets.token_bytes(32)
    mint.put("gone", issuer_public_key(gone), kind="issuer", scopes=list(SCOPES), expires_ms=1)
    good = mint.token(*everything)
    head, body, signature = good.split(".")
    return {
        "an expired key": (mint.key(*everything, expires_ms=1), "unauthenticated"),
        "an expired token": (mint.token(*everything, now_s=now_s - 601), "unauthenticated"),
        "a token of the future": (mint.token(*everything, now_s=now_s + 900), "unauthenticated"),
        "a token not to be used yet": (
            mint.token(*everything, claims={"nbf": now_s + 300}),
            "unauthenticated",
        ),
        "a token that nothing can revoke": (mint.token(*everything, id="a-b"), "unauthenticated"),
        "a token for too long": (mint.token(*everything, lifetime_s=3_601), "unauthenticated"),
        "a revoked token": (mint.token(*everything, id=revoked), "unauthenticated"),
        "another cluster's": (mint.token(*everything, cluster_id="0" * 32), "unauthenticated"),
        "another organization's": (mint.token(*everything, organization="evil"), "forbidden"),
        "another's signature": (mint.token(*everything, seed=other), "unauthenticated"),
        "an expired issuer's": (
            mint.token(*everything, seed=gone, issuer="gone"),
            "unauthenticated",
        ),
        "an unknown issuer's": (mint.token(*everything, issuer="nobody"), "unauthenticated"),
        "a key as issuer": (
            mint.token(*everything, issuer=mint.node.api_key.split("_")[1]),
            "unauthenticated",
        ),
        "an unsigned token": (f"{head}.{body}.", "unauthenticated"),
        "no algorithm": (f"eyJhbGciOiJub25lIn0.{body}.{signature}", "unauthenticated"),
        "dots": ("..", "unauthenticated"),
    }


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_who_is_a_stranger_is_one_everywhere(protocols, mint, protocol):
    for name, (token, wanted) in strangers(mint).items():
        for operation in ("get", "put", "stats"):
            found = protocols[protocol].do(operation, token, "logs-matrix")
            assert found == wanted, (name, operation)


def test_a_token_ends_with_its_issuer_and_has_no_more_than_it(protocols, mint, api):
    seed = secrets.token_bytes(32)
    public = issuer_public_key(seed)
    bounded = {"scopes": ["documents:read"], "collections": ["logs-*"]}
    mint.put("reader", public, kind="issuer", **bounded)
    token = mint.token(list(SCOPES), ["*"], seed=seed, issuer="reader")
    for name, protocol in protocols.items():
        assert protocol.do("get", token, "logs-matrix") == "ok", name
        assert protocol.do("get", token, "other-matrix") == "forbidden", name
        assert protocol.do("put", token, "logs-matrix") == "forbidden", name
    later = int(time.time() * 1000) + 600_000
    mint.put("reader", public, kind="issuer", **bounded, expires_ms=later)
    assert protocols["rest"].do("get", token, "logs-matrix") == "ok", "rotated, still good"
    assert api.delete("/keys/reader").status_code == 204
    for name, protocol in protocols.items():
        assert protocol.do("get", token, "logs-matrix") == "unauthenticated", name


def test_a_token_does_not_see_everything_where_its_issuer_does_not(mint, api):
    seed = secrets.token_bytes(32)
    bounded = {"scopes": ["cluster:admin"], "collections": ["logs-*"]}
    mint.put("bounded", issuer_public_key(seed), kind="issuer", **bounded)
    token = mint.token(["cluster:admin"], ["*"], seed=seed, issuer="bounded")
    headers = {"Authorization": f"Bearer {token}"}
    for path in ("/backup", "/batches", "/restore"):
        assert api.get(path, headers=headers).json()["code"] == "forbidden", path
    whole = mint.token(["cluster:admin"], ["*"])
    assert api.get("/restore", headers={"Authorization": f"Bearer {whole}"}).is_success


def test_a_revoked_token_ends_its_connections(mint, node):
    token_id = secrets.token_hex(8)
    token = mint.token(["documents:read"], ["*"], id=token_id)
    url = node.urls[0].replace("http", "ws") + "/api/v1/ws"
    headers = {"Authorization": f"Bearer {token}"}
    with connect(url, additional_headers=headers, proxy=None) as socket:
        socket.send('{"id":1,"type":"ping"}')
        assert json.loads(socket.recv(timeout=20))["type"] == "pong"
        later = int(time.time() * 1000) + 600_000
        mint.put(token_id, "0" * 64, kind="revocation", expires_ms=later)
        socket.send('{"id":1,"type":"ping"}')
        assert json.loads(socket.recv(timeout=20))["problem"]["code"] == "unauthenticated"


@pytest.mark.parametrize(
    "fields",
    [{"kind": "revocation"}, {"kind": "nonsense"}, {"kind": "issuer", "hash": "00"}],
)
def test_a_record_that_makes_no_sense_is_refused(api, fields):
    body = {"name": "t", "hash": "0" * 64, "scopes": [], **fields}
    assert api.put("/keys/nonsense", json=body).json()["code"] == "invalid"
