"""A read whose answer must prove itself: shared by both clients."""

from typing import Any

from dataplane.client.anchors import TrustAnchor
from dataplane.client.errors import ApiError, ProofError
from dataplane.client.proofs import Proven, proof_of, verify_proof


class ProvenRead:
    """One read of one document by a client that knows the trust anchor of the cluster.

    `seen` is the newest sequence that the client knew before it asked: an older state, however
    well signed, is no answer to a read that is to be no older.
    """

    def __init__(
        self, anchor: TrustAnchor, place: tuple[str, str], consistency: str | None, seen: int
    ) -> None:
        self._anchor = anchor
        self._place = place
        self._at_least = 0 if consistency in {"bounded", "local"} else seen

    def answered(self, answer: dict[str, Any]) -> dict[str, Any]:
        """Return the document that was proven: it is read from the proof, not from beside it.

        Raises:
            ProofError: The answer proves no document, another one, or an older state.
        """
        proven = self._check(answer.get("_proof"))
        if proven.document is None:
            raise ProofError("is_absent", "the node shows a document and proves that there is none")
        return {**proven.document, "_proof": answer["_proof"]}

    def refused(self, error: ApiError) -> None:
        """Take a refusal; that there is no document must be proven too.

        Raises:
            ProofError: As `answered`.
        """
        if error.code != "not_found":
            return
        if self._check(error.fields.get("proof")).document is not None:
            raise ProofError("is_present", "the node hides a document and proves that it is there")

    def _check(self, given: object) -> Proven:
        if given is None:
            raise ProofError("missing", "the node answered without a proof")
        proven = verify_proof(proof_of(given), self._anchor)
        if (proven.collection, proven.id) != self._place:
            raise ProofError("other_document", f"the proof is of {proven.collection}/{proven.id}")
        if proven.sequence < self._at_least:
            raise ProofError(
                "stale", f"the proof is of sequence {proven.sequence}, known is {self._at_least}"
            )
        return proven
