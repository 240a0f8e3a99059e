"""Turn the signals that end the supervisor into an exception of its main thread."""

from __future__ import annotations

import signal
from collections.abc import Generator
from contextlib import contextmanager


class StopRequested(BaseException):
    """A signal or a request asks the supervisor to stop."""


@contextmanager
def stop_on_signals() -> Generator[None]:
    """Raise StopRequested on SIGTERM, SIGINT and SIGHUP; ignore these signals afterwards."""

    def stop(*_: object) -> None:
        raise StopRequested

    for signal_number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(signal_number, stop)
    try:
        yield
    finally:
        for signal_number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            signal.signal(signal_number, signal.SIG_IGN)
