"""Messages between nodes beside the protocol: reads, seals of the state, fragments of segments.

They decide nothing and are never on disk. A frame of theirs starts with a byte that begins no
message of the protocol.
"""

from typing import Final

import msgspec

from dataplane.wire.errors import MalformedMessageError
from dataplane.wire.proofs import EPOCH_CHANGES_MAX, HASH_BYTES, EpochChange

MARK: Final = b"\xc1"
"""The one byte that MessagePack never uses."""
COLLECTION_CHARS_MAX: Final = 63
ID_CHARS_MAX: Final = 128
ROW_BYTES_MAX: Final = 1_200_000
PLACES_MAX: Final = 256
FRAGMENT_BYTES_MAX: Final = 3 * 1024 * 1024
"""As it travels: a segment is of 1 MiB of bodies and their ids, or of one document."""
_NUMBER_MAX: Final = 2**63 - 1


class PeerMessage(
    msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True, gc=False, tag=True
):
    """Base of these messages; the tag is the class name."""


class ReadRequest(PeerMessage, frozen=True):
    """Ask a replica for its state of a document; the row itself only when it is wanted."""

    number: int
    collection: str
    id: str
    wants_row: bool


class ReadAnswer(PeerMessage, frozen=True):
    """A replica's state of a document after `sequence`: the digest of its row, zeros for none."""

    number: int
    sequence: int
    digest: bytes
    row: bytes | None


class IndexAsk(PeerMessage, frozen=True):
    """Ask a member how far the log may be decided, and for its states of some documents.

    It answers once it executed `at_least`; see `strong_reads`.
    """

    number: int
    epoch: int
    at_least: int
    places: tuple[tuple[str, str], ...]
    """(collection, document id)"""


class IndexAnswer(PeerMessage, frozen=True):
    """A member's promise that nothing above `promised` was decided with it so far.

    `digests` are those of the rows asked for, one after the other, after `executed`.
    """

    number: int
    epoch: int
    promised: int
    executed: int
    digests: bytes


class SealVote(PeerMessage, frozen=True):
    """A replica's signature under the root of its state after `sequence`."""

    epoch: int
    sequence: int
    root: bytes
    sig: bytes


class EpochVote(PeerMessage, frozen=True):
    """A member's signature under who follows the epoch that ended; see `EpochChange`."""

    epoch: int
    sequence: int
    sig: bytes


class EpochAsk(PeerMessage, frozen=True):
    """Ask for changes of epoch: proven ones behind the first `known`, and those behind `epoch`.

    `epoch` is the one that the asker is in.
    """

    known: int
    epoch: int


class EpochChain(PeerMessage, frozen=True):
    """Proven changes of epoch, in order and without gaps."""

    changes: tuple[EpochChange, ...]


class EpochWord(PeerMessage, frozen=True):
    """Changes of epoch that are not proven, with the signatures there are: at least f+1 of each."""

    changes: tuple[EpochChange, ...]


class FragmentAsk(PeerMessage, frozen=True):
    """Ask a holder for its fragment of a segment."""

    number: int
    segment: int


class FragmentAnswer(PeerMessage, frozen=True):
    """A holder's fragment as it is stored, compared with the agreed digest; None when it has none.

    `later` asks for patience: the asker had as much as it may have in this second.
    """

    number: int
    segment: int
    fragment: bytes | None
    later: bool


type AnyPeerMessage = (
    ReadRequest
    | ReadAnswer
    | IndexAsk
    | IndexAnswer
    | SealVote
    | EpochVote
    | EpochAsk
    | EpochChain
    | EpochWord
    | FragmentAsk
    | FragmentAnswer
)

_encoder = msgspec.msgpack.Encoder()
_decoder: msgspec.msgpack.Decoder[AnyPeerMessage] = msgspec.msgpack.Decoder(AnyPeerMessage)


def encode_peer_message(message: AnyPeerMessage) -> bytes:
    """Return the bytes of a message."""
    return MARK + _encoder.encode(message)


def decode_peer_message(frame: bytes) -> AnyPeerMessage:
    """Return the message in a marked frame, its shape checked.

    Raises:
        MalformedMessageError: The bytes are no such message, or a field is out of range.
    """
    assert frame.startswith(MARK)
    try:
        message = _decoder.decode(memoryview(frame)[len(MARK) :])
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise MalformedMessageError(str(error)) from error
    if not _is_legal(message):
        raise MalformedMessageError(f"{type(message).__name__} out of range")
    return message


def _is_place(collection: str, document_id: str) -> bool:
    return len(collection) <= COLLECTION_CHARS_MAX and len(document_id) <= ID_CHARS_MAX


def _are_numbers(*values: int) -> bool:
    return all(0 <= value <= _NUMBER_MAX for value in values)


def _is_legal(message: AnyPeerMessage) -> bool:
    match message:
        case ReadRequest() | ReadAnswer() | IndexAsk() | IndexAnswer():
            return _is_legal_read(message)
        case FragmentAsk() | FragmentAnswer():
            return _is_legal_fragment(message)
        case EpochVote():
            return 0 <= message.epoch <= _NUMBER_MAX and 0 < message.sequence <= _NUMBER_MAX
        case EpochAsk():
            return _are_numbers(message.known, message.epoch)
        case EpochChain() | EpochWord():
            return len(message.changes) <= EPOCH_CHANGES_MAX
        case SealVote():
            return 0 < message.sequence <= _NUMBER_MAX and len(message.root) == HASH_BYTES


def _is_legal_read(message: ReadRequest | ReadAnswer | IndexAsk | IndexAnswer) -> bool:
    match message:
        case ReadRequest():
            return _are_numbers(message.number) and _is_place(message.collection, message.id)
        case ReadAnswer():
            return (
                _are_numbers(message.number, message.sequence)
                and len(message.digest) == HASH_BYTES
                and (message.row is None or len(message.row) <= ROW_BYTES_MAX)
            )
        case IndexAsk():
            return (
                _are_numbers(message.number, message.epoch, message.at_least)
                and len(message.places) <= PLACES_MAX
                and all(_is_place(*place) for place in message.places)
            )
        case IndexAnswer():
            return (
                _are_numbers(message.number, message.epoch, message.promised, message.executed)
                and len(message.digests) <= PLACES_MAX * HASH_BYTES
            )


def _is_legal_fragment(message: FragmentAsk | FragmentAnswer) -> bool:
    match message:
        case FragmentAsk():
            return _are_numbers(message.number, message.segment)
        case FragmentAnswer():
            size_bytes = 0 if message.fragment is None else len(message.fragment)
            return (
                _are_numbers(message.number, message.segment) and size_bytes <= FRAGMENT_BYTES_MAX
            )
