"""Pages of grants, and of the labels by which they mean clusters."""

from dataclasses import dataclass
from uuid import UUID

from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.views.decorators.cache import never_cache
from django.views.decorators.debug import sensitive_post_parameters
from django.views.decorators.http import require_http_methods, require_POST

from portal.access.bindings import binding_grant, binding_revoke
from portal.access.forms import GrantForm, cluster_choices, label_choices
from portal.access.guards import require_everywhere
from portal.access.labels import label_map, labels_set
from portal.access.models import RoleBinding, Team
from portal.access.ports import cluster_names
from portal.access.roles import role_list
from portal.access.selectors import binding_list
from portal.access.types import CLUSTER, EVERYWHERE
from portal.accounts.models import User
from portal.core.errors import PortalError
from portal.core.forms import UNPROCESSABLE
from portal.core.http import attempt
from portal.identity.selectors import has_factor
from portal.identity.stepup import is_recent, require_recent
from portal.organizations.selectors import member_list

SHOWN_MAX = 500


@dataclass(frozen=True, slots=True)
class GrantRow:
    """A grant as the page shows it."""

    binding: RoleBinding
    person: User | None
    place: str


@dataclass(frozen=True, slots=True)
class LabelRow:
    """A cluster with its labels."""

    id: UUID
    name: str
    labels: list[str]

    @property
    def text(self) -> str:
        """The labels as one edits them."""
        return ", ".join(self.labels)


@never_cache
@sensitive_post_parameters("password")
@require_http_methods(["GET", "POST"])
def grants(request: HttpRequest, slug: str) -> HttpResponse:
    """List what is granted beside the roles of members, and grant."""
    is_post = request.method == "POST"
    access = require_everywhere(request, "members:write" if is_post else "members:read")
    names, labels = cluster_names(), label_map()
    people = {row.user_id: row.user for row in member_list(access.organization)}
    form = _form(request, people, names, labels)
    refusal: PortalError | None = None
    if is_post and form.is_valid():
        try:
            proof = request.POST.get("password", "")
            require_recent(request, action="role.grant", proof=proof, tokens_pass=False)
            binding_grant(access, **form.wanted())
        except PortalError as error:
            refusal = error
        else:
            messages.success(request, "The role is granted.")
            return redirect("access-grants", slug=slug)
    context = {
        "rows": [
            GrantRow(
                binding,
                people.get(_key(binding)),
                place_of(binding.scope_kind, binding.scope, names),
            )
            for binding in binding_list()[:SHOWN_MAX]
        ],
        "clusters": [LabelRow(key, name, labels.get(key, [])) for key, name in names.items()],
        "form": form,
        "refusal": refusal,
        "can_write": access.can("members:write"),
        "is_confirmed": is_recent(request),
        "has_factor": has_factor(access.user),
    }
    status = refusal.status if refusal else UNPROCESSABLE if is_post else 200
    return render(request, "access/grants.html", context, status=status)


@require_POST
def grant_revoke(request: HttpRequest, slug: str, binding_id: UUID) -> HttpResponse:
    """Take a grant back."""
    access = require_everywhere(request, "members:write")
    binding_revoke(access, binding_id=binding_id)
    messages.success(request, "The grant is revoked.")
    return redirect("access-grants", slug=slug)


@require_POST
def labels_page(request: HttpRequest, slug: str, cluster_id: UUID) -> HttpResponse:
    """Give a cluster other labels."""
    access = require_everywhere(request, "members:write")
    require_recent(request, action="role.grant")
    words = request.POST.get("labels", "").replace(",", " ").split()
    attempt(
        request,
        lambda: labels_set(access, cluster_id=cluster_id, labels=words),
        "The labels are changed.",
    )
    return redirect("access-grants", slug=slug)


def _form(
    request: HttpRequest,
    people: dict[UUID, User],
    names: dict[UUID, str],
    labels: dict[UUID, list[str]],
) -> GrantForm:
    return GrantForm(
        *([request.POST] if request.method == "POST" else []),
        people=[(f"user:{user.pk}", user.email) for user in people.values()],
        teams=[(f"team:{team.pk}", team.name) for team in Team.objects.all()],
        roles=[(str(role.pk), role.name) for role in role_list()],
        clusters=cluster_choices(names),
        labels=label_choices(sorted({label for found in labels.values() for label in found})),
    )


def _key(binding: RoleBinding) -> UUID:
    return binding.user_id or UUID(int=0)


def place_of(kind: str, value: str, names: dict[UUID, str]) -> str:
    """Return where a grant holds, in words."""
    if kind == EVERYWHERE:
        return "The whole organization"
    if kind == CLUSTER:
        return names.get(UUID(value), "a cluster that is gone")
    return value
