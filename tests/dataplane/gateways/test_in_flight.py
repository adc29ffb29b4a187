"""What one key has under way is bounded over all its connections, whatever the protocol."""

import json
from contextlib import ExitStack
from pathlib import Path

import grpc
import msgspec
import pytest
from websockets.sync.client import connect

from dataplane.client.local import LocalCluster
from dataplane.client.provisioning import write_private
from dataplane.client.spec import LimitsSpec, dump_spec, load_spec
from dataplane.gateways.rpc.pb import aerolith_pb2 as pb
from dataplane.gateways.rpc.pb import aerolith_pb2_grpc as stubs
from tests.processes.conftest import wait_ready

CALLS_MAX = 8


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory):
    """A node that does few calls at once."""
    cluster = LocalCluster(Path(tmp_path_factory.mktemp("small")), 1, grpc=True)
    limits = LimitsSpec(requests_max=CALLS_MAX)
    spec = msgspec.structs.replace(load_spec(cluster.specs[0]), limits=limits)
    write_private(cluster.specs[0], dump_spec(spec))
    cluster.start()
    wait_ready(cluster)
    yield cluster
    cluster.kill()


def test_frames_of_many_connections_share_what_their_key_may_have_under_way(small):
    url = small.urls[0].replace("http", "ws") + "/api/v1/ws"
    headers = {"Authorization": f"Bearer {small.api_key}"}
    frames = [
        json.dumps({"id": n, "type": "put", "collection": "c", "document_id": "x", "document": {}})
        for n in range(32)
    ]
    with ExitStack() as stack:
        sockets = [stack.enter_context(connect(url, additional_headers=headers)) for _ in range(4)]
        for socket in sockets:
            for frame in frames:
                socket.send(frame)
        answers = [json.loads(socket.recv(timeout=20)) for socket in sockets for _ in frames]
    refused = [answer for answer in answers if answer["type"] == "error"]
    assert 0 < len(refused) < len(answers)
    assert {answer["problem"]["code"] for answer in refused} == {"rate_limited"}
    assert all(answer["problem"]["limit"] <= CALLS_MAX for answer in refused)


def test_streams_of_many_channels_leave_calls_of_the_server_to_others(small):
    metadata = (("authorization", f"Bearer {small.api_key}"),)
    address = f"127.0.0.1:{small.grpc_ports[0]}"
    with ExitStack() as stack:
        services = []
        for number in range(6):
            # A name of its own keeps channels from sharing one connection.
            options = (("grpc.primary_user_agent", f"client-{number}"),)
            channel = stack.enter_context(grpc.insecure_channel(address, options=options))
            services.append(stubs.DataServiceStub(channel))
        codes, streams = [], []
        for service in services:
            stream = service.Watch(pb.WatchRequest(), metadata=metadata, timeout=20)
            streams.append(stream)  # What nobody holds is cancelled.
            try:
                assert next(stream).place
                codes.append("open")
            except grpc.RpcError as error:
                told = dict(error.trailing_metadata())
                codes.append(f"{error.code().name} {told['aerolith-code']}")
        refused = "RESOURCE_EXHAUSTED rate_limited"
        assert codes == ["open"] * (CALLS_MAX // 2) + [refused] * 2
        got = services[-1].Put(
            pb.PutRequest(collection="c", id="y", json=b"{}"), metadata=metadata, timeout=20
        )
        assert got.id == "y", "and calls go on beside them"
