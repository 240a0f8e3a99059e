"""Watches the running servers: restarts those that exit or no longer respond, and records each as an incident.

`advance` does what is due and returns at once, so that the supervisor keeps answering requests meanwhile. Probes run on
threads, because a probe of a server that hangs waits for its timeout; servers are started by the calling thread only,
because the kernel kills a server when the thread that started it ends.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from math import inf
from typing import Literal, NamedTuple, Protocol

from wellspring.errors import WellspringError, format_error
from wellspring.operations.incidents import IncidentCause, IncidentStore
from wellspring.supervisor.managed_process import ManagedProcess
from wellspring.supervisor.restarts import RestartPolicy, RestartSchedule

_START_PROBE_INTERVAL = 0.1
_DEPENDENCY_INTERVAL = 0.5
WatchState = Literal["up", "waiting", "starting", "down"]


class MonitorSettings(NamedTuple):
    """When a server counts as hanging; times in seconds.

    probe_interval: between two probes of a server that is up. failed_probes: so many failures in a row are a hang.
    ready_timeout: a restarted server must be ready within it.
    """

    probe_interval: float = 10.0
    failed_probes: int = 6
    ready_timeout: float = 60.0
    restarts: RestartPolicy = RestartPolicy()


class ServerStarter(Protocol):
    """Starts servers for the monitor and records what it did."""

    def begin_start(self, child: ManagedProcess) -> None:
        """Start the process of a server with a fresh credential. Raises WellspringError, OSError."""
        ...

    def complete_start(self, child: ManagedProcess) -> None:
        """Record that a restarted server is ready."""
        ...


@dataclass
class _WatchedServer:
    """One server. due: instant of the next probe or start, by the monitor's clock. deadline: to be ready."""

    child: ManagedProcess
    schedule: RestartSchedule
    state: WatchState = "up"
    due: float = 0.0
    deadline: float = inf
    failures: int = 0
    probe: Future[bool] | None = field(default=None, repr=False)


class ServerMonitor:
    """Watches the servers of one project.

    wake: called from another thread when a probe ended. clock: monotonic, in seconds.
    """

    def __init__(
        self,
        children: Sequence[ManagedProcess],
        starter: ServerStarter,
        incidents: IncidentStore,
        *,
        wake: Callable[[], None],
        settings: MonitorSettings,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._starter = starter
        self._incidents = incidents
        self._wake = wake
        self._settings = settings
        self._clock = clock
        self._probes = ThreadPoolExecutor(max_workers=2 * len(children) + 1, thread_name_prefix="probe")
        first_probe = clock() + settings.probe_interval
        self._servers = {
            child.name: _WatchedServer(child, RestartSchedule(settings.restarts), due=first_probe) for child in children
        }
        # Incidents of a supervisor that was killed, or of a start that failed: all servers are ready now.
        for name in self._servers:
            self._record(lambda subject=f"server:{name}": self._heal_incidents(subject, "start"))

    def close(self) -> None:
        """Start no more probes."""
        self._probes.shutdown(wait=False, cancel_futures=True)

    def next_due(self) -> float:
        """Return the instant at which `advance` has something to do, if nothing else happens before."""
        return min((server.due for server in self._servers.values() if server.probe is None), default=inf)

    def states(self) -> dict[str, WatchState]:
        """Return the state of each server: up, waiting for its restart, starting, or down for good."""
        return {name: server.state for name, server in self._servers.items()}

    def resume_server(self, child: ManagedProcess) -> None:
        """Count a server that a person has started as up, with no earlier restarts."""
        server = self._servers[child.name]
        server.schedule.reset()
        self._set_up(server)
        self._record(lambda: self._heal_incidents(f"server:{child.name}", "restart_by_request"))

    def advance(self) -> None:
        """Notice exits and failed probes, and do what is due. Returns without waiting for a server."""
        for server in self._servers.values():
            probed = self._take_probe(server)
            if server.state == "waiting":
                if self._clock() >= server.due:
                    self._start_server(server)
            elif server.state == "down":
                continue
            elif not server.child.is_alive():
                self._handle_exit(server, "exited", f"{server.child.name} {server.child.describe_exit()}")
            elif server.state == "starting":
                self._check_start(server, probed)
            else:
                self._check_probe(server, probed)

    def _take_probe(self, server: _WatchedServer) -> bool | None:
        """Return the result of a probe that ended, else None; begin the next one when it is due."""
        if server.probe is not None:
            if not server.probe.done():
                return None
            # A probe that raises counts as failed: a server may have removed what the probe reads.
            result = server.probe.exception() is None and server.probe.result()
            server.probe = None
            interval = _START_PROBE_INTERVAL if server.state == "starting" else self._settings.probe_interval
            server.due = self._clock() + interval
            return result
        if server.state in ("up", "starting") and self._clock() >= server.due:
            server.probe = self._probes.submit(server.child.readiness_probe)
            server.probe.add_done_callback(lambda _: self._wake())
        return None

    def _check_probe(self, server: _WatchedServer, probed: bool | None) -> None:
        if probed is None:
            return
        server.failures = 0 if probed else server.failures + 1
        if server.failures >= self._settings.failed_probes:
            server.child.kill()
            self._handle_exit(server, "hung", f"{server.child.name} failed {server.failures} probes in a row")

    def _check_start(self, server: _WatchedServer, probed: bool | None) -> None:
        if probed:
            self._record(lambda: self._starter.complete_start(server.child))
            server.schedule.record_ready(self._clock())
            self._set_up(server)
            self._record(lambda: self._heal_incidents(f"server:{server.child.name}", "restart"))
        elif self._clock() > server.deadline:
            server.child.kill()
            self._handle_exit(server, "not_ready", f"{server.child.name} was not ready in time after its restart")

    def _handle_exit(self, server: _WatchedServer, code: str, text: str) -> None:
        """Open an incident, or add the failed restart to the open one; plan the next restart."""
        failure = server.child.failure_error(text.removeprefix(f"{server.child.name} "))
        print(format_error(failure.slug, failure.what, failure.fix), file=sys.stderr, flush=True)
        was_starting = server.state == "starting"
        server.probe, server.failures = None, 0
        restart_at = server.schedule.plan_restart(self._clock())
        server.state = "down" if restart_at is None else "waiting"
        server.due = inf if restart_at is None else restart_at
        self._record(lambda: self._record_exit(server, IncidentCause(code, text), was_starting=was_starting))

    def _record_exit(self, server: _WatchedServer, cause: IncidentCause, *, was_starting: bool) -> None:
        subject = f"server:{server.child.name}"
        open_incidents = self._incidents.list_open(subject)
        incident = open_incidents[0] if open_incidents else self._incidents.open_incident(subject, cause)
        if was_starting:
            self._incidents.add_act(incident.id, "restart", cause.code)
        if server.state == "down":
            self._incidents.add_act(incident.id, "stop_restarting", "limit_reached", severity="critical")

    def _start_server(self, server: _WatchedServer) -> None:
        """Start a server whose restart is due, once the servers that it needs are up."""
        if any(self._servers[name].state != "up" for name in server.child.needs if name in self._servers):
            server.due = self._clock() + _DEPENDENCY_INTERVAL
            return
        server.state, server.deadline = "starting", self._clock() + self._settings.ready_timeout
        server.due = self._clock()
        if server.child.is_alive():
            # A person started it meanwhile, and it is not ready yet.
            return
        try:
            self._starter.begin_start(server.child)
        except WellspringError as error:
            self._handle_exit(server, "not_started", f"{server.child.name} could not be started ({error.slug})")
        except OSError as exc:
            self._handle_exit(server, "not_started", f"{server.child.name} could not be started ({type(exc).__name__})")

    def _set_up(self, server: _WatchedServer) -> None:
        server.state, server.failures, server.probe = "up", 0, None
        server.due = self._clock() + self._settings.probe_interval

    def _heal_incidents(self, subject: str, act: str) -> None:
        for incident in self._incidents.list_open(subject):
            self._incidents.add_act(incident.id, act, "ready")
            self._incidents.heal_incident(incident.id)

    def _record(self, record: Callable[[], None]) -> None:
        """Record something. A journal that cannot be written keeps no server down."""
        try:
            record()
        except WellspringError as error:
            print(format_error(error.slug, error.what, error.fix), file=sys.stderr, flush=True)
