"""What the base routes take."""

from rest_framework import serializers

from portal.access.models import ScopeKind
from portal.core.serializers import StrictSerializer
from portal.organizations.models import Role
from portal.organizations.security import FACTORS


class MeInput(StrictSerializer):
    """A change of the profile."""

    name = serializers.CharField(max_length=80, allow_blank=True)


class OrganizationInput(StrictSerializer):
    """A new organization."""

    name = serializers.CharField(max_length=80)
    slug = serializers.CharField(max_length=40, required=False)


class OrganizationPatch(StrictSerializer):
    """A change of an organization."""

    name = serializers.CharField(max_length=80)


class RoleInput(StrictSerializer):
    """Another role."""

    role = serializers.ChoiceField(choices=Role.choices)


class InvitationInput(StrictSerializer):
    """Whom to ask, as what, into which teams, and how long the link works."""

    email = serializers.EmailField(max_length=254)
    role = serializers.ChoiceField(choices=Role.choices)
    expires = serializers.DateTimeField(required=False, allow_null=True, default=None)
    teams = serializers.ListField(
        child=serializers.UUIDField(), required=False, default=list, max_length=200
    )


class TokenInput(StrictSerializer):
    """A new token."""

    name = serializers.CharField(max_length=80)
    expires = serializers.DateTimeField(required=False, allow_null=True)
    scopes = serializers.ListField(
        child=serializers.CharField(max_length=64), required=False, max_length=64
    )


class TeamInput(StrictSerializer):
    """The name of a team."""

    name = serializers.CharField(max_length=60)


class TeamMemberInput(StrictSerializer):
    """Who comes into a team."""

    user = serializers.UUIDField()


class PrincipalInput(StrictSerializer):
    """A member or a team."""

    user = serializers.UUIDField(required=False, allow_null=True, default=None)
    team = serializers.UUIDField(required=False, allow_null=True, default=None)


class ScopeInput(StrictSerializer):
    """Where a grant holds: everywhere, on the clusters of a label, or on one cluster."""

    kind = serializers.ChoiceField(choices=ScopeKind.choices)
    value = serializers.CharField(max_length=40, required=False, allow_blank=True, default="")


class GrantInput(StrictSerializer):
    """A role for somebody, somewhere, for a time."""

    principal = PrincipalInput()
    role = serializers.CharField(max_length=40)
    scope = ScopeInput()
    expires = serializers.DateTimeField(required=False, allow_null=True, default=None)
    reason = serializers.CharField(max_length=200, required=False, allow_blank=True, default="")
    password = serializers.CharField(
        max_length=256, required=False, allow_blank=True, default="", trim_whitespace=False
    )


class LabelsInput(StrictSerializer):
    """The labels of a cluster."""

    labels = serializers.ListField(child=serializers.CharField(max_length=40), max_length=20)


class CustomRoleInput(StrictSerializer):
    """A role of the organization's own."""

    name = serializers.CharField(max_length=40)
    description = serializers.CharField(
        max_length=200, required=False, allow_blank=True, default=""
    )
    permissions = serializers.ListField(child=serializers.CharField(max_length=64), max_length=64)


class CustomRolePatch(CustomRoleInput):
    """All of a role, anew; the caller confirms it by their password."""

    password = serializers.CharField(
        max_length=256, required=False, allow_blank=True, default="", trim_whitespace=False
    )


class PreviewInput(StrictSerializer):
    """The permissions that a role might have."""

    permissions = serializers.ListField(child=serializers.CharField(max_length=64), max_length=64)


class ExplainInput(StrictSerializer):
    """Who may do what where; without a user it is the caller."""

    user = serializers.UUIDField(required=False, allow_null=True, default=None)
    permission = serializers.CharField(max_length=64)
    cluster = serializers.UUIDField(required=False, allow_null=True, default=None)


class ElevationInput(StrictSerializer):
    """A role for some time, from its approval on."""

    role = serializers.CharField(max_length=40)
    scope = ScopeInput()
    minutes = serializers.IntegerField()
    reason = serializers.CharField(max_length=200)


class ConfirmInput(StrictSerializer):
    """The caller's password or code, unless the session confirmed it a moment ago."""

    password = serializers.CharField(
        max_length=256, required=False, allow_blank=True, default="", trim_whitespace=False
    )


class SecurityPolicyInput(StrictSerializer):
    """Whether a second factor is required to enter, and which kinds count."""

    mfa_required = serializers.BooleanField()
    factors = serializers.ListField(
        child=serializers.ChoiceField(choices=list(FACTORS)),
        default=list(FACTORS),
        allow_empty=False,
        max_length=len(FACTORS),
    )
    dry_run = serializers.BooleanField(default=False)
