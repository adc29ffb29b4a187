"""What a node can be made to do wrong, in words, and what the cluster does about it."""

from dataclasses import dataclass
from typing import Final

CRASH: Final = "crash"


@dataclass(frozen=True, slots=True)
class Fault:
    """A way to go wrong; `code` is the name that the lying program takes."""

    code: str
    name: str
    does: str
    expected: str
    # It signs contradictions, so that it leaves proof against itself.
    leaves_proof: bool = False


_CATALOGUE: Final = (
    Fault(
        CRASH,
        "Crash",
        "The process is killed without warning and stays down.",
        "If it led, the others choose another primary: writes wait for about a second. Otherwise "
        "nothing is noticed.",
    ),
    Fault(
        "delay",
        "Delay",
        "Everything it says leaves between half a second and one and a half seconds late.",
        "A late primary is replaced. A late backup is waited for by nobody: the others are enough.",
    ),
    Fault(
        "drop",
        "Drop messages",
        "Seven of ten messages never leave.",
        "What is lost is said again, or said by others. A primary that cannot lead is replaced.",
    ),
    Fault(
        "equivocate",
        "Equivocate",
        "It proposes one batch to half of the nodes and another to the rest, and votes for both.",
        "No two quorums can form. The others keep both signatures as proof, and the page "
        "Accountability shows them.",
        leaves_proof=True,
    ),
    Fault(
        "forge_replies",
        "Forge replies",
        "It answers the other nodes with results, documents and certificates nobody agreed on.",
        "f+1 equal answers are needed, and certificates are signed: what it forges is refused.",
    ),
    Fault(
        "corrupt_document",
        "Corrupt a document",
        "One bit of a stored document is turned on its disk, below everything that would notice.",
        "Its scrub or the next checkpoint finds it. It then refuses reads, and copies the right "
        "row back from the others.",
    ),
    Fault(
        "stale_reads",
        "Stale reads",
        "It shows each document for ever as it was when it was first asked for.",
        "Local reads from it are old. Strong and bounded reads are told only when other nodes hold "
        "the same: both stay right.",
    ),
    Fault(
        "clock_skew",
        "Clock skew",
        "Its clock is an hour ahead.",
        "Proposals from the future are refused, so it cannot lead. Agreed time does not move.",
    ),
)
FAULTS: Final = {fault.code: fault for fault in _CATALOGUE}
