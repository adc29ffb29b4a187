"""Which steps each kind of operation has, forwards and when it is cancelled."""

from dataclasses import replace
from datetime import timedelta

from portal.clusters.models import OperationKind
from portal.clusters.operations import breaking, changing, creation, encrypting, lifecycle
from portal.clusters.operations.types import Step

_LOGS = "Read the logs of the nodes on the Overview tab, then retry or cancel."
_KEYS = "See that the keeper of the keys runs and that its token is valid, then retry."
_COLD = "See on the Overview tab which nodes are away: their parts of documents are missing."
_STORE = "See that the store of archives answers and takes the credentials, then retry."
_START = Step("start", "Start the nodes", 60, creation.start, _LOGS)
_QUORUM = Step("quorum", "Wait for a quorum, seen from outside", 90, creation.quorum, _LOGS)
_PROBE = Step("probe", "Write to the cluster and read it back", 60, creation.probe, _LOGS)
_OPEN = Step("open", "Open for use", 30, creation.finish)

_CHANGE = (
    Step("choose", "Choose who comes and who leaves", 30, changing.choose),
    Step("material", "Make the keys of added nodes", 30, changing.material),
    Step("place", "Hand added nodes their specification", 60, changing.place),
    Step("start", "Start added nodes beside the members", 60, changing.start, _LOGS),
    Step("learn", "Wait until added nodes have caught up", 1_800, changing.learn, _LOGS),
    Step("cold", "Move cold documents that would be lost", 7_200, changing.cold, _COLD),
    Step("order", "Order the change, signed by the control plane", 60, changing.order),
    Step("epoch", "Wait for the new members to serve", 120, changing.epoch, _LOGS),
    Step("probe", "Write through a new member and read it back", 60, changing.probe),
    Step("retire", "Stop the nodes that left and destroy their keys", 60, changing.retire),
    Step("settle", "Settle size, price and status", 30, changing.settle),
)
_UNDO_CHANGE = (
    Step("undo_leave", "Remove the added nodes", 60, changing.undo_leave),
    Step("undo_settle", "Go on with the members there were", 30, changing.settle),
)

_MEND = (
    Step("mend", "Start the broken nodes as they were", 90, breaking.mend, _LOGS),
    Step("ready", "Wait until every node has caught up", 300, breaking.recovered, _LOGS),
    Step("compare", "Compare the state of all nodes at a checkpoint", 180, breaking.compare, _LOGS),
    Step("close", "Write down what happened", 60, breaking.close),
)

STEPS: dict[OperationKind, tuple[Step, ...]] = {
    OperationKind.CREATE: (
        Step("allocate", "Choose addresses", 30, creation.allocate),
        Step("material", "Make the authority, certificates and keys", 30, creation.material),
        Step("place", "Hand each node its specification", 60, creation.place),
        _START,
        _QUORUM,
        _PROBE,
        Step("limits", "Check the limits of the plan", 30, creation.limits),
        _OPEN,
    ),
    OperationKind.DELETE: (
        Step("certify", "Have a quorum sign what is deleted", 60, encrypting.certify),
        Step("stop", "Stop the nodes", 90, lifecycle.stop_nodes),
        Step("recycle", "Move to the recycle bin", 30, lifecycle.recycle),
    ),
    OperationKind.RESTORE_DELETED: (
        Step("place", "Hand each node its specification", 60, creation.place),
        _START,
        _QUORUM,
        _PROBE,
        _OPEN,
    ),
    OperationKind.PURGE: (
        Step("stop", "Stop the nodes", 90, lifecycle.stop_nodes),
        Step("remove", "Delete the data of every node", 120, lifecycle.remove_nodes),
        Step("shred", "Destroy the key of what was stored", 60, encrypting.shred, _KEYS),
        Step("archive", "Delete what was archived", 7_200, lifecycle.clear_archive, _STORE),
        Step("close", "Close the books", 30, lifecycle.close),
    ),
    OperationKind.RESTART_NODE: (
        Step("check", "Check that the others can go on", 60, lifecycle.restart_check),
        Step("restart", "Restart the process", 90, lifecycle.restart),
        Step("ready", "Wait until it has caught up", 180, lifecycle.restart_ready, _LOGS),
    ),
    OperationKind.SCALE: _CHANGE,
    OperationKind.REPLACE_NODE: _CHANGE,
    OperationKind.ROTATE_KEYS: (
        Step(
            "prepare", "Say in every specification where the key is", 60, encrypting.prepare, _KEYS
        ),
        Step(
            "rotate", "Change the keys of one node after the other", 7_200, encrypting.rotate, _LOGS
        ),
    ),
    OperationKind.BREAK: (
        Step("prepare", "Store something that every node has", 60, breaking.prepare),
        Step("break", "Break the chosen nodes", 60, breaking.break_nodes, _LOGS),
        Step("begin", "Begin to watch", 30, breaking.begin),
    ),
    OperationKind.MEND: _MEND,
}

UNDO: dict[OperationKind, tuple[Step, ...]] = {
    OperationKind.CREATE: (
        Step("undo_remove", "Remove what was made", 120, lifecycle.remove_nodes),
        Step("undo_shred", "Destroy the key that was made", 60, encrypting.shred, _KEYS),
        Step("undo_close", "Close the books", 30, lifecycle.close),
    ),
    OperationKind.DELETE: (
        Step("undo_start", "Start the nodes again", 60, creation.start),
        Step("undo_quorum", "Wait for a quorum", 90, creation.quorum, _LOGS),
        Step("undo_open", "Open for use", 30, creation.finish),
    ),
    OperationKind.RESTORE_DELETED: (
        Step("undo_stop", "Stop the nodes", 90, lifecycle.stop_nodes),
        Step("undo_recycle", "Move back to the recycle bin", 30, lifecycle.recycle_again),
    ),
    OperationKind.PURGE: (
        Step("undo_recycle", "Keep it in the recycle bin", 30, lifecycle.recycle_again),
    ),
    OperationKind.RESTART_NODE: (
        Step("undo_start", "Make sure that the node runs", 60, lifecycle.restart_undo),
    ),
    OperationKind.SCALE: _UNDO_CHANGE,
    OperationKind.REPLACE_NODE: _UNDO_CHANGE,
    OperationKind.ROTATE_KEYS: (
        Step("undo_settle", "Leave each node with the key it has", 30, changing.settle),
    ),
    OperationKind.BREAK: tuple(replace(step, name=f"undo_{step.name}") for step in _MEND),
    OperationKind.MEND: (
        Step("undo_mend", "Start the broken nodes as they were", 90, breaking.mend, _LOGS),
        Step("undo_close", "Write down what happened", 60, breaking.close),
    ),
}


def plan_register(kind: OperationKind, steps: tuple[Step, ...], undo: tuple[Step, ...]) -> None:
    """Say what a kind of operation does whose steps are in an app above this one."""
    STEPS[kind], UNDO[kind] = steps, undo


UNDO_BUDGET = timedelta(minutes=5)


def operation_budget(kind: OperationKind) -> timedelta:
    """Return how long an operation may take: no longer than its steps together."""
    return timedelta(seconds=sum(step.seconds for step in STEPS[kind]))
