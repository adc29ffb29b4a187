"""What the base routes take."""

from rest_framework import serializers

from portal.core.serializers import StrictSerializer
from portal.organizations.models import Role


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
    """Whom to ask, and as what."""

    email = serializers.EmailField(max_length=254)
    role = serializers.ChoiceField(choices=Role.choices)


class TokenInput(StrictSerializer):
    """A new token."""

    name = serializers.CharField(max_length=80)
    expires = serializers.DateTimeField(required=False, allow_null=True)
    scopes = serializers.ListField(
        child=serializers.CharField(max_length=64), required=False, max_length=64
    )
