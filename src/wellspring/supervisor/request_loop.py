"""The loop of the supervisor: requests of the owner, credentials of jobs, ended servers, refused logins."""

from __future__ import annotations

import os
import selectors
import signal
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Protocol

from wellspring.embedded.control_socket import ControlSocket
from wellspring.supervisor.credential_channel import CredentialChannel
from wellspring.supervisor.login_watch import OpenBaoRefusals
from wellspring.supervisor.monitor import MonitorSettings, ServerMonitor

_RENEWAL_INTERVAL = 3600.0
_LOGIN_INTERVAL = 2.0
"""Seconds between two looks at the refusals of OpenBao."""


class WatchedServers(Protocol):
    """What the loop needs of the supervisor."""

    credentials: CredentialChannel

    def watch_servers(self, settings: MonitorSettings, wake: Callable[[], None]) -> ServerMonitor: ...

    def watch_logins(self) -> OpenBaoRefusals: ...

    def rotate_mlflow_certs(self) -> None: ...


def serve_requests(supervisor: WatchedServers, control_socket: ControlSocket, settings: MonitorSettings) -> None:
    """Serve control requests and watch the servers, until StopRequested is raised."""
    wake_reader, wake_writer = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
    signal.set_wakeup_fd(wake_writer, warn_on_full_buffer=False)
    signal.signal(signal.SIGCHLD, lambda *_: None)

    def wake() -> None:
        # A full pipe wakes the loop as well.
        with suppress(BlockingIOError):
            os.write(wake_writer, b"\0")

    monitor = supervisor.watch_servers(settings, wake)
    renewal_at = time.monotonic()
    logins = supervisor.watch_logins()
    with selectors.DefaultSelector() as selector:
        selector.register(control_socket, selectors.EVENT_READ)
        selector.register(wake_reader, selectors.EVENT_READ)
        channel = -1
        while True:
            monitor.advance()
            if time.monotonic() >= renewal_at:
                renewal_at = time.monotonic() + _RENEWAL_INTERVAL
                supervisor.rotate_mlflow_certs()
            logins.record_new()
            channel = supervisor.credentials.watch_in(selector, channel)
            next_due = min(monitor.next_due(), renewal_at, time.monotonic() + _LOGIN_INTERVAL)
            for key, _ in selector.select(max(0.0, next_due - time.monotonic())):
                if key.fd == wake_reader:
                    os.read(wake_reader, 4096)
                elif key.fd == channel:
                    supervisor.credentials.serve_one()
                else:
                    control_socket.serve_one()
