"""What the API of experiments takes; unknown fields are refused."""

from rest_framework import serializers

from portal.clusters.constants import NAME_LENGTH_MAX
from portal.clusters.faults import FAULTS
from portal.clusters.serializers import NODE_ID_MAX, NODES_MAX
from portal.core.serializers import StrictSerializer
from portal.identity.constants import PASSWORD_LENGTH_MAX


class FaultInput(StrictSerializer):
    """How one node is to go wrong."""

    node = serializers.IntegerField(min_value=0, max_value=NODE_ID_MAX)
    behaviour = serializers.ChoiceField(choices=list(FAULTS))


class ExperimentInput(StrictSerializer):
    """Which nodes to break; the cluster's name and the caller's password or code confirm it."""

    faults = serializers.ListField(child=FaultInput(), allow_empty=False, max_length=NODES_MAX)
    beyond_f = serializers.BooleanField(default=False)
    confirm = serializers.CharField(max_length=NAME_LENGTH_MAX)
    password = serializers.CharField(
        max_length=PASSWORD_LENGTH_MAX,
        trim_whitespace=False,
        allow_blank=True,
        default="",
        write_only=True,
    )


class SandboxInput(StrictSerializer):
    """Whether the cluster may be broken on purpose."""

    sandbox = serializers.BooleanField()
