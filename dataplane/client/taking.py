"""Fetching a backup from a cluster, whichever nodes die or lie meanwhile.

What arrived before a node failed is kept: the next one, which may be at a later moment, is asked
for the rest. What a node sends is believed when it hashes to what a quorum signed.
"""

import contextlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

import httpx
import zstandard

from dataplane.client.anchors import TrustAnchor
from dataplane.client.backups import (
    BackupReader,
    Verified,
    Weighing,
    chained,
    verified,
    verify_head,
)
from dataplane.client.errors import (
    BackupError,
    ClientError,
    ClusterUnreachableError,
    ProofError,
)
from dataplane.wire.backups import (
    KNOWN_BYTES,
    KNOWN_MAX,
    MAGIC,
    AnyRecord,
    Head,
    encode_records,
)

PATH: Final = "/api/v1/backup"
PATH_AT_CHECKPOINT: Final = f"{PATH}?at=checkpoint"
TIMEOUT_S: Final = 30.0
ROUNDS: Final = 3
"""How often each node is asked."""
PARTS_MAX: Final = 16
CHUNK_BYTES: Final = 256 * 1024
RECORDS_AT_ONCE: Final = 32
LEVEL: Final = 3


def take_backup(
    urls: Sequence[str],
    token: str,
    anchor: TrustAnchor,
    target: Path,
    *,
    known: bytes = b"",
    after: int = 0,
    at_checkpoint: bool = False,
    timeout_s: float = TIMEOUT_S,
) -> Verified:
    """Write a backup of the state of now to `target`, checked; say what it proves.

    With `known` of an earlier backup (`Contents.known`) only what changed since is fetched. A
    state before the sequence `after` is refused, whoever signed it: it would be an old one.
    With `at_checkpoint` a node is asked for the last state that was certified anyway: it needs no
    quorum for that, and what was written later is not in it.

    Raises:
        ClusterUnreachableError: No node sent a whole backup.
        ProofError: Every node that sent one sent one that does not hold; the last failure.
    """
    attempt = _Taking(
        token=token, anchor=anchor, target=target, known=known, after=after, timeout_s=timeout_s
    )
    attempt.path = PATH_AT_CHECKPOINT if at_checkpoint else PATH
    try:
        for url in [*urls] * ROUNDS:
            found = attempt.ask(url)
            if found is not None:
                return found
    finally:
        attempt.clean()
    raise attempt.failure


class _Taking:
    """One backup on its way, in as many parts as it takes."""

    def __init__(
        self,
        *,
        token: str,
        anchor: TrustAnchor,
        target: Path,
        known: bytes,
        after: int,
        timeout_s: float,
    ) -> None:
        self._headers = {"Authorization": f"Bearer {token}"}
        self._anchor, self._target, self._after = anchor, target, after
        self._before, self._timeout_s = known, timeout_s
        self._parts: list[Path] = []
        self._known = known
        self.path = PATH
        self.failure: ClientError = ClusterUnreachableError("no node was asked")

    def ask(self, url: str) -> Verified | None:
        """Ask one node; return what came of it when that is whole."""
        if len(self._parts) == PARTS_MAX:
            self.clean()
        part = self._target.with_name(f"{self._target.name}.part{len(self._parts)}")
        try:
            is_complete = self._fetch(url, part)
            self._parts.append(part)
            if is_complete:
                return self._finish()
            self._keep()
        except ProofError as error:
            self.failure = error
            self._parts.remove(part)
            part.unlink()
        return None

    def _fetch(self, url: str, part: Path) -> bool:
        """Write what a node sends; return whether it came to its end."""
        path = url.rstrip("/") + self.path
        method, body = ("POST", self._known) if self._known else ("GET", None)
        headers = dict(self._headers)
        if body is not None:
            headers["Content-Type"] = "application/octet-stream"
        with part.open("wb") as file:
            try:
                with httpx.stream(
                    method,
                    path,
                    content=body,
                    headers=headers,
                    timeout=self._timeout_s,
                    trust_env=False,
                ) as answer:
                    if not answer.is_success:
                        answer.read()
                        self.failure = ClusterUnreachableError(
                            f"{url} answered {answer.status_code}: {answer.text[:200]}"
                        )
                        return False
                    for chunk in answer.iter_raw(CHUNK_BYTES):
                        file.write(chunk)
            except httpx.HTTPError as error:
                self.failure = ClusterUnreachableError(f"{url} did not send it all: {error}")
                return False
        return True

    def _keep(self) -> None:
        """Look what of a broken stream is there, so that it need not be sent again."""
        newest = self._parts[-1]
        if newest.stat().st_size == 0:
            self._parts.pop().unlink()
            return
        weighing = Weighing()
        try:
            with newest.open("rb") as file:
                reader = BackupReader(file, may_break_off=True)
                for _ in weighing.through(reader.records()):
                    pass
        except BackupError as error:
            if error.code != "truncated":
                raise
        if not weighing.known:
            self._parts.pop().unlink()
            return
        self._known = (self._before + self._held() + weighing.known)[: KNOWN_MAX * KNOWN_BYTES]

    def _held(self) -> bytes:
        return self._known[len(self._before) :]

    def _finish(self) -> Verified:
        with contextlib.ExitStack() as stack:
            files = [stack.enter_context(part.open("rb")) for part in self._parts]
            readers = [BackupReader(file, may_break_off=True) for file in files[:-1]]
            readers.append(BackupReader(files[-1]))
            head = readers[-1].head
            verify_head(head, self._anchor)
            if head.certificate.sequence < self._after:
                detail = f"it is of sequence {head.certificate.sequence}, before {self._after}"
                raise BackupError("stale", detail)
            weighing = Weighing()
            records = weighing.through(chained(readers))
            if len(readers) == 1:
                for _ in records:
                    pass
                found = verified(head, weighing.contents(), self._anchor)
                self._parts[0].replace(self._target)
            else:
                joined = self._target.with_name(f"{self._target.name}.joined")
                stack.callback(joined.unlink, missing_ok=True)
                write_backup(joined, head, records)
                found = verified(head, weighing.contents(), self._anchor)
                joined.replace(self._target)
        return found

    def clean(self) -> None:
        """Remove the parts."""
        for part in self._parts:
            part.unlink(missing_ok=True)
        self._parts, self._known = [], self._before


def write_backup(path: Path, head: Head, records: Iterator[AnyRecord]) -> None:
    """Write a backup from its records."""
    compressor = zstandard.ZstdCompressor(level=LEVEL, write_checksum=True).compressobj()
    with path.open("wb") as file:
        file.write(MAGIC + compressor.compress(encode_records([head])))
        part: list[AnyRecord] = []
        for record in records:
            part.append(record)
            if len(part) == RECORDS_AT_ONCE:
                file.write(compressor.compress(encode_records(part)))
                part = []
        file.write(compressor.compress(encode_records(part)) + compressor.flush())
