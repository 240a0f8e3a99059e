"""The schedule of restarts: growing delays, a limit within a window, and a fresh start after a quiet period."""

from hypothesis import given
from hypothesis import strategies as st

from wellspring.supervisor.restarts import RestartPolicy, RestartSchedule


def test_the_delay_doubles_up_to_the_longest():
    schedule = RestartSchedule(RestartPolicy(limit=9))
    assert [schedule.plan_restart(0.0) for _ in range(9)] == [0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 30.0, 30.0, 30.0]


def test_after_the_limit_a_server_stays_down_until_the_window_has_passed():
    schedule = RestartSchedule(RestartPolicy())
    for _ in range(5):
        assert schedule.plan_restart(100.0) is not None
    assert schedule.plan_restart(101.0) is None
    assert schedule.plan_restart(699.0) is None
    assert schedule.plan_restart(700.0) is not None


def test_a_quiet_period_makes_the_next_delay_the_first_again():
    schedule = RestartSchedule(RestartPolicy())
    assert [schedule.plan_restart(0.0), schedule.plan_restart(1.0)] == [0.5, 2.0]
    schedule.record_ready(2.0)
    # Ready for 10 seconds only: the delay grows on.
    assert schedule.plan_restart(12.0) == 14.0
    schedule.record_ready(15.0)
    assert schedule.plan_restart(135.0) == 135.5


def test_a_reset_forgets_the_earlier_restarts():
    schedule = RestartSchedule(RestartPolicy(limit=1))
    assert schedule.plan_restart(0.0) == 0.5
    assert schedule.plan_restart(1.0) is None
    schedule.reset()
    assert schedule.plan_restart(2.0) == 2.5


@given(gaps=st.lists(st.floats(0.01, 400.0), min_size=1, max_size=60), ready=st.lists(st.booleans(), min_size=60))
def test_no_window_has_more_restarts_than_the_limit(gaps: list[float], ready: list[bool]):
    policy, now = RestartPolicy(), 0.0
    schedule, planned = RestartSchedule(policy), list[float]()
    for gap, is_ready in zip(gaps, ready, strict=False):
        due = schedule.plan_restart(now)
        if due is not None:
            planned.append(now)
            # A difference of floats.
            assert policy.first_delay - 1e-6 <= due - now <= policy.longest_delay + 1e-6
            if is_ready:
                schedule.record_ready(due)
        now += gap
    for instant in planned:
        assert sum(instant <= later_instant < instant + policy.window for later_instant in planned) <= policy.limit
