"""Signals that end the supervisor."""

import os
import signal

import pytest

from wellspring.supervisor.stop_signals import StopRequested, stop_on_signals


@pytest.fixture(autouse=True)
def handlers():
    """Keep the handlers of the test process."""
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_a_signal_raises_once_and_is_ignored_afterwards(number: signal.Signals):
    with pytest.raises(StopRequested), stop_on_signals():
        os.kill(os.getpid(), number)
    os.kill(os.getpid(), number)
