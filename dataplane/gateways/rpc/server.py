"""The gRPC server of a node, with limits on everything."""

import logging
from pathlib import Path
from typing import Final

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection

from dataplane.client.spec import ServerTlsSpec
from dataplane.gateways.context import Context
from dataplane.gateways.rpc.cluster import ClusterService, HealthService
from dataplane.gateways.rpc.data import DataService
from dataplane.gateways.rpc.pb import aerolith_pb2 as pb
from dataplane.gateways.rpc.pb import aerolith_pb2_grpc as stubs

log = logging.getLogger(__name__)

GRACE_S: Final = 2.0
MESSAGE_BYTES_MAX: Final = 4 * 1024 * 1024
STREAMS_PER_CONNECTION_MAX: Final = 256
METADATA_BYTES_MAX: Final = 16 * 1024


class Certificate:
    """The files of a listener, read again when they were replaced: certificates are renewed."""

    def __init__(self, files: ServerTlsSpec) -> None:
        """Read them.

        Raises:
            OSError: They cannot be read.
        """
        self._paths = Path(files.key_file), Path(files.cert_file)
        self._seen = self._stamps()
        self._configuration = self._read()

    def credentials(self) -> grpc.ServerCredentials:
        """Return what a server proves itself with; clients show no certificates but tokens."""
        return grpc.dynamic_ssl_server_credentials(self._configuration, self._newest)

    def _stamps(self) -> list[tuple[int, int]]:
        return [(state.st_mtime_ns, state.st_ino) for state in map(Path.stat, self._paths)]

    def _read(self) -> grpc.ServerCertificateConfiguration:
        key, chain = (path.read_bytes() for path in self._paths)
        return grpc.ssl_server_certificate_configuration([(key, chain)])

    def _newest(self) -> grpc.ServerCertificateConfiguration:
        """Return what new connections get."""
        try:
            stamps = self._stamps()
            if stamps != self._seen:
                self._configuration, self._seen = self._read(), stamps
        except OSError as error:
            # Half of a renewal: the old certificate serves until both files are there.
            log.warning("rpc.certificate_unreadable", extra={"reason": str(error)})
        return self._configuration


class RpcServer:
    """Listens on the node's gRPC port."""

    def __init__(self, context: Context) -> None:
        self._spec = context.spec
        self._server = grpc.aio.server(
            maximum_concurrent_rpcs=context.spec.limits.requests_max,
            options=(
                ("grpc.max_receive_message_length", MESSAGE_BYTES_MAX),
                ("grpc.max_send_message_length", -1),
                ("grpc.max_concurrent_streams", STREAMS_PER_CONNECTION_MAX),
                ("grpc.max_metadata_size", METADATA_BYTES_MAX),
                ("grpc.so_reuseport", 0),
                ("grpc.keepalive_time_ms", 60_000),
                ("grpc.http2.min_ping_interval_without_data_ms", 10_000),
            ),
        )
        ours = [service.full_name for service in pb.DESCRIPTOR.services_by_name.values()]
        health = health_pb2.DESCRIPTOR.services_by_name["Health"].full_name
        stubs.add_DataServiceServicer_to_server(DataService(context), self._server)
        stubs.add_ClusterServiceServicer_to_server(ClusterService(context), self._server)
        health_pb2_grpc.add_HealthServicer_to_server(
            HealthService(context, frozenset(ours)), self._server
        )
        names = (*ours, health, reflection.SERVICE_NAME)
        reflection.enable_server_reflection(names, self._server)

    async def start(self, host: str, port: int) -> None:
        """Listen.

        Raises:
            OSError: The port is taken, or the certificate cannot be read or used.
        """
        files = self._spec.grpc_tls
        address = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
        try:
            bound = (
                self._server.add_insecure_port(address)
                if files is None
                else self._server.add_secure_port(address, Certificate(files).credentials())
            )
        except RuntimeError as error:
            raise OSError(f"cannot listen on {address}: {error}") from error
        if bound != port:
            raise OSError(f"cannot listen on {address}")
        await self._server.start()

    async def stop(self) -> None:
        """Tell clients to go elsewhere, let running calls finish for a moment, close."""
        await self._server.stop(GRACE_S)
