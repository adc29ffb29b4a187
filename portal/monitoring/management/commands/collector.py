"""The collector process: `manage.py collector`."""

import asyncio
import logging
import signal
from typing import override

import httpx
from django.core.management.base import BaseCommand

from portal.monitoring.collector import Collector
from portal.monitoring.constants import POLL_CONCURRENCY_MAX, POLL_TIMEOUT_S
from portal.monitoring.discovery import make_ports
from portal.monitoring.experiments.ports import make_watch_ports
from portal.monitoring.experiments.watching import ExperimentWatcher

logger = logging.getLogger(__name__)


class Command(BaseCommand):
    """Collect the figures of every running cluster until told to stop."""

    help = "Poll the nodes of all clusters each second and publish their figures."

    @override
    def handle(self, *args: object, **options: object) -> None:
        asyncio.run(collect())


async def collect() -> None:
    """Run the collector until SIGTERM or SIGINT."""
    limits = httpx.Limits(
        max_connections=POLL_CONCURRENCY_MAX * 2, max_keepalive_connections=POLL_CONCURRENCY_MAX * 2
    )
    # Nodes are named by the portal itself: no proxy of the environment, no redirect to elsewhere.
    async with httpx.AsyncClient(
        timeout=POLL_TIMEOUT_S, limits=limits, trust_env=False, follow_redirects=False
    ) as http:
        collector = Collector(make_ports(), http)
        watcher = ExperimentWatcher(make_watch_ports(), http)

        def stop() -> None:
            collector.stop()
            watcher.stop()

        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, stop)
        logger.info("collector.started")
        async with asyncio.TaskGroup() as group:
            group.create_task(collector.run())
            group.create_task(watcher.run())
        logger.info("collector.stopped")
