"""Specifications, keys and certificates of a new cluster."""

import datetime as dt
import stat

import msgspec
import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec

from dataplane.client.errors import SpecError
from dataplane.client.keys import hash_token, key_id_of, new_api_key
from dataplane.client.local import LocalCluster
from dataplane.client.provisioning import (
    create_authority,
    create_node_material,
    node_common_name,
    write_private,
)
from dataplane.client.spec import dump_spec, load_spec

NOW = dt.datetime(2026, 11, 24, tzinfo=dt.UTC)
CLUSTER = "ab" * 16


@pytest.fixture
def cluster(tmp_path):
    return LocalCluster(tmp_path, 4)


def test_a_key_has_its_id_in_the_token_and_only_its_hash_elsewhere():
    key = new_api_key()
    assert key_id_of(key.token) == key.id
    assert hash_token(key.token) == key.hash
    assert len(key.token) >= 40
    assert new_api_key().token != key.token
    for text in ("", "adk", "adk_", "adk__x", "adk_x_", "aer_x_y", "adk_x"):
        assert key_id_of(text) is None


def test_a_node_certificate_names_the_node_and_is_signed_by_its_own_cluster():
    authority = create_authority(CLUSTER, NOW)
    ca = x509.load_pem_x509_certificate(authority.certificate_pem)
    material = create_node_material(authority, CLUSTER, 2, "127.0.0.1", NOW)
    certificate = x509.load_pem_x509_certificate(material.certificate_pem)
    certificate.verify_directly_issued_by(ca)
    subject = certificate.subject.get_attributes_for_oid(x509.NameOID.COMMON_NAME)[0].value
    assert subject == node_common_name(CLUSTER, 2) == f"node-2.{CLUSTER}"
    names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert str(names.get_values_for_type(x509.IPAddress)[0]) == "127.0.0.1"
    assert not certificate.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    assert isinstance(certificate.public_key(), ec.EllipticCurvePublicKey)
    other = x509.load_pem_x509_certificate(create_authority("cd" * 16, NOW).certificate_pem)
    with pytest.raises(ValueError, match=r".+"):
        certificate.verify_directly_issued_by(other)


def test_secrets_are_written_for_their_owner_alone(tmp_path):
    path = tmp_path / "deep" / "secret"
    write_private(path, b"one")
    write_private(path, b"two")
    assert path.read_bytes() == b"two"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert [entry.name for entry in path.parent.iterdir()] == ["secret"]


def test_a_written_specification_loads_and_holds_no_secret(cluster):
    spec = load_spec(cluster.specs[1])
    assert spec.node_id == 1
    assert spec.me.url == cluster.urls[1]
    assert len({member.public_key for member in spec.members}) == 4
    text = cluster.specs[1].read_text()
    home = cluster.specs[1].parent
    assert cluster.api_key not in text
    for name in ("signing.key", "gateway.key"):
        assert (home / name).read_text() not in text
        assert stat.S_IMODE((home / name).stat().st_mode) == 0o600
    assert msgspec.json.decode(dump_spec(spec)) == msgspec.json.decode(text)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"version": 2}, "version"),
        ({"cluster_id": "xyz"}, "cluster_id"),
        ({"node_id": 9}, "node_id"),
        ({"members": []}, "members"),
        ({"surprise": 1}, "surprise"),
        ({"profile": "casual"}, "profile"),
    ],
)
def test_a_wrong_specification_is_refused_with_its_reason(cluster, change, says):
    path = cluster.specs[0]
    path.write_bytes(msgspec.json.encode(msgspec.json.decode(path.read_bytes()) | change))
    with pytest.raises(SpecError, match=says):
        load_spec(path)


def test_a_file_that_is_no_specification_is_refused(tmp_path):
    path = tmp_path / "spec.json"
    with pytest.raises(SpecError, match="cannot read"):
        load_spec(path)
    path.write_text("{")
    with pytest.raises(SpecError):
        load_spec(path)
    path.write_bytes(b" " * (1024 * 1024 + 1))
    with pytest.raises(SpecError, match="larger"):
        load_spec(path)
