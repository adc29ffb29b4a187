"""When damage to a stored row can be known at the latest."""

from dataplane.consensus.messages import Batch
from dataplane.simulation.application import COUNT
from dataplane.simulation.kept import KeptState
from dataplane.simulation.options import draw_options
from dataplane.simulation.trace import Trace
from dataplane.simulation.world import World


def test_a_flipped_bit_that_a_batch_read_shows_at_the_next_checkpoint_only():
    world = World(draw_options(0), Trace())
    gateway = world.nodes[0].gateway
    opening = gateway.restart(world.now_ms)
    kept = KeptState(world.workload.executor, flippable=COUNT, checkpoint_interval=4)
    kept.apply(1, Batch(1, (opening,)))
    gateway.remaining = 30
    gateway._opened = True
    asked = [gateway.next_request(world.now_ms) for _ in range(12)]
    kept.apply(2, Batch(1, tuple(asked[:1])))
    assert kept.flip(world.nodes[0].rng)
    for sequence in range(3, 6):
        kept.apply(sequence, Batch(1, ()))
    assert kept.must_be_repaired(stable=4)  # The rows and their tree do not agree.
    for sequence, request in enumerate(asked[1:], 6):
        kept.apply(sequence, Batch(1, (request,)))
        if kept.is_sound():
            break
    assert kept.is_sound()
    assert not kept.must_be_repaired(stable=4)
    assert kept.must_be_repaired(stable=(kept.executor.applied + 3) // 4 * 4)
