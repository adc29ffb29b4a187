"""Key material and specifications of a new cluster, for whoever places nodes.

Each cluster has its own certificate authority; its certificates say who a node of that cluster is,
to the other nodes and to clients, and are good for nothing else.
"""

import datetime as dt
import ipaddress
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.x509.oid import NameOID

from dataplane.client.spec import NodeSpec, dump_spec

VALIDITY_DAYS: Final = 3_650
CLOCK_SLACK_DAYS: Final = 1


@dataclass(frozen=True, slots=True)
class Authority:
    """A cluster's certificate authority, PEM."""

    certificate_pem: bytes
    key_pem: bytes


@dataclass(frozen=True, slots=True)
class NodeMaterial:
    """The secrets of one node and its public keys (hex)."""

    certificate_pem: bytes
    key_pem: bytes
    signing_seed: str
    gateway_seed: str
    public_key: str
    gateway_public_key: str


def node_common_name(cluster_id: str, node_id: int) -> str:
    """Return the name in a node's certificate, by which its peers know it."""
    return f"node-{node_id}.{cluster_id}"


def _key_pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )


def _builder(subject: str, issuer: str, today: dt.datetime) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, subject)]))
        .issuer_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, issuer)]))
        .serial_number(x509.random_serial_number())
        .not_valid_before(today - dt.timedelta(days=CLOCK_SLACK_DAYS))
        .not_valid_after(today + dt.timedelta(days=VALIDITY_DAYS))
    )


def create_authority(cluster_id: str, now: dt.datetime) -> Authority:
    """Make the certificate authority of a cluster."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = f"ca.{cluster_id}"
    certificate = (
        _builder(name, name, now)
        .public_key(key.public_key())
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(
            x509.KeyUsage(
                digital_signature=False,
                content_commitment=False,
                key_encipherment=False,
                data_encipherment=False,
                key_agreement=False,
                key_cert_sign=True,
                crl_sign=True,
                encipher_only=False,
                decipher_only=False,
            ),
            critical=True,
        )
        .sign(key, hashes.SHA256())
    )
    return Authority(certificate.public_bytes(serialization.Encoding.PEM), _key_pem(key))


def _seed_pair() -> tuple[str, str]:
    key = Ed25519PrivateKey.generate()
    return key.private_bytes_raw().hex(), key.public_key().public_bytes_raw().hex()


def create_node_material(  # noqa: PLR0917 - five facts of one certificate
    authority: Authority, cluster_id: str, node_id: int, host: str, now: dt.datetime
) -> NodeMaterial:
    """Make a node's certificate, its vote key and its gateway key."""
    ca = x509.load_pem_x509_certificate(authority.certificate_pem)
    ca_key = serialization.load_pem_private_key(authority.key_pem, password=None)
    assert isinstance(ca_key, ec.EllipticCurvePrivateKey)
    key = ec.generate_private_key(ec.SECP256R1())
    ca_key_id = ca.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value
    certificate = (
        _builder(node_common_name(cluster_id, node_id), f"ca.{cluster_id}", now)
        .public_key(key.public_key())
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(ca_key_id),
            critical=False,
        )
        .add_extension(_alternative_names(cluster_id, node_id, host), critical=False)
        .sign(ca_key, hashes.SHA256())
    )
    signing_seed, public_key = _seed_pair()
    gateway_seed, gateway_public_key = _seed_pair()
    return NodeMaterial(
        certificate.public_bytes(serialization.Encoding.PEM),
        _key_pem(key),
        signing_seed,
        gateway_seed,
        public_key,
        gateway_public_key,
    )


def _alternative_names(cluster_id: str, node_id: int, host: str) -> x509.SubjectAlternativeName:
    names: list[x509.GeneralName] = [x509.DNSName(node_common_name(cluster_id, node_id))]
    try:
        names.append(x509.IPAddress(ipaddress.ip_address(host)))
    except ValueError:
        names.append(x509.DNSName(host))
    return x509.SubjectAlternativeName(names)


def write_private(path: Path, data: bytes) -> None:
    """Write a file that only its owner may read, whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.tmp")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)


def write_node_files(
    directory: Path, spec: NodeSpec, authority: Authority, material: NodeMaterial
) -> Path:
    """Write a node's secrets and specification where the specification says they are.

    Returns:
        The path of the specification file.
    """
    for name, data in (
        (spec.tls.ca_file, authority.certificate_pem),
        (spec.tls.cert_file, material.certificate_pem),
        (spec.tls.key_file, material.key_pem),
        (spec.signing_key_file, material.signing_seed.encode()),
        (spec.gateway_key_file, material.gateway_seed.encode()),
    ):
        write_private(Path(name), data)
    path = directory / "spec.json"
    write_private(path, dump_spec(spec))
    return path
