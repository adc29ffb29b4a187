"""Reads of one document that do not rest on this node's word: compared, and proven."""

import asyncio
from typing import Final, NamedTuple

from dataplane.consensus.messages import CheckpointCertificate
from dataplane.documents.proving import prove_document
from dataplane.documents.tables import decode_document_header, decode_document_row
from dataplane.gateways.answers import Answer, Facts, etag, record_body
from dataplane.gateways.context import LAG_HEADER, Context
from dataplane.gateways.errors import Problem
from dataplane.wire.proofs import EPOCH_CHANGES_MAX, Certificate, Proof, RowProof
from dataplane.wire.stubs import is_stub

CONSISTENCIES: Final = ("strong", "session", "bounded", "local")
WAIT_STEP_S: Final = 0.01

type Place = tuple[str, str]
"""The collection and the id of a document."""


class Reading(NamedTuple):
    """How a document is to be read."""

    consistency: str = "strong"
    after: int = 0
    """The newest sequence that the client has seen."""
    proof: bool = False


def consistency_of(given: object) -> str:
    """Return the consistency of a read, strong when none is named.

    Raises:
        Problem: `invalid` for one that there is not.
    """
    if given is None:
        return "strong"
    if given not in CONSISTENCIES:
        raise Problem("invalid", f"consistency is one of {', '.join(CONSISTENCIES)}")
    return str(given)


async def wait_for_position(context: Context, sequence: int) -> None:
    """Wait until this node executed a sequence.

    Raises:
        Problem: `not_ready` when this node does not get there in time.
    """
    try:
        async with asyncio.timeout(context.timeout_ms / 1000):
            while context.cluster.executed < sequence:
                if context.cluster.watch.is_cut_off:
                    raise Problem("not_ready", f"this node is cut off and not at {sequence} yet")
                await asyncio.sleep(WAIT_STEP_S)
    except TimeoutError as error:
        raise Problem("not_ready", f"this node is not at {sequence} yet; ask another") from error


def require_sound(context: Context) -> None:
    """Refuse to read a state that is known to be wrong.

    Raises:
        Problem: `not_ready` while this node replaces its state by that of its peers.
    """
    if not context.cluster.is_sound:
        raise Problem("not_ready", "this node's state is being repaired; ask another")


def absent(place: Place, facts: Facts, proof: Proof | None = None) -> Problem:
    """Return the refusal of a read that finds no document; it may prove that there is none."""
    detail = f"no document {place[1]} in {place[0]}"
    fields = {} if proof is None else {"proof": proof}
    return Problem("not_found", detail, fields, headers=tuple(facts))


async def read_bounded(context: Context, after: int, place: Place) -> Answer:
    """Answer what enough nodes agree on, and how far it may lag."""
    collection, document_id = place
    agreed = await context.reads.bounded(
        collection, document_id, after=after, timeout_ms=context.timeout_ms
    )
    lag = (LAG_HEADER, str(agreed.newest - agreed.sequence))
    return await document_answer(
        context, place, agreed.row, [*context.position(agreed.sequence), lag]
    )


async def document_answer(
    context: Context, place: Place, stored: bytes | None, facts: Facts
) -> Answer:
    """Return the answer to a read of a row that may be a stub.

    Raises:
        Problem: `not_found`; `not_ready` when a cold document changes meanwhile.
        ReplicationError: Its body cannot be had now.
    """
    row = await context.cold.whole(place, stored)
    if row is None:
        raise absent(place, facts)
    facts = [etag(decode_document_header(row)[0]), *facts]
    return Answer(200, facts=facts, document=context.state.view.text(place, row))


async def read_proven(context: Context, reading: Reading, place: Place) -> Answer:
    """Answer a document with its proof, or prove that there is none.

    A strong read has the state sealed, which takes a turn in the log and costs every node a
    signature. The others are content with the last stable checkpoint where it is new enough.
    """
    await _warmed(context, place)
    consistency = reading.consistency
    after = 0 if consistency == "local" else reading.after
    held = context.reads.views.newest
    if consistency == "local" and held is None:
        raise Problem("not_ready", "this node holds no stable checkpoint yet; read strong")
    if consistency == "strong" or held is None or held[0].sequence < after:
        epoch = context.cluster.status().epoch
        certificate, rows = await context.reads.seal(
            lambda: context.state.view.prove(*place), timeout_ms=context.timeout_ms
        )
    else:
        checkpoint, snapshot = held
        epoch = checkpoint.epoch
        certificate, rows = of_checkpoint(checkpoint), prove_document(snapshot.get, *place)
    facts = context.position(certificate.sequence)
    if consistency != "strong":
        facts.append(context.staleness(certificate.sequence))
    return _proven(place, _proof(context, place, (epoch, certificate), rows), facts)


async def _warmed(context: Context, place: Place) -> None:
    """Put a cold document back first: what is proven is a row with its body."""
    row = context.state.view.row(*place)
    if row is not None and is_stub(row):
        await context.cold.warm([place])


def of_checkpoint(checkpoint: CheckpointCertificate) -> Certificate:
    """Return the certificate of a checkpoint as proofs and backups have it."""
    return Certificate("checkpoint", checkpoint.sequence, checkpoint.root, checkpoint.votes)


def _proof(
    context: Context,
    place: Place,
    signed: tuple[int, Certificate],
    rows: tuple[RowProof, RowProof | None],
) -> Proof:
    spec = context.spec
    collection_row, document = rows
    epoch, certificate = signed
    # Who trusts a still older epoch than these lead from needs a newer anchor.
    changes = context.cluster.epoch_changes[max(0, epoch - EPOCH_CHANGES_MAX) : epoch]
    return Proof(1, spec.cluster_id, epoch, *place, collection_row, document, certificate, changes)


def _proven(place: Place, proof: Proof, facts: Facts) -> Answer:
    row = None if proof.document is None else proof.document.row
    if row is None:
        raise absent(place, facts, proof)
    if is_stub(row):
        raise Problem("not_ready", "the document was cold at that checkpoint; read it strong")
    record = decode_document_row(place[1], row)
    body = {**record_body(record), "_proof": proof}
    return Answer(200, body, [etag(record.version), *facts])
