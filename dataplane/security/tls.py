"""Mutual TLS 1.3 between the nodes of one cluster, under the cluster's own authority."""

import ssl
from typing import Any, Final

from dataplane.client.provisioning import node_common_name
from dataplane.client.spec import TlsSpec

NODE_ID_DIGITS_MAX: Final = 4


def _context(purpose: ssl.Purpose, files: TlsSpec) -> ssl.SSLContext:
    protocol = (
        ssl.PROTOCOL_TLS_CLIENT if purpose is ssl.Purpose.SERVER_AUTH else ssl.PROTOCOL_TLS_SERVER
    )
    context = ssl.SSLContext(protocol)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.load_verify_locations(files.ca_file)
    context.load_cert_chain(files.cert_file, files.key_file)
    context.check_hostname = False  # The name is checked against the member, not the address.
    context.verify_mode = ssl.CERT_REQUIRED
    return context


def server_context(files: TlsSpec) -> ssl.SSLContext:
    """Return the context of the listening side; it asks for the peer's certificate."""
    return _context(ssl.Purpose.CLIENT_AUTH, files)


def client_context(files: TlsSpec) -> ssl.SSLContext:
    """Return the context of the connecting side."""
    return _context(ssl.Purpose.SERVER_AUTH, files)


def peer_node_id(certificate: dict[str, Any] | None, cluster_id: str) -> int | None:
    """Return which node of the cluster a verified certificate names, None when it is none."""
    if not certificate:
        return None
    for part in certificate.get("subject", ()):
        for field, value in part:
            if field == "commonName":
                return _node_id_of(str(value), cluster_id)
    return None


def _node_id_of(common_name: str, cluster_id: str) -> int | None:
    number = common_name.removeprefix("node-").split(".", 1)[0]
    if not number.isascii() or not number.isdigit() or len(number) > NODE_ID_DIGITS_MAX:
        return None
    node_id = int(number)
    return node_id if node_common_name(cluster_id, node_id) == common_name else None
