"""What the API of clusters takes; unknown fields are refused."""

from rest_framework import serializers

from dataplane.client.keys import SCOPES
from dataplane.client.tokens import LIFETIME_S
from portal.clusters.constants import NAME_LENGTH_MAX
from portal.clusters.keeping import ALGORITHM_DEFAULT, ALGORITHMS, PLAIN
from portal.clusters.keys import COLLECTIONS_COUNT_MAX, DEFAULT_SCOPES
from portal.clusters.keys import NAME_LENGTH_MAX as KEY_NAME_LENGTH_MAX
from portal.clusters.tokens import LIFETIME_S_MAX, LIFETIME_S_MIN
from portal.core.serializers import StrictSerializer

NODES_MAX = 31
NODE_ID_MAX = 32_767


class EstimateInput(StrictSerializer):
    """A size to price."""

    plan = serializers.CharField(max_length=32)
    nodes = serializers.IntegerField(min_value=1, max_value=NODES_MAX)
    region = serializers.CharField(max_length=32, required=False)


class ResizeEstimateInput(StrictSerializer):
    """Another size of a cluster to price."""

    plan = serializers.CharField(max_length=32, required=False)
    nodes = serializers.IntegerField(min_value=1, max_value=NODES_MAX, required=False)


class ClusterInput(StrictSerializer):
    """A cluster to create."""

    name = serializers.CharField(max_length=NAME_LENGTH_MAX)
    plan = serializers.CharField(max_length=32)
    region = serializers.CharField(max_length=32)
    nodes = serializers.IntegerField(min_value=1, max_value=NODES_MAX)
    sandbox = serializers.BooleanField(default=False)
    encryption = serializers.ChoiceField(
        choices=[*ALGORITHMS, PLAIN], default=ALGORITHM_DEFAULT, help_text="Of what nodes store."
    )


class RotateInput(StrictSerializer):
    """Which algorithm to go on with; the same when none is named."""

    algorithm = serializers.ChoiceField(choices=ALGORITHMS, required=False)


class ClusterPatch(StrictSerializer):
    """What can be changed of a cluster."""

    name = serializers.CharField(max_length=NAME_LENGTH_MAX)


class ScaleInput(StrictSerializer):
    """How many nodes the cluster is to have."""

    nodes = serializers.IntegerField(min_value=1, max_value=NODES_MAX)


class RestartInput(StrictSerializer):
    """Which node to restart; `force` also when the others are no quorum."""

    node = serializers.IntegerField(min_value=0, max_value=NODE_ID_MAX)
    force = serializers.BooleanField(default=False)


class DeleteInput(StrictSerializer):
    """The cluster's name, typed; `permanent` empties the recycle bin of it."""

    confirm = serializers.CharField(max_length=NAME_LENGTH_MAX)
    permanent = serializers.BooleanField(default=False)


class TokenInput(StrictSerializer):
    """A short-lived token to mint."""

    scopes = serializers.ListField(
        child=serializers.ChoiceField(choices=SCOPES), default=list, max_length=len(SCOPES)
    )
    collections = serializers.ListField(
        child=serializers.CharField(max_length=64),
        default=["*"],
        allow_empty=False,
        max_length=COLLECTIONS_COUNT_MAX,
    )
    lifetime_s = serializers.IntegerField(
        min_value=LIFETIME_S_MIN, max_value=LIFETIME_S_MAX, default=LIFETIME_S
    )


class KeyInput(StrictSerializer):
    """A key to create."""

    name = serializers.CharField(max_length=KEY_NAME_LENGTH_MAX)
    scopes = serializers.ListField(
        child=serializers.ChoiceField(choices=SCOPES),
        default=list(DEFAULT_SCOPES),
        allow_empty=False,
        max_length=len(SCOPES),
    )
    collections = serializers.ListField(
        child=serializers.CharField(max_length=64),
        default=["*"],
        allow_empty=False,
        max_length=COLLECTIONS_COUNT_MAX,
    )
    expires = serializers.DateTimeField(required=False, allow_null=True, default=None)
