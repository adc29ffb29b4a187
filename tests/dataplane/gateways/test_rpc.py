"""The gRPC gateway of a real node, by a generated client."""

import datetime as dt
import json
import subprocess
from pathlib import Path

import grpc
import msgspec
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import (
    ProtoReflectionDescriptorDatabase,
)
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dataplane.client.local import LocalCluster
from dataplane.client.provisioning import (
    Authority,
    create_authority,
    create_node_material,
    write_private,
)
from dataplane.client.spec import ServerTlsSpec, SpecError, check_spec, dump_spec, load_spec
from dataplane.documents.types import KeyRecord
from dataplane.gateways.auth import Caller
from dataplane.gateways.errors import TITLES, Problem
from dataplane.gateways.rpc.data import HELD_BYTES_MAX, Held, _bulk
from dataplane.gateways.rpc.pb import aerolith_pb2 as pb
from dataplane.gateways.rpc.pb import aerolith_pb2_grpc as stubs
from dataplane.gateways.rpc.statuses import status_of
from tests.processes.conftest import wait_ready

ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture(scope="session")
def channel(node):
    with grpc.insecure_channel(f"127.0.0.1:{node.grpc_ports[0]}") as channel:
        yield channel


class Bound:
    """A stub whose calls carry a token and a deadline."""

    def __init__(self, stub, token):
        self._stub = stub
        self._metadata = (("authorization", f"Bearer {token}"),)

    def __getattr__(self, name):
        call = getattr(self._stub, name)
        return lambda request: call(request, metadata=self._metadata, timeout=20)


@pytest.fixture
def data(channel, node):
    return Bound(stubs.DataServiceStub(channel), node.api_key)


@pytest.fixture
def cluster(channel, node):
    return Bound(stubs.ClusterServiceStub(channel), node.api_key)


def refusal(call):
    """Return the status, the code and the problem of a refused call."""
    with pytest.raises(grpc.RpcError) as caught:
        call()
    told = dict(caught.value.trailing_metadata())
    return caught.value.code(), told["aerolith-code"], json.loads(told["aerolith-problem-bin"])


def test_documents_live_and_die_over_calls(data, collection):
    made = data.Put(pb.PutRequest(collection=collection, id="x", json=b'{"n":1152921504606846976}'))
    assert (made.id, made.version, made.is_new) == ("x", 1, True)
    assert made.position.sequence > 0
    read = data.Get(pb.GetRequest(collection=collection, id="x"))
    assert json.loads(read.json) == {"n": 2**60}
    assert read.created == made.created
    patched = data.Patch(
        pb.PatchRequest(collection=collection, id="x", merge_patch_json=b'{"m":1}')
    )
    assert (patched.version, patched.is_new) == (2, False)
    added = data.Patch(
        pb.PatchRequest(collection=collection, id="x", update_json=b'{"$inc":{"m":1}}')
    )
    assert json.loads(added.json)["m"] == 2
    local = data.Get(pb.GetRequest(collection=collection, id="x", consistency="local"))
    assert local.position.HasField("lag")
    stale = pb.Condition(if_version=1)
    status, code, problem = refusal(
        lambda: data.Put(pb.PutRequest(collection=collection, id="x", json=b"{}", condition=stale))
    )
    assert (status, code) == (grpc.StatusCode.FAILED_PRECONDITION, "precondition_failed")
    assert problem["version"] == 3
    assert data.Delete(pb.DeleteRequest(collection=collection, id="x")).position.sequence
    status, code, _ = refusal(lambda: data.Get(pb.GetRequest(collection=collection, id="x")))
    assert (status, code) == (grpc.StatusCode.NOT_FOUND, "not_found")
    once = pb.CreateRequest(
        collection=collection,
        json=b"{}",
        condition=pb.Condition(idempotency_key=f"rpc-{collection}"),
    )
    assert data.Create(once).id == data.Create(once).id


def test_a_bulk_is_a_stream_of_operations_and_a_query_a_stream_of_pages(data, collection):
    items = [
        pb.BulkRequest(collection=collection, op="put", id=f"{n:03}", json=b'{"n":%d}' % n)
        for n in range(250)
    ]
    answer = data.Bulk(iter([*items, pb.BulkRequest(op="nonsense", id="y")]))
    assert [result.status for result in answer.results] == [201] * 250 + [422]
    asked = pb.QueryRequest(
        collection=collection, body_json=b'{"filter":{"n":{"$gte":10}},"sort":{"n":-1}}'
    )
    pages = list(data.Query(asked))
    assert [len(page.documents_json) for page in pages] == [100, 100, 40]
    found = [json.loads(item)["n"] for page in pages for item in page.documents_json]
    assert found == list(range(249, 9, -1))
    asked.limit, asked.page_size = 7, 5
    assert [len(page.documents_json) for page in data.Query(asked)] == [5, 2]
    count = data.Aggregate(
        pb.AggregateRequest(collection=collection, pipeline_json=b'[{"$count":"all"}]')
    )
    assert json.loads(count.documents_json[0]) == {"all": 250}


def test_a_transaction_is_done_whole_or_not_at_all(data, collection):
    steps = [{"op": "put", "collection": collection, "id": n, "document": {}} for n in "ab"]
    done = data.Transact(pb.TransactRequest(operations_json=json.dumps(steps).encode()))
    assert [item["version"] for item in json.loads(done.results_json)] == [1, 1]
    steps[1]["if_version"] = 9
    bad = pb.TransactRequest(operations_json=json.dumps(steps).encode())
    status, code, problem = refusal(lambda: data.Transact(bad))
    assert (status, code) == (grpc.StatusCode.ALREADY_EXISTS, "conflict")
    assert problem["index"] == 1


def test_changes_are_watched_from_a_place_on(data, collection):
    for n in range(3):
        data.Put(pb.PutRequest(collection=collection, id=str(n), json=b'{"n":%d}' % n))
    asked = pb.WatchRequest(collections=[collection], after="0", filter_json=b'{"n":{"$gt":0}}')
    stream = data.Watch(asked)
    changes = []
    for told in stream:
        changes += told.changes
        if len(changes) == 2:
            stream.cancel()
            break
    assert [change.id for change in changes] == ["1", "2"]
    assert json.loads(changes[0].json)["document"]["n"] == 1
    asked.after = changes[0].place
    first = next(told for told in data.Watch(asked) if told.changes)
    assert first.changes[0].id == "2"


def test_the_cluster_tells_of_itself(cluster, channel):
    status = cluster.Status(pb.StatusRequest())
    assert (status.f, status.quorum, len(status.members)) == (0, 1, 1)
    assert cluster.Stats(pb.StatsRequest()).version
    assert stubs.ClusterServiceStub(channel).Health(pb.HealthRequest(), timeout=20).ready
    health = health_pb2_grpc.HealthStub(channel)
    for service in ("", "aerolith.v1.DataService"):
        answer = health.Check(health_pb2.HealthCheckRequest(service=service), timeout=20)
        assert answer.status == health_pb2.HealthCheckResponse.SERVING
    assert next(iter(health.Watch(health_pb2.HealthCheckRequest(), timeout=20))).status == 1
    with pytest.raises(grpc.RpcError) as caught:
        health.Check(health_pb2.HealthCheckRequest(service="x"), timeout=20)
    assert caught.value.code() == grpc.StatusCode.NOT_FOUND


def test_reflection_names_the_services(channel):
    names = set(ProtoReflectionDescriptorDatabase(channel).get_services())
    assert {"aerolith.v1.DataService", "aerolith.v1.ClusterService", "grpc.health.v1.Health"} < (
        names
    )


@pytest.mark.parametrize(
    "metadata",
    [(), (("authorization", "Bearer adk_a_b"),), (("authorization", "a"), ("authorization", "b"))],
)
def test_a_call_without_a_valid_token_is_unauthenticated(channel, metadata):
    stub = stubs.DataServiceStub(channel)
    request = pb.GetRequest(collection="a", id="b")
    found = refusal(lambda: stub.Get(request, metadata=metadata, timeout=20))
    assert found[:2] == (grpc.StatusCode.UNAUTHENTICATED, "unauthenticated")
    found = refusal(lambda: list(stub.Watch(pb.WatchRequest(), metadata=metadata, timeout=20)))
    assert found[:2] == (grpc.StatusCode.UNAUTHENTICATED, "unauthenticated")


def test_a_deadline_ends_a_watch_and_frees_its_place(data, channel, node, api):
    stub = stubs.DataServiceStub(channel)
    metadata = (("authorization", f"Bearer {node.api_key}"),)
    with pytest.raises(grpc.RpcError) as caught:
        list(stub.Watch(pb.WatchRequest(), metadata=metadata, timeout=0.2))
    assert caught.value.code() == grpc.StatusCode.DEADLINE_EXCEEDED


def test_every_code_has_a_status():
    statuses = {code: status_of(code) for code in TITLES}
    assert len(set(statuses.values())) == len(grpc.StatusCode) - 4
    assert statuses["conflict"] is grpc.StatusCode.ALREADY_EXISTS
    assert statuses["internal"] is grpc.StatusCode.INTERNAL


def test_the_generated_code_is_that_of_the_definition(tmp_path):
    subprocess.run([ROOT / "scripts/protobuf", tmp_path], check=True, capture_output=True)
    folder = Path("dataplane/gateways/rpc/pb")
    made = sorted((tmp_path / folder).iterdir())
    assert len(made) == 4
    for path in made:
        assert path.read_text() == (ROOT / folder / path.name).read_text(), path.name


_scalars = {
    "string": st.text(max_size=8),
    "bytes": st.binary(max_size=8)
    | st.sampled_from([b"{}", b"[]", b'{"a":1}', b'{"$inc":{"a":1}}']),
    "uint64": st.sampled_from([0, 1, 2**62, 2**64 - 1]),
    "uint32": st.sampled_from([0, 1, 2**32 - 1]),
    "bool": st.booleans(),
}


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_any_request_is_answered_and_never_as_a_failure(data, draw):
    service = pb.DESCRIPTOR.services_by_name["DataService"]
    method = draw.draw(st.sampled_from([m for m in service.methods if m.name != "Watch"]))
    request = getattr(pb, method.input_type.name)()
    for field in method.input_type.fields:
        kinds = {9: "string", 12: "bytes", 4: "uint64", 13: "uint32", 8: "bool"}
        if field.type in kinds and draw.draw(st.booleans()):
            value = draw.draw(_scalars[kinds[field.type]])
            setattr(request, field.name, "fuzz" if field.name == "collection" else value)
    call, ended = getattr(data, method.name), grpc.StatusCode.OK
    try:
        answer = call(iter([request])) if method.client_streaming else call(request)
        list(answer) if method.server_streaming else None
    except grpc.RpcError as error:
        ended = error.code()
    assert ended not in {grpc.StatusCode.INTERNAL, grpc.StatusCode.UNKNOWN}


def test_a_node_that_stops_ends_its_streams(tmp_path):
    cluster = LocalCluster(tmp_path, 1, grpc=True)
    cluster.start()
    wait_ready(cluster)
    with grpc.insecure_channel(f"127.0.0.1:{cluster.grpc_ports[0]}") as channel:
        data = Bound(stubs.DataServiceStub(channel), cluster.api_key)
        stream = data.Watch(pb.WatchRequest())
        assert next(stream).place
        assert cluster.stop() == [0]
        status, code, _ = refusal(lambda: list(stream))
        assert (status, code) == (grpc.StatusCode.UNAVAILABLE, "not_ready")


def test_what_is_kept_of_streams_is_bounded_over_all_of_them():
    held = Held()
    with held.stream() as first:
        first(HELD_BYTES_MAX - 1)
        with held.stream() as second:
            second(1)
            with pytest.raises(Problem) as refused:
                second(1)
            assert refused.value.code == "rate_limited"
        assert held.size_bytes == HELD_BYTES_MAX - 1
        first(1)
    assert held.size_bytes == 0


async def _asked(*requests):
    for request in requests:
        yield request


async def test_a_stream_is_counted_and_one_of_who_may_not_write_is_not_kept():
    record = KeyRecord("k", b"", "k", ("documents:write",), ("mine",), None, 0, None)
    request = pb.BulkRequest(collection="mine", op="put", id="x", json=b"{}")
    sizes = []
    await _bulk(_asked(request, request), Caller(record), sizes.append)
    assert sizes == [request.ByteSize()] * 2
    other = pb.BulkRequest(collection="other", op="put", id="x", json=b"{}")
    with pytest.raises(Problem) as refused:
        await _bulk(_asked(other), Caller(record), sizes.append)
    assert (refused.value.code, len(sizes)) == ("forbidden", 2)


def certified(authority: Authority, home: Path, name: str) -> ServerTlsSpec:
    """Put a certificate for 127.0.0.1 in place, signed by an authority of clients' own."""
    now = dt.datetime.now(dt.UTC)
    mine = create_node_material(authority, name, 0, "127.0.0.1", now)
    files = ServerTlsSpec(str(home / "public.pem"), str(home / "public.key"))
    write_private(Path(files.key_file), mine.key_pem)
    write_private(Path(files.cert_file), mine.certificate_pem)
    return files


def test_grpc_is_spoken_over_tls_where_a_certificate_is_configured_and_renewed(tmp_path):
    now = dt.datetime.now(dt.UTC)
    authority, other = (create_authority(name, now) for name in ("ab" * 16, "cd" * 16))
    node = LocalCluster(tmp_path / "node", 1, grpc=True)
    files = certified(authority, tmp_path, "ab" * 16)
    spec = msgspec.structs.replace(load_spec(node.specs[0]), grpc_tls=files)
    write_private(node.specs[0], dump_spec(spec))
    node.start()
    try:
        wait_ready(node)
        address = f"127.0.0.1:{node.grpc_ports[0]}"

        def status(credentials: grpc.ChannelCredentials | None) -> str:
            opened = (
                grpc.insecure_channel(address)
                if credentials is None
                else grpc.secure_channel(address, credentials)
            )
            with opened as channel:
                stub = Bound(stubs.ClusterServiceStub(channel), node.api_key)
                try:
                    return str(stub.Status(pb.StatusRequest()).members[0].id)
                except grpc.RpcError as error:
                    return error.code().name

        trusted = grpc.ssl_channel_credentials(authority.certificate_pem)
        stranger = grpc.ssl_channel_credentials(other.certificate_pem)
        assert [status(trusted), status(stranger), status(None)] == [
            "0",
            "UNAVAILABLE",
            "UNAVAILABLE",
        ]
        certified(other, tmp_path, "cd" * 16)
        assert [status(stranger), status(trusted)] == ["0", "UNAVAILABLE"], "it was renewed"
    finally:
        node.kill()


def test_a_certificate_without_a_port_for_it_is_no_specification(tmp_path):
    node = LocalCluster(tmp_path / "node", 1)
    spec = msgspec.structs.replace(load_spec(node.specs[0]), grpc_tls=ServerTlsSpec("a", "b"))
    with pytest.raises(SpecError, match="grpc_tls needs a grpc_port"):
        check_spec(spec)
