"""Pages of clusters: the list, the wizard, and what one sees and does of one cluster."""

from collections.abc import Callable
from uuid import UUID

import msgspec
from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_GET, require_http_methods, require_POST

from dataplane.client.anchors import dump_anchor
from portal.access.guards import require, require_at, require_somewhere
from portal.access.types import Access
from portal.clusters import services
from portal.clusters.auditing.views import compliance_context
from portal.clusters.connections import authority_certificate, grpc_addresses, node_urls
from portal.clusters.forms import ClusterForm, KeyForm
from portal.clusters.models import Cluster, Operation
from portal.clusters.pages import (
    cards_of,
    cluster_context,
    encryption_context,
    panel_of,
    size_chosen,
    wizard_catalogue,
)
from portal.clusters.ports import DriverError
from portal.clusters.provisioners.process import driver
from portal.clusters.selectors import (
    anchor_get,
    cluster_get,
    cluster_list,
    key_get,
    key_list,
    node_get,
    operation_get,
    operation_list,
)
from portal.clusters.snippets import snippets
from portal.core import clock
from portal.core.errors import Invalid, NotFound, PortalError
from portal.identity.stepup import require_recent
from portal.plans.selectors import fault_budget, plan_list

OPERATIONS_SHOWN_MAX = 50
LOG_LINES_SHOWN = 200


@require_GET
def clusters_page(request: HttpRequest, slug: str) -> HttpResponse:
    """List the clusters, and what is in the recycle bin."""
    access = require_somewhere(request, "clusters:read")
    cards = cards_of(list(cluster_list(with_deleted=True, visible=access.clusters_visible())))
    context = {
        "cards": [card for card in cards if card.cluster.deleted_at is None],
        "recycled": [card for card in cards if card.cluster.deleted_at is not None],
    }
    return render(request, "clusters/list.html", context)


@require_http_methods(["GET", "POST"])
def cluster_new_page(request: HttpRequest, slug: str) -> HttpResponse:
    """The wizard: one page, price and tolerance before creating."""
    access = require(request, "clusters:write")
    if request.method == "POST":
        form = ClusterForm(request.POST)
        if form.is_valid():
            try:
                cluster, _ = services.cluster_create(access, **form.cleaned_data)
            except PortalError as error:
                _tell_form(form, error)
            else:
                return redirect("clusters:cluster", slug, cluster.pk)
    else:
        first = {"plan": "starter", "nodes": 4, "region": "local-1"}
        form = ClusterForm(initial={**first, "form_token": services.form_token_new()})
    counts = {count for plan in plan_list() for count in plan.node_counts}
    context = {
        "form": form,
        "plans": plan_list(),
        "budgets": [fault_budget(count) for count in sorted(counts)],
        "catalogue": wizard_catalogue(),
        "chosen_plan": form["plan"].value(),
        "chosen_nodes": str(form["nodes"].value()),
    }
    status = 422 if form.is_bound else 200
    return render(request, "clusters/new.html", context, status=status)


def _tell_form(form: ClusterForm | KeyForm, error: PortalError) -> None:
    """Tie what a service refused to the fields it names."""
    faults = error.errors if isinstance(error, Invalid) else ()
    for fault in faults:
        name = fault["pointer"].strip("/").split("/")[0]
        form.add_error(name if name in form.fields else None, fault["detail"])
    if not faults:
        form.add_error("name" if error.code == "name_taken" else None, error.detail)


@require_GET
def cluster_page(request: HttpRequest, slug: str, cluster_id: UUID) -> HttpResponse:
    """Overview: nodes, live figures, the operation at work."""
    access = require(request, "clusters:read")
    context = cluster_context(cluster_get(cluster_id), access, clock.now(), tab="overview")
    return render(request, "clusters/overview.html", context)


@require_GET
@never_cache
def cluster_fragment(request: HttpRequest, slug: str, cluster_id: UUID) -> HttpResponse:
    """The changing part of every page of a cluster, fetched on news and by polling."""
    access = require(request, "clusters:read")
    context = cluster_context(cluster_get(cluster_id), access, clock.now(), tab="")
    return render(request, "clusters/_state.html", context)


@require_http_methods(["GET", "POST"])
@never_cache
def connect_page(request: HttpRequest, slug: str, cluster_id: UUID) -> HttpResponse:
    """Addresses and snippets; a key made here is filled in."""
    return _key_page(request, cluster_id, tab="connect", template="clusters/connect.html")


@require_GET
@never_cache
def anchor_view(request: HttpRequest, slug: str, cluster_id: UUID) -> HttpResponse:
    """The trust anchor as a file."""
    require(request, "clusters:read")
    data = dump_anchor(anchor_get(cluster_get(cluster_id)))
    disposition = 'attachment; filename="anchor.json"'
    return HttpResponse(
        data, content_type="application/json", headers={"Content-Disposition": disposition}
    )


@require_GET
def ca_view(request: HttpRequest, slug: str, cluster_id: UUID) -> HttpResponse:
    """The certificate that those of the nodes are checked with, as a file."""
    require(request, "clusters:read")
    data = authority_certificate(cluster_get(cluster_id))
    if not data:
        raise NotFound("The cluster has no authority yet, or no longer.")
    disposition = 'attachment; filename="ca.pem"'
    return HttpResponse(
        data, content_type="application/x-pem-file", headers={"Content-Disposition": disposition}
    )


@require_http_methods(["GET", "POST"])
@never_cache
def keys_page(request: HttpRequest, slug: str, cluster_id: UUID) -> HttpResponse:
    """The API keys."""
    return _key_page(request, cluster_id, tab="keys", template="clusters/keys.html")


def _key_page(request: HttpRequest, cluster_id: UUID, *, tab: str, template: str) -> HttpResponse:
    access = require(request, "keys:write" if request.method == "POST" else "clusters:read")
    cluster = cluster_get(cluster_id)
    secret, form = "", KeyForm()
    if request.method == "POST":
        require_recent(request, action="cluster.key")
        form = KeyForm(request.POST)
        if form.is_valid():
            secret, form = _key_make(access, cluster, form)
    context = {
        **cluster_context(cluster, access, clock.now(), tab=tab),
        "form": form,
        "secret": secret,
        "keys": list(key_list(cluster)),
        "snippets": snippets(node_urls(cluster), secret or "adk_…", grpc=grpc_addresses(cluster)),
        "can_write": access.can("keys:write"),
        "now": clock.now(),
    }
    status = 422 if form.is_bound else 200
    return render(request, template, context, status=status)


def _key_make(access: Access, cluster: Cluster, form: KeyForm) -> tuple[str, KeyForm]:
    """Make the key that a form asks for; answer its secret and the form to show next."""
    try:
        _, secret = services.key_create(
            access,
            cluster,
            name=form.cleaned_data["name"],
            scopes=form.cleaned_data["scopes"],
            collections=form.collection_list(),
            expires_at=form.expires_at(),
        )
    except PortalError as error:
        _tell_form(form, error)
        return "", form
    return secret, KeyForm()


@require_POST
def key_revoke_view(request: HttpRequest, slug: str, cluster_id: UUID, key_id: str) -> HttpResponse:
    """Revoke a key."""
    access = require(request, "keys:write")
    cluster = cluster_get(cluster_id)
    key = key_get(cluster, key_id)
    _try(
        request,
        lambda: services.key_revoke(access, cluster, key),
        f"{key.name} is revoked on every node.",
    )
    return redirect("clusters:keys", slug, cluster_id)


@require_GET
def operations_page(request: HttpRequest, slug: str, cluster_id: UUID) -> HttpResponse:
    """What was done to the cluster."""
    access = require(request, "operations:read")
    cluster = cluster_get(cluster_id)
    now = clock.now()
    rows: list[Operation] = list(operation_list().filter(cluster=cluster)[:OPERATIONS_SHOWN_MAX])
    context = {
        **cluster_context(cluster, access, now, tab="operations"),
        "operations": [(operation, operation.elapsed_s(now)) for operation in rows],
    }
    return render(request, "clusters/operations.html", context)


@require_GET
def operation_page(request: HttpRequest, slug: str, operation_id: UUID) -> HttpResponse:
    """One operation with its steps."""
    operation = operation_get(operation_id)
    access = require_at(request, "operations:read", operation.cluster_id)
    is_gone = operation.cluster.purged_at is not None
    context = {
        "cluster": operation.cluster,
        "panel": panel_of(operation, access, clock.now()),
        "is_gone": is_gone,
    }
    return render(request, "clusters/operation.html", context)


@require_GET
def settings_page(request: HttpRequest, slug: str, cluster_id: UUID) -> HttpResponse:
    """Name, restart, deletion."""
    access = require(request, "clusters:read")
    cluster = cluster_get(cluster_id)
    context = cluster_context(cluster, access, clock.now(), tab="settings")
    context |= encryption_context(cluster) | compliance_context(cluster, access)
    return render(request, "clusters/settings.html", context)


@require_POST
def rename_view(request: HttpRequest, slug: str, cluster_id: UUID) -> HttpResponse:
    """Give another name."""
    access = require(request, "clusters:write")
    cluster = cluster_get(cluster_id)
    name = request.POST.get("name", "")
    _try(request, lambda: services.cluster_rename(access, cluster, name=name), "Renamed.")
    return redirect("clusters:settings", slug, cluster_id)


@require_POST
def restart_view(request: HttpRequest, slug: str, cluster_id: UUID, index: int) -> HttpResponse:
    """Restart a node."""
    access = require(request, "clusters:write")
    cluster = cluster_get(cluster_id)
    _try(request, lambda: services.cluster_restart_node(access, cluster, node=index))
    return redirect("clusters:cluster", slug, cluster_id)


@require_http_methods(["GET", "POST"])
@never_cache
def scale_page(request: HttpRequest, slug: str, cluster_id: UUID) -> HttpResponse:
    """What another size costs and survives, to be confirmed."""
    access = require(request, "clusters:write")
    cluster = cluster_get(cluster_id)
    asked = request.POST if request.method == "POST" else request.GET
    context = cluster_context(cluster, access, clock.now(), tab="overview")
    choice = size_chosen(cluster, asked.get("nodes", ""))
    if choice is None:
        messages.error(request, "Choose one of the sizes that the plan offers.")
        return redirect("clusters:cluster", slug, cluster_id)
    if request.method == "POST":
        try:
            _, operation = services.cluster_scale(access, cluster, nodes=choice.nodes)
        except PortalError as error:
            messages.error(request, error.detail)
            return redirect("clusters:cluster", slug, cluster_id)
        return redirect("clusters:operation", slug, operation.pk)
    return render(request, "clusters/scale.html", {**context, "choice": choice})


@require_POST
def rotate_view(request: HttpRequest, slug: str, cluster_id: UUID) -> HttpResponse:
    """Change the encryption keys of the nodes."""
    access = require(request, "clusters:write")
    cluster = cluster_get(cluster_id)
    require_recent(request, action="cluster.encryption")
    try:
        algorithm = request.POST.get("algorithm", "")
        _, operation = services.cluster_rotate_keys(access, cluster, algorithm=algorithm)
    except PortalError as error:
        messages.error(request, error.detail)
        return redirect("clusters:settings", slug, cluster_id)
    return redirect("clusters:operation", slug, operation.pk)


@require_GET
def erasure_view(request: HttpRequest, slug: str, operation_id: UUID) -> HttpResponse:
    """The certificate of a deletion, as `verify-tombstone` reads it; also when all is gone."""
    operation = operation_get(operation_id)
    require_at(request, "operations:read", operation.cluster_id)
    erasure = operation.cluster.erasure
    if "tombstone" not in erasure:
        raise NotFound("There is no certificate: no quorum signed one.")
    body = msgspec.json.format(msgspec.json.encode(erasure["tombstone"]), indent=2)
    headers = {"Content-Disposition": 'attachment; filename="tombstone.json"'}
    return HttpResponse(body, content_type="application/json", headers=headers)


@require_POST
def replace_view(request: HttpRequest, slug: str, cluster_id: UUID, index: int) -> HttpResponse:
    """Replace a node."""
    access = require(request, "clusters:write")
    cluster = cluster_get(cluster_id)
    try:
        _, operation = services.cluster_replace_node(access, cluster, node=index)
    except PortalError as error:
        messages.error(request, error.detail)
        return redirect("clusters:cluster", slug, cluster_id)
    return redirect("clusters:operation", slug, operation.pk)


@require_POST
def delete_view(request: HttpRequest, slug: str, cluster_id: UUID) -> HttpResponse:
    """Move to the recycle bin, or delete for good what is there."""
    access = require(request, "clusters:delete")
    cluster = cluster_get(cluster_id)
    require_recent(request, action="cluster.delete")
    confirm, is_permanent = request.POST.get("confirm", ""), "permanent" in request.POST
    try:
        _, operation = services.cluster_delete(
            access, cluster, confirm=confirm, now_for_good=is_permanent
        )
    except PortalError as error:
        messages.error(request, error.detail)
        return redirect("clusters:settings", slug, cluster_id)
    # The cluster's own page ends with its data; that of the operation stays.
    return redirect("clusters:operation", slug, operation.pk)


@require_POST
def restore_view(request: HttpRequest, slug: str, cluster_id: UUID) -> HttpResponse:
    """Take out of the recycle bin."""
    access = require(request, "clusters:delete")
    cluster = cluster_get(cluster_id)
    _try(request, lambda: services.cluster_restore(access, cluster))
    return redirect("clusters:cluster", slug, cluster_id)


@require_POST
def operation_cancel_view(request: HttpRequest, slug: str, operation_id: UUID) -> HttpResponse:
    """Cancel an operation."""
    operation = operation_get(operation_id)
    access = require_at(request, "operations:cancel", operation.cluster_id)
    _try(request, lambda: services.operation_cancel(access, operation))
    return redirect("clusters:operation", slug, operation_id)


@require_POST
def operation_retry_view(request: HttpRequest, slug: str, operation_id: UUID) -> HttpResponse:
    """Try an operation again."""
    operation = operation_get(operation_id)
    access = require_at(request, "clusters:write", operation.cluster_id)
    _try(request, lambda: services.operation_retry(access, operation))
    return redirect("clusters:operation", slug, operation_id)


@require_GET
@never_cache
def log_page(request: HttpRequest, slug: str, cluster_id: UUID, index: int) -> HttpResponse:
    """The last lines of a node's log."""
    access = require(request, "clusters:write")
    cluster = cluster_get(cluster_id)
    problem, lines = "", []
    try:
        lines = driver().logs(str(cluster.pk), index, lines=LOG_LINES_SHOWN)
    except (DriverError, OSError):
        problem = "The log cannot be read at the moment."
    context = {
        **cluster_context(cluster, access, clock.now(), tab="overview"),
        "node": node_get(cluster, index),
        "lines": lines,
        "problem": problem,
    }
    return render(request, "clusters/log.html", context)


def _try(request: HttpRequest, action: Callable[[], object], done: str = "") -> None:
    """Do it; a refusal becomes a message on the next page."""
    try:
        action()
    except PortalError as error:
        messages.error(request, error.detail)
        return
    if done:
        messages.success(request, done)
