"""Clusters, operations and keys as the API prints them."""

from datetime import datetime
from typing import Any

import msgspec

from portal.clusters.connections import (
    authority_certificate,
    grpc_addresses,
    node_urls,
    trust_anchor,
)
from portal.clusters.models import SERVING, ApiKey, Cluster, Node, Operation, OperationStep
from portal.clusters.snippets import snippets
from portal.plans.presentation import budget_json, money
from portal.plans.selectors import fault_budget


def cluster_json(cluster: Cluster) -> dict[str, Any]:
    """Print a cluster; what is wanted and what was seen are apart."""
    budget = fault_budget(cluster.size)
    seen = cluster.observed or {}
    return {
        "id": str(cluster.pk),
        "name": cluster.name,
        "plan": cluster.plan,
        "region": cluster.region,
        "status": cluster.status,
        "profile": cluster.profile,
        "sandbox": cluster.is_sandbox,
        "encryption": cluster.encryption or "none",
        "desired": {"nodes": cluster.desired_nodes},
        "epoch": cluster.epoch,
        "observed": {
            "nodes": seen.get("nodes", 0),
            "ready": seen.get("ready", 0),
            "f": budget.f,
            "quorum": budget.quorum,
            "has_quorum": seen.get("has_quorum", False),
            "view": seen.get("view"),
            "primary": seen.get("primary"),
            "at": moment(cluster.observed_at),
        },
        "fault_budget": budget_json(budget),
        "endpoints": node_urls(cluster) if cluster.deleted_at is None else [],
        "created": moment(cluster.created_at),
        "created_by": cluster.created_by,
        "ready": moment(cluster.ready_at),
        "deleted": moment(cluster.deleted_at),
        "recoverable_until": moment(cluster.purge_at) if cluster.is_recoverable else None,
    }


def node_json(node: Node) -> dict[str, Any]:
    """Print a node as it was last seen."""
    seen = node.observed or {}
    return {
        "id": node.index,
        "name": node.name,
        "url": node.url,
        "membership": node.membership,
        "state": node.state,
        "role": seen.get("role"),
        "sequence": seen.get("sequence"),
        "lag": seen.get("lag"),
        "version": seen.get("version") or None,
        "reason": seen.get("reason"),
        "public_key": node.public_key,
    }


def operation_json(operation: Operation) -> dict[str, Any]:
    """Print an operation with its steps."""
    return {
        "id": str(operation.pk),
        "kind": operation.kind,
        "cluster": str(operation.cluster_id),
        "status": operation.state,
        "steps": [step_json(step) for step in operation.steps.all()],
        "attempt": operation.attempt,
        "cancel_requested": operation.cancel_requested,
        "deadline": moment(operation.deadline_at),
        "cost_delta_per_hour": money(operation.cost_delta, places="0.0001"),
        "requested_by": operation.requested_by,
        "created": moment(operation.created_at),
        "started": moment(operation.started_at),
        "finished": moment(operation.finished_at),
        "error": (
            {"code": operation.error_code, "detail": operation.error}
            if operation.error_code
            else None
        ),
        "next_action": operation.next_action or None,
    }


def step_json(step: OperationStep) -> dict[str, Any]:
    """Print a step."""
    return {
        "name": step.name,
        "title": step.title,
        "status": step.status,
        "started": moment(step.started_at),
        "finished": moment(step.finished_at),
        "waiting_for": step.waiting_for or None,
        "error": step.error or None,
    }


def key_json(key: ApiKey) -> dict[str, Any]:
    """Print a key; its secret was shown when it was made."""
    return {
        "id": key.key_id,
        "name": key.name,
        "scopes": key.scopes,
        "collections": key.collections,
        "expires": moment(key.expires_at),
        "revoked": moment(key.revoked_at),
        "created": moment(key.created_at),
        "created_by": key.created_by,
    }


def connection_json(cluster: Cluster) -> dict[str, Any]:
    """Print how to reach a cluster."""
    urls, grpc = node_urls(cluster), grpc_addresses(cluster)
    return {
        "endpoints": urls,
        "grpc": grpc,
        "ca": authority_certificate(cluster).decode() or None,
        "ready": cluster.status in SERVING,
        "status": cluster.status,
        "authentication": "Authorization: Bearer adk_…",
        "trust_anchor": msgspec.to_builtins(trust_anchor(cluster)),
        "snippets": {found.language: found.code for found in snippets(urls, grpc=grpc)},
    }


def moment(value: datetime | None) -> str | None:
    """Print a time, RFC 3339 in UTC."""
    return None if value is None else value.isoformat().replace("+00:00", "Z")
