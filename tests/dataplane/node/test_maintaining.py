"""When the next step of maintenance is ordered."""

from dataplane.node.maintaining import BREATH_S, REST_S, rest_s


def test_steps_follow_each_other_while_nothing_else_is_executed():
    assert rest_s(0.5, batches=1) == BREATH_S


def test_other_work_is_left_as_much_time_as_a_step_took():
    assert rest_s(0.5, batches=2) == 0.5
    assert rest_s(0.001, batches=2) == REST_S
