"""Spans of sampled requests for an OpenTelemetry collector (OTLP over HTTP)."""

from typing import Final, override

from opentelemetry import trace as api
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.trace import NonRecordingSpan, SpanContext, SpanKind, StatusCode, TraceFlags

from dataplane.client.spec import NodeSpec
from dataplane.gateways.tracing import Spans, Trace

EXPORT_TIMEOUT_S: Final = 5
QUEUE_MAX: Final = 2_048
"""Spans beyond it are dropped: telling of work never holds it up."""


class OtlpSpans(Spans):
    """Gathers spans and sends them in a thread of its own."""

    def __init__(self, spec: NodeSpec, url: str) -> None:
        resource = Resource.create(
            {
                "service.name": "aerolithdb-node",
                "service.instance.id": f"{spec.cluster_id}/{spec.node_id}",
                "aerolith.cluster": spec.cluster_id,
                "aerolith.node": spec.node_id,
            }
        )
        self._provider = TracerProvider(resource=resource, shutdown_on_exit=False)
        exporter = OTLPSpanExporter(endpoint=url, timeout=EXPORT_TIMEOUT_S)
        self._provider.add_span_processor(BatchSpanProcessor(exporter, max_queue_size=QUEUE_MAX))
        self._tracer = self._provider.get_tracer("aerolith.gateway")

    @override
    def record(
        self, name: str, trace: Trace, *, ended_ms: int, seconds: float, status: int
    ) -> None:
        ended_ns = ended_ms * 1_000_000
        parent = SpanContext(
            int(trace.trace_id, 16),
            int(trace.parent_id, 16),
            is_remote=True,
            trace_flags=TraceFlags(TraceFlags.SAMPLED),
        )
        span = self._tracer.start_span(
            name,
            context=api.set_span_in_context(NonRecordingSpan(parent)),
            kind=SpanKind.SERVER,
            attributes={"aerolith.status": status},
            start_time=ended_ns - int(seconds * 1e9),
        )
        if status >= 500:
            span.set_status(StatusCode.ERROR)
        span.end(end_time=ended_ns)

    def close(self) -> None:
        """Send what waits; this may take some seconds."""
        self._provider.shutdown()
