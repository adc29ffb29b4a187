"""Refusals that callers of clusters can be told."""

from portal.core.errors import Conflict, Forbidden, PortalError, QuotaExceeded


class UnableToChangeCluster(Conflict):
    """The cluster's present state does not allow it."""

    code = "cluster_state"


class UnableToCancel(Conflict):
    """The operation is over, or its effect can no longer be undone."""

    code = "not_cancellable"


class UnableToRetry(Conflict):
    """The operation is not waiting for anybody."""

    code = "not_retryable"


class NameTaken(Conflict):
    """Another cluster of the organization has the name."""

    code = "name_taken"


class NameNotConfirmed(Conflict):
    """The typed name is not that of the cluster."""

    code = "name_not_confirmed"


class TooManyClusters(QuotaExceeded):
    """The plan or the installation allows no further cluster."""

    code = "cluster_quota_exceeded"
    status = 409


class NotASandbox(Conflict):
    """Only a sandbox may be broken on purpose."""

    code = "not_a_sandbox"


class ProductionCluster(Conflict):
    """A cluster of production is never broken on purpose."""

    code = "production_cluster"


class ExperimentRunning(Conflict):
    """Nodes of the cluster are broken on purpose: revert that first."""

    code = "experiment_running"


class NoExperiment(Conflict):
    """Nothing is broken on purpose."""

    code = "no_experiment"


class BeyondTolerance(Conflict):
    """More nodes than the cluster bears, without saying that this is wanted."""

    code = "beyond_f"


class ClusterUnreachable(PortalError):
    """No quorum of the cluster answers, so nothing was changed."""

    code = "cluster_unreachable"
    status = 503
    title = "The cluster does not answer"


class PlanByContract(Forbidden):
    """The plan is sold by contract only."""

    code = "plan_by_contract"


class StepFailed(Exception):
    """A step met something that waiting will not cure."""

    def __init__(self, code: str, detail: str, next_action: str) -> None:
        super().__init__(detail)
        self.code = code
        self.detail = detail
        self.next_action = next_action
