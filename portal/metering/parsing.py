"""From the bytes of a request to events that may be counted: shape, sender and time."""

import hashlib
from datetime import datetime, timedelta

import msgspec

from portal.metering.constants import (
    AGE_MAX,
    BATCH_COUNT_MAX,
    DEAD_LETTER_BYTES_MAX,
    EVENT_PREFIX,
    FUTURE_MAX,
    METERS,
    NODE_SECONDS,
    WINDOW_MAX,
)
from portal.metering.errors import EventRefused, MalformedBody
from portal.metering.types import Json, ParsedEvent, Source, UsageEnvelope


def decode_body(body: bytes) -> tuple[list[Json], bool]:
    """Read one event or a list of them; the flag says whether it was a list.

    Raises:
        MalformedBody: Not JSON, neither object nor list, an empty or too long list.
    """
    try:
        value: Json = msgspec.json.decode(body)
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError) as error:
        raise MalformedBody(str(error)) from error
    if isinstance(value, dict):
        return [value], False
    if not isinstance(value, list) or not 1 <= len(value) <= BATCH_COUNT_MAX:
        detail = f"send one event, or a list of 1 to {BATCH_COUNT_MAX} events"
        raise MalformedBody(detail)
    return value, True


def digest_of(event: Json) -> bytes:
    """Digest the content, whatever the order of its members or its white space."""
    return hashlib.sha256(msgspec.json.encode(event, order="deterministic")).digest()


def names_of(event: Json) -> tuple[str, str]:
    """Answer (source, id) as far as they are there, to name the event in the answer."""
    if not isinstance(event, dict):
        return "", ""
    source, event_id = event.get("source"), event.get("id")
    return (
        source[:200] if isinstance(source, str) else "",
        event_id[:200] if isinstance(event_id, str) else "",
    )


def parse_event(event: Json, *, sender: Source, now: datetime) -> ParsedEvent:
    """Check one event.

    Raises:
        EventRefused: With the stable code of the reason.
    """
    try:
        envelope = msgspec.convert(event, UsageEnvelope)
    except msgspec.ValidationError as error:
        raise EventRefused("invalid", str(error)) from error
    _check_sender(envelope, sender)
    _check_window(envelope)
    _check_time(envelope, now)
    return ParsedEvent(
        key=(envelope.source, envelope.id), digest=digest_of(event), data=envelope.data
    )


def dead_letter_payload(event: Json) -> Json:
    """Answer what is kept of a refused event: all of it, unless it is unreasonably big."""
    if len(msgspec.json.encode(event)) > DEAD_LETTER_BYTES_MAX:
        source, event_id = names_of(event)
        return {"source": source, "id": event_id, "truncated": True}
    return event


def _check_sender(envelope: UsageEnvelope, sender: Source) -> None:
    """A cluster reports itself only, under names derived from the fact."""
    base = f"/clusters/{sender.data_plane_id}"
    own = envelope.source == base or envelope.source.startswith(f"{base}/")
    if not own or envelope.data.cluster != sender.data_plane_id:
        raise EventRefused("foreign_cluster", "the token belongs to another cluster")
    if not envelope.id.startswith(f"{sender.data_plane_id}:"):
        raise EventRefused("underived_id", "the id must start with the cluster's id")
    if "\x00" in envelope.id or "\x00" in envelope.source:
        raise EventRefused("invalid", "names hold no NUL character")
    meter = envelope.data.meter
    if meter not in METERS or envelope.type != f"{EVENT_PREFIX}{meter}":
        raise EventRefused("no_matching_meter", f"no meter {meter!r} of type {envelope.type!r}")


def _check_window(envelope: UsageEnvelope) -> None:
    """A window has a length, a time zone, and lies within one hour: hours are what is priced."""
    start, end = envelope.data.window_start, envelope.data.window_end
    if start.tzinfo is None or end.tzinfo is None or envelope.time.tzinfo is None:
        raise EventRefused("invalid", "times need a time zone")
    if not start < end <= start + WINDOW_MAX:
        raise EventRefused("invalid_window", "a window is longer than 0 and at most an hour")
    last = end - timedelta(microseconds=1)
    if int(start.timestamp()) // 3600 != int(last.timestamp()) // 3600:
        raise EventRefused("invalid_window", "a window may not cross a full hour")
    if envelope.data.meter == NODE_SECONDS and envelope.data.value > -(
        -(end - start) // timedelta(seconds=1)
    ):
        raise EventRefused("invalid", "a node cannot run longer than the window")


def _check_time(envelope: UsageEnvelope, now: datetime) -> None:
    """Refuse what is yet to come and what can no longer be billed."""
    if max(envelope.time, envelope.data.window_end) > now + FUTURE_MAX:
        raise EventRefused("in_future", "more than 5 minutes ahead of the portal's clock")
    if min(envelope.time, envelope.data.window_end) < now - AGE_MAX:
        raise EventRefused("outside_window", "more than 35 days old", dead_letter=True)
