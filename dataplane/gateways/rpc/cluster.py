"""`aerolith.v1.ClusterService`, and the standard health service."""

import asyncio
from collections.abc import AsyncIterator
from typing import Final, override

from grpc_health.v1 import health_pb2, health_pb2_grpc

from dataplane.gateways.answers import Answer
from dataplane.gateways.auth import Caller
from dataplane.gateways.context import Context
from dataplane.gateways.errors import Problem
from dataplane.gateways.rpc.calls import CLUSTER, Call, Calls
from dataplane.gateways.rpc.pb import aerolith_pb2 as pb
from dataplane.gateways.rpc.pb import aerolith_pb2_grpc as stubs
from dataplane.gateways.rpc.statuses import abort, encode
from dataplane.gateways.services import cluster

LOOK_S: Final = 1.0
WATCHES_MAX: Final = 64


class ClusterService(stubs.ClusterServiceServicer):
    """Answers calls about the cluster."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._calls = Calls(context, CLUSTER)

    @override
    async def Status(self, request: pb.StatusRequest, context: Call) -> pb.StatusResponse:
        """Return every member as this node sees it."""

        async def work(caller: Caller) -> Answer:
            return cluster.nodes_status(self._context, caller)

        return await self._calls.answer(context, "Status", "", work, render=_status)

    @override
    async def Stats(self, request: pb.StatsRequest, context: Call) -> pb.StatsResponse:
        """Return totals and live figures."""

        async def work(caller: Caller) -> Answer:
            return cluster.stats(self._context, caller)

        return await self._calls.answer(context, "Stats", "", work, render=_stats)

    @override
    async def Health(self, request: pb.HealthRequest, context: Call) -> pb.HealthResponse:
        """Say whether the node can serve linearizable requests; anybody may ask."""
        return pb.HealthResponse(ready=self._context.cluster.ready)


def _status(answer: Answer) -> pb.StatusResponse:
    body = answer.body
    assert body is not None
    return pb.StatusResponse(
        view=body["view"],
        sequence=body["sequence"],
        epoch=body["epoch"],
        primary=body["primary"],
        f=body["f"],
        quorum=body["quorum"],
        members=[
            pb.Member(
                id=node["id"],
                address=node["address"],
                role=node["role"],
                reachable=node["reachable"],
                sequence=node["sequence"],
                lag=node["lag"],
            )
            for node in body["nodes"]
        ],
        json=encode(body),
    )


def _stats(answer: Answer) -> pb.StatsResponse:
    body = answer.body
    assert body is not None
    return pb.StatsResponse(
        documents=body["documents"],
        collections=body["collections"],
        bytes=sum(body["bytes"].values()),
        version=body["version"],
        uptime_s=body["uptime_s"],
        view=body["view"],
        sequence=body["sequence"],
        json=encode(body),
    )


class HealthService(health_pb2_grpc.HealthServicer):
    """`grpc.health.v1`: serving means that linearizable requests are served."""

    def __init__(self, context: Context, names: frozenset[str]) -> None:
        self._context = context
        self._names = names | {""}
        self._watches = 0

    def _now(self, service: str) -> health_pb2.HealthCheckResponse:
        kinds = health_pb2.HealthCheckResponse
        if service not in self._names:
            return kinds(status=kinds.SERVICE_UNKNOWN)
        is_ready = self._context.cluster.ready
        return kinds(status=kinds.SERVING if is_ready else kinds.NOT_SERVING)

    @override
    async def Check(
        self, request: health_pb2.HealthCheckRequest, context: Call
    ) -> health_pb2.HealthCheckResponse:
        """Return the health of a service."""
        if request.service not in self._names:
            await abort(context, Problem("not_found", "no such service"), "grpc.health.v1.Health")
        return self._now(request.service)

    @override
    async def Watch(
        self, request: health_pb2.HealthCheckRequest, context: Call
    ) -> AsyncIterator[health_pb2.HealthCheckResponse]:
        """Yield the health of a service, now and whenever it changes."""
        if self._watches >= WATCHES_MAX:
            await abort(context, Problem("rate_limited", "too many watch"), "grpc.health.v1.Health")
        self._watches += 1
        try:
            told = None
            while True:
                now = self._now(request.service)
                if now != told:
                    told = now
                    yield now
                await asyncio.sleep(LOOK_S)
        finally:
            self._watches -= 1
