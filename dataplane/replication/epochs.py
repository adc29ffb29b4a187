"""Which epoch a node is in, and what it knows when it goes on in one."""

from dataplane.client.spec import NodeSpec
from dataplane.consensus.records import Recovered
from dataplane.documents.types import Configuration, Executor
from dataplane.replication.configuration import initial_configuration, replica_config
from dataplane.replication.copying import begun
from dataplane.replication.recovery import recovered_from
from dataplane.replication.reopening import epoch_to_finish
from dataplane.storage.wal import WriteAheadLog


class Epochs:
    """The epoch by the node's state and specification, or by the proven chain of epochs."""

    def __init__(
        self, spec: NodeSpec, executor: Executor, wal: WriteAheadLog, amnesia: str | None
    ) -> None:
        self._spec = spec
        self._executor = executor
        self._wal = wal
        self._amnesia = amnesia
        known = initial_configuration(spec, executor.configuration)
        records = (record for _, record in wal.replay())
        past = epoch_to_finish(known, executor.applied, spec.node_id, records)
        self.current = past or known
        """The epoch, its members, and its end once that is known."""
        self._set_config()
        self.recovered = self._recover()
        """What the log and the state know of the epoch."""

    def _set_config(self) -> None:
        cluster_id = bytes.fromhex(self._spec.cluster_id)
        self.config = replica_config(cluster_id, self._spec.node_id, self.current)

    def _recover(self) -> Recovered:
        """Read what the log has of this epoch, and every decision it still holds."""
        known = (self.current.ends_at, self._amnesia)
        return recovered_from(self._wal, self._executor, self.config, known)

    def enter(self, following: Configuration, *, is_next: bool) -> None:
        """Go on in a later epoch: the next, to whose beginning the state came, or a newer one."""
        # Only a node whose state fell behind its log finds more there than it holds already.
        knows_all = is_next and not self.recovered.later_epoch
        self.current = following
        self._set_config()
        self.recovered = begun(self._executor, self.config) if knows_all else self._recover()
        self.recovered.amnesia = self._amnesia is not None

    def complete(self) -> bool:
        """Take from a copied state what the chain did not tell of the members; say whether it did.

        The chain tells who may vote and by which key, the state also where they are.
        """
        known = self._executor.configuration
        if known.epoch != self.current.epoch or known.members == self.current.members:
            return False
        self.current = known
        self._set_config()
        return True
