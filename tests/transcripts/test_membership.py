"""A change of the members as text: a node learns, takes another's place, and orders with the rest.

`pytest tests/transcripts --rewrite` writes the file again; the change is reviewed as a diff.
"""

from pathlib import Path

from dataplane.simulation.scenarios.members import options
from dataplane.simulation.trace import Trace
from dataplane.simulation.world import play

GOLDEN = Path(__file__).parent / "membership.txt"
CHATTER = ("Status", "Heartbeat", "Replies", "Forward", "Index", " read ")


def story() -> list[str]:
    """Return what is said while a node that learned takes the place of the first primary."""
    lines: list[str] = []
    wanted = options(
        3, (1, 2, 3), requests=(1, 1), delay_max_ms=1, sync_max_ms=1, faults_until_ms=500
    )
    _, result = play(wanted, Trace(lines.append))
    assert result.violation is None
    ordered = next(index for index, line in enumerate(lines) if "members.0 at" in line)
    return [line for line in lines[ordered:] if not any(word in line for word in CHATTER)]


def test_a_change_of_members_reads_as_it_did(request):
    text = "\n".join(story()) + "\n"
    if request.config.getoption("--rewrite", default=False):
        GOLDEN.write_text(text)
    assert GOLDEN.read_text() == text, "if the change is meant: pytest tests/transcripts --rewrite"
