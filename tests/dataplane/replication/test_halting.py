"""An error inside the block ends the node and nothing else; what ends the program passes."""

import pytest

from dataplane.replication.halting import Halting


def test_an_error_halts_and_goes_no_further():
    reasons: list[str] = []
    halting = Halting(reasons.append)
    with halting:
        raise ValueError("broken")
    with halting:
        reasons.append("goes on")
    assert reasons == ["ValueError: broken", "goes on"]


def test_the_end_of_the_program_passes():
    reasons: list[str] = []
    with pytest.raises(KeyboardInterrupt), Halting(reasons.append):
        raise KeyboardInterrupt
    assert reasons == []
