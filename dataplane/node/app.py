"""The composition root of a node: everything is put together here and nowhere else."""

import asyncio
import contextlib
import gc
import logging
import secrets
import signal
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from dataplane.client.spec import ArchiveSpec, NodeSpec
from dataplane.documents.checkpoint_views import CheckpointViews
from dataplane.documents.commands import Barrier, encode_op
from dataplane.documents.state import StateMachine
from dataplane.documents.types import Genesis, GenesisKey
from dataplane.documents.view import StateView
from dataplane.gateways.calls import REPORT_S
from dataplane.gateways.context import Context
from dataplane.gateways.front import SWITCHES, Front
from dataplane.gateways.holding import keep_holding
from dataplane.gateways.rest.http import HttpServer
from dataplane.node.archived_segments import Archive
from dataplane.node.archiving import Archiver
from dataplane.node.cold_segments import ColdSegments
from dataplane.node.encryption import Encryption, open_keyring, open_store
from dataplane.node.figures import NodeFigures
from dataplane.node.healing import Healer
from dataplane.node.maintaining import Maintainer
from dataplane.node.resealing import Resealer
from dataplane.node.tier_figures import TierParts, tier_lines
from dataplane.node.usage import UsageReporter
from dataplane.ports import Clock, SystemClock
from dataplane.replication.configuration import member_of
from dataplane.replication.driver import ReplicationDriver
from dataplane.replication.errors import ReplicationError
from dataplane.replication.reads import ReadState
from dataplane.replication.transport import MakeTransport, PeerTransport
from dataplane.security.keyring import EVIDENCE, LOG, Keyring
from dataplane.security.signing import Ed25519Signer, load_signer
from dataplane.storage.directory import DataDirectory
from dataplane.storage.errors import FatalStorageError
from dataplane.storage.evidence import EvidenceLog
from dataplane.storage.ports import Ciphers

if TYPE_CHECKING:
    from dataplane.client.archive_store import ArchiveStore
    from dataplane.gateways.rpc.server import RpcServer
    from dataplane.node.telemetry import OtlpSpans

log = logging.getLogger(__name__)

EXIT_CLEAN = 0
EXIT_HALTED = 3
LOOPBACK = ("127.0.0.1", "::1", "localhost")
GC_THRESHOLDS: Final = (20_000, 20, 50)
"""Nearly nothing here is in cycles: looking for them after every 2,000 objects is waste."""
TURN_MS: Final = 1_500
FORGET_S: Final = 2.0


def genesis_of(spec: NodeSpec) -> Genesis:
    """Return the state before sequence 1."""
    keys = tuple(
        GenesisKey(
            key.id,
            bytes.fromhex(key.hash),
            key.name,
            key.scopes,
            key.collections,
            key.expires_ms,
            key.requests_per_s,
            key.kind,
        )
        for key in spec.genesis.keys
    )
    return Genesis(
        keys,
        spec.genesis.calls_limit,
        spec.genesis.storage_limit_bytes,
        spec.genesis.usage_window_ms,
        bytes.fromhex(spec.cluster_id),
        tuple(map(member_of, spec.genesis.members or spec.members)),
        bytes.fromhex(spec.genesis.admin_public_key or ""),
        spec.genesis.requests_per_s,
    )


def _spans(spec: NodeSpec, url: str) -> "OtlpSpans":
    # Loaded where it is wanted only, as gRPC is.
    from dataplane.node.telemetry import OtlpSpans  # noqa: PLC0415

    return OtlpSpans(spec, url)


def _archive_store(archive: ArchiveSpec, cluster_id: str) -> "ArchiveStore":
    # Likewise.
    from dataplane.client.archive_store import ArchiveStore  # noqa: PLC0415

    return ArchiveStore(archive, cluster_id)


@dataclass(frozen=True, slots=True)
class Parts:
    """What whoever composes a node decides: its time and links, what it shows and archives."""

    make_transport: MakeTransport = PeerTransport
    make_clock: Callable[[], Clock] = SystemClock
    show: Callable[[StateView], StateView] = lambda view: view
    make_archive: type[Archive] = Archive


@dataclass(frozen=True, slots=True)
class ShownState:
    """The state as gateways are shown it."""

    view: StateView


class Node:
    """One running node."""

    def __init__(self, spec: NodeSpec, parts: Parts | None = None) -> None:
        parts = parts or Parts()
        self._spec = spec
        self._clock = parts.make_clock()
        self.respec: Callable[[], NodeSpec] = lambda: spec
        """Reads the specification anew."""
        keyring = self._open_disk(spec)
        self._encryption = self._open_encryption(keyring)
        self._state = StateMachine(
            self._store, genesis_of(spec), self._encryption, member=spec.node_id
        )
        assert self._state.mending is not None, "it is told whose state it is"
        self._mending = self._state.mending
        self._state.view.memory.bytes_max = spec.limits.memory_tier_bytes
        shown = ShownState(parts.show(self._state.view))
        self._ended = asyncio.Event()
        self._exit_code = EXIT_CLEAN
        signer = load_signer(Path(spec.signing_key_file))
        self._driver = ReplicationDriver(
            spec=spec,
            signer=signer,
            gateway_signer=load_signer(Path(spec.gateway_key_file)),
            executor=self._state,
            flush=lambda: self._store.flush(),  # noqa: PLW0108 - it may stand for another later
            wal=self._directory.wal,
            amnesia=self._directory.amnesia,
            evidence_log=self._evidence_log,
            clock=self._clock,
            nonce=secrets.token_bytes(16),
            on_halt=self._halted,
            state=ReadState(shown.view.row, CheckpointViews(self._store), self._mending.own),
            make_transport=parts.make_transport,
        )
        self._archive = self._open_archive(spec, parts.make_archive)
        self._segments = ColdSegments(
            lambda: self._state.tiers,
            {"distributed": self._driver.reads.fragments.gather, "archive": self._archive.read},
        )
        self._context = self._open_context(shown, signer)
        self._archiver = self._open_archiver()
        app = Front(self._context)
        self._server = HttpServer(
            app,
            app.refuse,
            body_bytes_max=spec.limits.body_bytes_max,
            connections_max=spec.limits.connections_max,
            switches=SWITCHES,
        )
        self._rpc: RpcServer | None = None
        self._spans: OtlpSpans | None = None
        self._tasks: list[asyncio.Task[None]] = []

    def _open_disk(self, spec: NodeSpec) -> Keyring | None:
        """Lock the directory, get at the keys, and open the log, the store and the evidence."""
        keyring: Keyring | None = None

        def open_ciphers(path: Path) -> Ciphers | None:
            nonlocal keyring
            keyring = open_keyring(spec, path, self._clock)
            return None if keyring is None else keyring.ciphers(LOG)

        self._directory = DataDirectory(Path(spec.data_dir), open_ciphers=open_ciphers)
        self._store = open_store(self._directory, keyring)
        path = self._directory.evidence_path
        self._evidence_log = EvidenceLog(
            path, None if keyring is None else keyring.ciphers(EVIDENCE)
        )
        return keyring

    def _open_context(self, shown: ShownState, signer: Ed25519Signer) -> Context:
        figures = NodeFigures(self._clock)
        figures.replication = self._driver.metrics
        figures.gauges = self._gauges()
        figures.more = lambda: tier_lines(
            TierParts(
                self._state.view,
                self._context.cold.fetches,
                self._segments,
                self._driver.reads.fragments,
            )
        )
        return Context(
            spec=self._spec,
            cluster=self._driver,
            reads=self._driver.reads,
            state=shown,
            figures=figures,
            clock=self._clock,
            random_bytes=secrets.token_bytes,
            sign=signer.sign,
            encryption=self._encryption,
            cold=self._segments,
        )

    def _open_encryption(self, keyring: Keyring | None) -> Encryption:
        return Encryption(
            directory=self._directory,
            store=self._store,
            evidence=self._evidence_log,
            keyring=keyring,
            provider=self._spec.encryption,
            respec=lambda: self.respec(),  # noqa: PLW0108 - it is set after this
            clock=self._clock,
        )

    def _open_archive(self, spec: NodeSpec, make: type[Archive]) -> Archive:
        store = None if spec.archive is None else _archive_store(spec.archive, spec.cluster_id)
        view, cluster_id = self._state.view, spec.cluster_id
        return make(store, view, self._encryption, cluster_id=cluster_id)

    def _open_archiver(self) -> Archiver:
        return Archiver(
            self._context,
            self._state.view,
            archive=self._archive,
            gather=self._driver.reads.fragments.gather,
            clock=self._clock,
        )

    def _gauges(self) -> dict[str, Callable[[], int]]:
        """Return what the metrics page shows of this node."""
        return {
            "sequence": lambda: self._driver.executed,
            "view": lambda: self._driver.view,
            "amnesia": lambda: int(self._directory.amnesia is not None),
            "scrub_rounds": lambda: self._state.copies.scrub_rounds,
            "ready": lambda: int(self._driver.ready),
            "waiting_reads": lambda: self._driver.reads.waiting,
            "state_sound": lambda: int(self._driver.is_sound),
            **self._driver.gauges,
            **self._encryption.gauges,
            **self._archive.gauges,
            "archive_removals_refused": lambda: self._archiver.refused,
            "log_bytes": lambda: self._directory.wal.size_bytes,
            "connections": lambda: self._server.connection_count,
            "feeds": lambda: self._context.feeds.count,
            "change_bytes": lambda: self._state.view.changes.held_bytes,
            "cut_off": lambda: int(self._driver.watch.is_cut_off),
            "members_reached": lambda: self._driver.watch.reached,
            "staleness_ms": lambda: self._driver.watch.staleness_ms(self._clock.now_ms()),
            "last_outage_ms": lambda: self._driver.watch.last_outage_ms,
            "last_recovery_ms": lambda: self._driver.watch.last_recovery_ms,
            "segments": lambda: self._state.tiers.placement.total,
            "segments_misplaced": lambda: sum(self._state.tiers.placement.misplaced.values()),
            "fragments_missing": lambda: self._mending.census.missing,
            "fragments_found_wrong": lambda: self._mending.census.found,
            "fragments_rebuilt": lambda: self._mending.census.rebuilt,
        }

    def _halted(self, reason: str) -> None:
        self._exit_code = EXIT_HALTED
        self._ended.set()

    async def run(self) -> int:
        """Serve until a signal or a halt; return the exit code."""
        loop = asyncio.get_running_loop()
        for name in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(name, self._ended.set)
        me = self._spec.me
        await self._driver.start()
        await self._server.start(me.host, me.http_port)
        if self._spec.otlp_url is not None:
            self._spans = _spans(self._spec, self._spec.otlp_url)
            self._context.spans = self._spans
        if self._spec.grpc_port is not None:
            await self._start_rpc(self._spec.grpc_port)
        self._run_beside(self._report_calls())
        maintainer = Maintainer(self._context, self._state.view, self._clock, self._spec.node_id)
        self._run_beside(maintainer.run())
        self._run_beside(self._context.cold.run())
        self._run_beside(self._forget_segments())
        self._run_beside(keep_holding(self._context))
        self._run_beside(Resealer(self._context, self._state.view, self._clock).run())
        self._run_beside(Healer(self._segments, self._mending, self._clock).run())
        if self._spec.archive is not None:
            self._run_beside(self._archiver.run())
        self._run_beside(self._encryption.run())
        self._run_beside(self._context.reporter.run(self._context.submit))
        if self._spec.usage is not None:
            reporter = UsageReporter(self._spec, self._spec.usage, self._state.view, self._clock)
            self._run_beside(reporter.run())
            self._run_beside(self._keep_time(self._spec.genesis.usage_window_ms))
        gc.freeze()
        gc.set_threshold(*GC_THRESHOLDS)
        log.info("node.started", extra={"http_port": me.http_port, "applied": self._state.applied})
        await self._ended.wait()
        await self._stop()
        log.info("node.stopped", extra={"exit_code": self._exit_code})
        return self._exit_code

    async def _start_rpc(self, port: int) -> None:
        # Loaded where it is spoken only: it takes a good part of the time of a start.
        from dataplane.gateways.rpc.server import RpcServer  # noqa: PLC0415

        self._rpc = RpcServer(self._context)
        await self._rpc.start(self._spec.me.host, port)

    def _run_beside(self, work: Coroutine[None, None, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        task.add_done_callback(self._ended_beside)
        self._tasks.append(task)

    def _ended_beside(self, task: asyncio.Task[None]) -> None:
        """Halt when work that never ends did: a node that stopped counting must not serve."""
        if not task.cancelled() and not self._ended.is_set():
            log.critical("node.task_ended", exc_info=task.exception())
            self._halted("a task of the node ended")

    async def _keep_time(self, window_ms: int) -> None:
        """Order a barrier after each usage window in which nothing else moved the agreed time.

        Without it the last window of a cluster that fell quiet would stay open, and what it stores
        unbilled. The nodes take turns, so that one barrier serves all.
        """
        turn_ms = TURN_MS * self._spec.node_id
        while True:
            now_ms = self._clock.now_ms()
            await asyncio.sleep((window_ms - now_ms % window_ms + turn_ms + TURN_MS) / 1000)
            window_start_ms = self._clock.now_ms() // window_ms * window_ms
            if self._state.view.stats().now_ms < window_start_ms:
                with contextlib.suppress(ReplicationError):
                    await self._context.submit([encode_op(Barrier())])

    async def _forget_segments(self) -> None:
        """Keep no body in memory for long after nothing of the state needs its segment."""
        while True:
            await asyncio.sleep(FORGET_S)
            self._segments.prune(self._state.view.collection_numbers())

    async def _report_calls(self) -> None:
        """Order what this gateway served, at most once a second; nothing when idle."""
        meter = self._context.meter
        while True:
            await asyncio.sleep(REPORT_S)
            if self._driver.watch.is_cut_off:
                continue  # A report that cannot be sent is kept, not lost.
            report = meter.take_report(self._clock.now_ms())
            if report is None:
                continue
            with contextlib.suppress(ReplicationError):
                await self._context.submit([report])
            meter.reported()

    async def _stop(self) -> None:
        self._context.feeds.close()
        async with asyncio.TaskGroup() as drained:
            drained.create_task(self._server.stop())
            if self._rpc is not None:
                drained.create_task(self._rpc.stop())
            if self._spans is not None:
                drained.create_task(asyncio.to_thread(self._spans.close))
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)  # noqa: TID251 - all cancelled
        self._segments.close()
        await self._driver.stop()
        self._state.copies.close()
        try:
            self._store.close()
        except FatalStorageError as error:
            # What is not flushed now is in the log; a full disk must not look like a wrong key.
            log.error("node.close_failed", extra={"reason": str(error)})  # noqa: TRY400
            self._halted(str(error))
        self._encryption.close()
        self._evidence_log.close()
        self._directory.close()
