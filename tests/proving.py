"""A cluster reduced to what proves: one state, and the keys of its replicas."""

import msgspec

from dataplane.client.anchors import TrustAnchor
from dataplane.consensus.messages import checkpoint_payload
from dataplane.documents.commands import OpenSession, Put, encode_op, session_id
from dataplane.documents.proving import prove_document
from dataplane.documents.state import StateMachine
from dataplane.documents.types import Genesis
from dataplane.documents.values import pack_document
from dataplane.security.signing import Ed25519Signer
from dataplane.storage.engine import MemoryStore
from dataplane.wire.proofs import Certificate, Proof, Validator, seal_payload
from dataplane.wire.quorum import quorum_size

CLIENT = b"c" * 32
NOW_MS = 1_700_000_000_000


class Sent(msgspec.Struct, frozen=True):
    ops: tuple[bytes, ...]
    cseq: int
    client: bytes = CLIENT
    session: bytes = session_id(CLIENT, b"nonce")
    ack: int = 0


class Replicas:
    """A cluster reduced to what proves: one state, and the keys of `n` replicas."""

    def __init__(self, n: int = 4, epoch: int = 0, cluster_id: str = "ab" * 16) -> None:
        self.signers = [Ed25519Signer(bytes([epoch, number]) * 16) for number in range(n)]
        self.epoch, self.cluster_id = epoch, cluster_id
        self.store = MemoryStore()
        self.machine = StateMachine(self.store, Genesis())
        self.cseq = 0
        self._order(Sent((encode_op(OpenSession(b"nonce")),), 0))

    def _order(self, sent: Sent) -> None:
        result = self.machine.apply(self.machine.applied + 1, NOW_MS, [sent])
        assert result.requests[0].status == "ok"

    def do(self, *ops: object) -> None:
        self.cseq += 1
        self._order(Sent(tuple(map(encode_op, ops)), self.cseq, ack=self.cseq - 1))

    def fill(self, count: int) -> None:
        for start in range(0, count, 100):
            ids = range(start, min(start + 100, count))
            self.do(*[Put("airports", f"id-{n}", pack_document({"n": n})) for n in ids])

    @property
    def validators(self) -> tuple[Validator, ...]:
        return tuple(
            Validator(number, signer.public_key.hex()) for number, signer in enumerate(self.signers)
        )

    @property
    def anchor(self) -> TrustAnchor:
        return TrustAnchor(self.cluster_id, self.epoch, self.validators)

    def sign(self, payload: bytes, *replicas: int) -> tuple[tuple[int, bytes], ...]:
        chosen = replicas or range(quorum_size(len(self.signers)))
        return tuple((number, self.signers[number].sign(payload)) for number in chosen)

    def certificate(self, *replicas: int, kind: str = "seal", root: bytes = b"") -> Certificate:
        sequence, root = self.machine.applied, root or self.machine.root()
        payload_of = {"seal": seal_payload, "checkpoint": checkpoint_payload}[kind]
        payload = payload_of(
            bytes.fromhex(self.cluster_id), epoch=self.epoch, sequence=sequence, root=root
        )
        return Certificate(kind, sequence, root, self.sign(payload, *replicas))

    def prove(self, document_id: str, *replicas: int, collection: str = "airports") -> Proof:
        self.machine.root()
        collection_row, document = prove_document(self.store.get, collection, document_id)
        return Proof(
            version=1,
            cluster_id=self.cluster_id,
            epoch=self.epoch,
            collection=collection,
            id=document_id,
            collection_row=collection_row,
            document=document,
            certificate=self.certificate(*replicas),
        )
