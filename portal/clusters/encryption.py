"""Changing the keys of a cluster, which serves meanwhile."""

from django.db import transaction

from portal.access.types import Access
from portal.clusters.errors import UnableToChangeCluster
from portal.clusters.keeping import ALGORITHM_DEFAULT, algorithm_checked
from portal.clusters.models import SERVING, Cluster, Operation, OperationKind
from portal.clusters.operations.opening import cluster_locked, operation_begin


def cluster_rotate_keys(
    access: Access, cluster: Cluster, *, algorithm: str = ""
) -> tuple[Cluster, Operation]:
    """Have every node change its data key while the cluster serves; a plain one turns encrypted.

    Raises:
        Invalid: there is no such algorithm.
        UnableToChangeCluster: the cluster does not run, or another operation is at work.
    """
    wanted = algorithm_checked(algorithm or cluster.encryption or ALGORITHM_DEFAULT)
    if not wanted:
        raise UnableToChangeCluster("An encrypted cluster cannot become plain again.")
    with transaction.atomic():
        locked = cluster_locked(cluster)
        if locked.status not in SERVING or locked.deleted_at is not None:
            words = locked.get_status_display().lower()
            raise UnableToChangeCluster(f"The cluster is {words}: keys are changed while it runs.")
        params: dict[str, object] = {"algorithm": wanted}
        return operation_begin(
            access,
            locked,
            OperationKind.ROTATE_KEYS,
            "cluster.key_rotation_requested",
            params=params,
        )
