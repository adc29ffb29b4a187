"""What a cluster refuses or does not answer, as people are told it."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

import httpx

from dataplane.client.errors import ApiError, ClusterUnreachableError
from portal.clusters.errors import ClusterUnreachable
from portal.core.errors import Invalid

_AWAY: Final = frozenset({"no_quorum", "not_ready", "restoring"})


@contextmanager
def asking(what: str) -> Iterator[None]:
    """Turn errors of a cluster into refusals; `what` begins what people are told.

    Raises:
        Invalid: the cluster refuses.
        ClusterUnreachable: no node answers, or no quorum takes it.
    """
    try:
        yield
    except (ApiError, ClusterUnreachableError, httpx.HTTPError) as error:
        if isinstance(error, ApiError) and error.code not in _AWAY:
            detail = f"The cluster refused: {error.detail}"
            raise Invalid(detail, cluster_code=error.code) from error
        raise ClusterUnreachable(
            f"{what}: the cluster does not answer at the moment. Look at its nodes, "
            "then try again.",
            retry_after=5,
        ) from error
