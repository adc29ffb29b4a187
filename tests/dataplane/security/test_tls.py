"""Which node a certificate names."""

import ssl

import pytest

from dataplane.client.local import LocalCluster
from dataplane.client.provisioning import node_common_name
from dataplane.client.spec import load_spec
from dataplane.security.tls import client_context, peer_node_id, server_context

CLUSTER = "ab" * 16


def certificate(name: str) -> dict[str, object]:
    return {"subject": ((("organizationName", "x"),), (("commonName", name),))}


def test_the_common_name_names_the_node():
    assert peer_node_id(certificate(node_common_name(CLUSTER, 3)), CLUSTER) == 3


@pytest.mark.parametrize(
    "name",
    [
        node_common_name("cd" * 16, 3),
        f"node-03.{CLUSTER}",
        f"node-.{CLUSTER}",
        f"node--1.{CLUSTER}",
        f"node-\u00b2.{CLUSTER}",
        f"node-3.{CLUSTER}.example",
        CLUSTER,
        "",
    ],
)
def test_any_other_name_is_nobody(name):
    assert peer_node_id(certificate(name), CLUSTER) is None


def test_no_certificate_is_nobody():
    assert peer_node_id(None, CLUSTER) is None
    assert peer_node_id({}, CLUSTER) is None


def test_both_sides_demand_a_certificate_and_tls_1_3(tmp_path):
    files = load_spec(LocalCluster(tmp_path, 1).specs[0]).tls
    for context in (server_context(files), client_context(files)):
        assert context.verify_mode is ssl.CERT_REQUIRED
        assert context.minimum_version is ssl.TLSVersion.TLSv1_3
