"""The supervisor process: starts the servers in order, monitors them, and stops them together."""

from __future__ import annotations

import json
import os
import secrets
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, ExitStack, nullcontext
from functools import partial
from typing import Any

from wellspring.bootstrap import open_ledger_index, open_recorder
from wellspring.embedded import layout, mlflow, openbao, openbao_setup, packages, postgres, sftp, users, valkey
from wellspring.embedded.control_socket import REQUEST_FIX, ControlSocket, error_message
from wellspring.embedded.model_key import rotate_model_key
from wellspring.embedded.probes import responds_to_http, responds_to_line, responds_to_ping
from wellspring.errors import NotFound, Refused, Unavailable, WellspringError, format_error, suggest_name
from wellspring.observe.refusal_log import RefusalLog
from wellspring.operations.incidents import IncidentStore
from wellspring.project import Project, hash_sections
from wellspring.records.clock import SystemClock
from wellspring.records.observe import Recorder
from wellspring.runtime import sandbox
from wellspring.runtime.privileges import ServicePrivileges, detect_privileges, service_environment
from wellspring.runtime.run_state import RunState, ServerState, select_settings
from wellspring.runtime.simulated_clock import check_clock, open_clock
from wellspring.runtime.trusted_folder import remove_file
from wellspring.runtime.unix_socket import PeerCredentials
from wellspring.stores.online.port import ROW_KEY_SECRET
from wellspring.supervisor.backup_records import BACKUP_OPERATIONS, BackupRecords
from wellspring.supervisor.credential_channel import CredentialChannel
from wellspring.supervisor.descriptions import ServerDescriptions
from wellspring.supervisor.enrollments import Enrollments, open_enrollments
from wellspring.supervisor.leftover_processes import record_ended_processes
from wellspring.supervisor.login_watch import OpenBaoRefusals
from wellspring.supervisor.managed_process import ManagedProcess, process_start_time
from wellspring.supervisor.monitor import MonitorSettings, ServerMonitor
from wellspring.supervisor.request_loop import serve_requests
from wellspring.supervisor.stop_signals import StopRequested, stop_on_signals
from wellspring.supervisor.worker_process import configure_project_code, configure_worker
from wellspring.trust.vault.postgres_outbox import OUTBOX_SECRET

READY_TIMEOUT = 60.0
ReportCallback = Callable[[dict[str, Any]], None]


class Supervisor:
    """Starts, restarts and stops the servers of one project."""

    def __init__(self, project: Project, report: ReportCallback) -> None:
        self.project = project
        self.children: list[ManagedProcess] = []
        self._report = report
        self._privileges: ServicePrivileges = detect_privileges(project)
        self._describe = ServerDescriptions(project, self._privileges)
        self._deadline = time.monotonic() + READY_TIMEOUT
        self._recorder_stack = ExitStack()
        self._step: Recorder | None = None
        self._monitor: ServerMonitor | None = None
        self.credentials = CredentialChannel(
            lambda: openbao_setup.issue_secret_id(project, "worker"), self._find_worker
        )
        self._settings = select_settings("supervisor", hash_sections(project.root))
        self._backups = BackupRecords(project)
        self.refusals: RefusalLog | None = None
        self._enrollments: Enrollments | None = None

    def start_all(self) -> None:
        """Start all servers and wait until every readiness probe succeeds. Raises Unavailable, CorruptedError."""
        project, privileges = self.project, self._privileges
        check_clock(project)
        # Before anything starts: a governed project is not set back to development.
        ledger = open_ledger_index(project)
        programs = packages.check_installed(project)
        layout.create_folders(project, privileges)
        layout.create_runtime_dir(project, privileges)
        describe = self._describe
        # MLflow is the slowest to start: start it first and wait for it last.
        mlflow_process = describe.describe_mlflow() if project.models is not None else None
        if mlflow_process is not None:
            self._start_process(mlflow_process)
        setup, initdb_process = postgres.PostgresSetup(project, privileges, programs.postgres), None
        if not openbao_setup.is_bootstrap_complete(project):
            openbao_setup.undo_bootstrap(project)
            initdb_process = setup.start_initdb()
        openbao_process = describe.describe_openbao(programs.openbao)
        self._start_process(openbao_process)
        if initdb_process is not None:
            self._bootstrap(openbao_process, setup, initdb_process)
        openbao_process.wait_ready(self._deadline)
        # Nothing can be recorded before: OpenBao certifies the key that signs the lines.
        self._step = self._recorder_stack.enter_context(
            open_recorder(
                project, openbao_setup.request_supervisor_key(project), clock=open_clock(project), crash_at=None
            )
        )
        self.refusals = RefusalLog(self._step)
        self._backups.record_restore(self._step)
        record_ended_processes(project, self._step)
        self._wait_until_ready(openbao_process)
        openbao_setup.rotate_supervisor_key(project, privileges)
        rotate_model_key(project, open_clock(project).now(), step=self._step)
        remaining = [describe.describe_postgres(programs.postgres)]
        if "sftp" in packages.embedded_source_servers(project):
            sftp.create_vendor_dirs(project, privileges)
            remaining.append(describe.describe_sftp())
        witness_process = describe.describe_python_server("witness", "witness")
        witness_process.readiness_probe = lambda: responds_to_http(witness_process.own_socket(), "/vkey")
        remaining.append(witness_process)
        if programs.valkey is not None:
            remaining.append(describe.describe_valkey(programs.valkey))
        for child in remaining:
            self._start_process(child)
        for child in remaining:
            self._wait_until_ready(child)
        sequencer_process = describe.describe_python_server("sequencer", "sequencer", module="wellspring.sequencer")
        sequencer_process.readiness_probe = lambda: responds_to_line(sequencer_process.own_socket())
        sequencer_process.role, sequencer_process.needs = "sequencer", ("openbao",)
        self._start_process(sequencer_process)
        enclave_process = describe.describe_python_server("enclave", "intake", module="wellspring.enclave")
        enclave_process.readiness_probe = lambda: responds_to_ping(enclave_process.own_socket())
        enclave_process.role, enclave_process.needs = "enclave", ("openbao", "postgres")
        self._start_process(enclave_process)
        api_process = None
        if project.models is not None:
            api_process = describe.describe_python_server("api", "api", module="wellspring.api")
            api_process.readiness_probe = lambda: responds_to_http(api_process.own_socket(), "/healthz")
            api_process.role, api_process.needs = "api", ("openbao",)
            self._start_process(api_process)
        code_process = describe.describe_python_server("code", "code", module="wellspring.worker.project_code_server")
        configure_project_code(code_process, project, privileges)
        self._start_process(code_process)
        worker_process = describe.describe_python_server("worker", "jobs", module="wellspring.worker")
        worker_process.role, worker_process.needs = "dispatcher", ("openbao", "code")
        configure_worker(worker_process, project, self.credentials)
        self._start_process(worker_process)
        self._wait_until_ready(sequencer_process)
        self._enrollments = open_enrollments(project, ledger, privileges, self._step)
        if code := self._enrollments.issue_code():
            self._report({"bootstrap_code": code})
        for child in (enclave_process, api_process, mlflow_process, code_process, worker_process):
            if child is not None:
                self._wait_until_ready(child)

    def _bootstrap(
        self, openbao_process: ManagedProcess, setup: postgres.PostgresSetup, initdb_process: subprocess.Popen[bytes]
    ) -> None:
        """Create keys, roles, secrets and the enclave's database at the first start; OpenBao and initdb are running."""
        project, privileges = self.project, self._privileges
        self._report({"progress": "creating keys, roles and the enclave's database"})
        openbao_process.wait_ready(
            self._deadline, probe=lambda: openbao.fetch_health(openbao_process.own_socket()) is not None
        )
        bootstrap = openbao_setup.OpenBaoBootstrap(project, privileges)
        openbao_process.wait_ready(self._deadline)
        bootstrap.configure_server()
        password = secrets.token_urlsafe(24)
        postgres.finish_initdb(project, setup, initdb_process, password)
        role = postgres.DATABASE_ROLE
        bootstrap.store_secret("enclave/postgres", {"user": role, "password": password, "database": role})
        bootstrap.store_secret(OUTBOX_SECRET, {"key": secrets.token_hex(32)})
        sftp.create_vendor_dirs(project, privileges)
        private, public = sftp.generate_ssh_key_pair()
        sftp.authorize_sftp_key(project, public, privileges)
        bootstrap.store_secret("enclave/sftp", {"private_key": private.decode()})
        passwords = valkey.generate_passwords()
        for user, password in passwords.items():
            bootstrap.store_secret(f"{user}/valkey", {"user": user, "password": password})
        row_key = secrets.token_hex(32)
        for user in (valkey.WRITER_USER, valkey.READER_USER):
            bootstrap.store_secret(f"{user}/{ROW_KEY_SECRET}", {"key": row_key})
        valkey.write_valkey_acl(project, passwords, privileges)
        bootstrap.finish_bootstrap()

    def watch_servers(self, settings: MonitorSettings, wake: Callable[[], None]) -> ServerMonitor:
        """Begin to watch the servers, all of which are ready. wake: called from another thread when a probe ended."""
        if self._step is None:
            raise Unavailable("the supervisor is not ready", fix="try again in a moment")
        incidents = IncidentStore(self.project, "supervisor", step=self._step, clock=open_clock(self.project))
        monitor = ServerMonitor(self.children, self, incidents, wake=wake, settings=settings)
        self._recorder_stack.callback(monitor.close)
        self._monitor = monitor
        return monitor

    def watch_logins(self) -> OpenBaoRefusals:
        """Return what records the requests that OpenBao refuses from now on. All servers must run."""
        if self.refusals is None:
            raise Unavailable("the supervisor is not ready", fix="try again in a moment")
        path = openbao.openbao_data_dir(self.project) / "audit.log"
        return OpenBaoRefusals(path, self.refusals)

    def restart_process(self, name: str) -> None:
        """Restart one server; the others keep running. Raises NotFound, Unavailable when it is not ready in time."""
        child = self._find_child(name)
        with self._recorded_action("stop", child):
            child.stop()
        self._start_now(child)

    def ensure_running(self, name: str) -> None:
        """Start one server unless it runs. Raises NotFound, Unavailable when it is not ready in time."""
        child = self._find_child(name)
        if child.is_alive():
            try:
                child.wait_ready(time.monotonic() + READY_TIMEOUT)
                return
            except Unavailable:
                if child.is_alive():
                    raise
        self._start_now(child)

    def begin_start(self, child: ManagedProcess) -> None:
        """Start the process of a server with a fresh credential, for the monitor. Raises WellspringError, OSError."""
        try:
            self._start_process(child)
        finally:
            self.save_state()

    def complete_start(self, child: ManagedProcess) -> None:
        """Record that a server that the monitor has started is ready."""
        with self._recorded_action("start", child):
            if child.after_ready is not None:
                child.after_ready()

    def _start_now(self, child: ManagedProcess) -> None:
        self._deadline = time.monotonic() + READY_TIMEOUT
        try:
            self._start_process(child)
            self._wait_until_ready(child)
        finally:
            self.save_state()
        if self._monitor is not None:
            self._monitor.resume_server(child)

    def _find_worker(self) -> PeerCredentials:
        return PeerCredentials(self._find_child("worker").pid, self._privileges.uid_of("worker"))

    def _find_child(self, name: str) -> ManagedProcess:
        child = next((child for child in self.children if child.name == name), None)
        if child is None:
            raise NotFound(
                f"this project has no server {name!r}", fix=suggest_name(name, [child.name for child in self.children])
            )
        return child

    def rotate_mlflow_certs(self) -> None:
        """Renew MLflow's certificates when they are half expired; restart it only if it does not take the new ones."""
        if self.project.models is None or not mlflow.certificates_expiring(self.project, SystemClock().now()):
            return
        child = self._find_child("mlflow")
        if child.process is None or child.port is None or not child.is_alive():
            # Its next start renews them.
            return
        try:
            with self._recorded_action("renew_certificates", child):
                hang_up = partial(child.process.send_signal, signal.SIGHUP)
                mlflow.renew_certificates(self.project, self._privileges, child.port, hang_up)
        except (Unavailable, OSError) as exc:
            print(f"{exc}: mlflow is restarted with new certificates", file=sys.stderr, flush=True)
            mlflow.remove_certificates(self.project)
            try:
                self.restart_process("mlflow")
            except Unavailable as error:
                print(format_error(error.slug, error.what, error.fix), file=sys.stderr, flush=True)

    def save_state(self) -> RunState:
        """Write the running servers to run.json and return them."""
        running = self._run_state()
        content = json.dumps(running.model_dump(mode="json"), indent=1, sort_keys=True)
        layout.write_shared_file(
            self.project.state_dir / "run.json", content.encode(), self._privileges, None, group="project"
        )
        return running

    def stop_all(self) -> None:
        """Stop all servers in reverse order of their start; remove run.json, certificates and sockets."""
        for child in reversed(self.children):
            with self._recorded_action("stop", child):
                child.stop()
        self._recorder_stack.close()
        remove_file(self.project.state_dir / "run.json")
        openbao.remove_listener_certs(self.project)
        mlflow.remove_certificates(self.project)
        layout.remove_runtime_dir(self.project)

    def handle_request(self, request: dict[str, Any]) -> dict[str, Any]:
        """Handle one request of the control socket and return its response."""
        match request:
            case {"op": "status"}:
                states = self._monitor.states() if self._monitor is not None else {}
                return {"servers": {child.name: child.is_alive() for child in self.children}, "states": states}
            case {"op": "restart", "server": str(name)}:
                self.restart_process(name)
                return {"restarted": name}
            case {"op": "start", "server": str(name)}:
                self.ensure_running(name)
                return {"started": name}
            case {"op": "enroll", "name": str(name), "password": str(password)}:
                if self._enrollments is None:
                    raise Unavailable("the supervisor is not ready", fix="try again in a moment")
                code, trace = (str(request.get(field, "")) for field in ("bootstrap_code", "trace"))
                return self._enrollments.enroll(name, password, code, trace=trace)
            case {"op": str(operation)} if operation in BACKUP_OPERATIONS:
                return self._backups.handle_request(request, self._step)
            case {"op": "report_refusal", "act": str(act), "name": str(name)}:
                users.record_refused_user(act, name, self.refusals)
                return {"recorded": name}
            case {"op": "stop"}:
                raise StopRequested
            case _:
                raise Refused("the supervisor does not support this request", fix=REQUEST_FIX)

    def record_refusal(self, uid: int, refused: Refused) -> None:
        """Record a request of the control socket that a user may not send, or that the supervisor refused."""
        if self.refusals is not None:
            self.refusals.record("control", "server:supervisor", f"uid:{uid}", refused)

    def _run_state(self) -> RunState:
        pid, separation = os.getpid(), self._privileges.separation
        return RunState(
            supervisor=ServerState(
                pid=pid,
                start_ticks=process_start_time(pid) or 0,
                version=packages.package_version("wellspring"),
                socket=str(self.project.socket_path("control")),
                settings=self._settings,
            ),
            servers={child.name: child.to_server_state() for child in self.children},
            started_at=SystemClock().now(),
            mode=self.project.project.mode,
            separation=separation,
            separation_reason=sandbox.describe_limits(self.project),
            uids=self._privileges.users.uids if separation == "user" else {},
        )

    def _start_process(self, child: ManagedProcess) -> None:
        """Start a child; if it has a role, its standard input is a credential of that role as one line of JSON."""
        if child.before_start is not None:
            child.before_start()
        stdin_data = None
        if child.role:
            stdin_data = json.dumps(openbao_setup.issue_secret_id(self.project, child.role)).encode() + b"\n"
        command = self._privileges.command_for(child.service, child.argv, child.files)
        # A crash point kills a process once: without it a restarted server ends its work.
        project = self.project if self._monitor is None else self.project.model_copy(update={"crash_at": None})
        # Before the start: a change in between is then reported, and not missed.
        child.settings = select_settings(child.name, hash_sections(self.project.root))
        child.start(command, service_environment(project, child.service), stdin_data)
        self.credentials.close_remote()
        if not any(known_child is child for known_child in self.children):
            self.children.append(child)

    def _wait_until_ready(self, child: ManagedProcess) -> None:
        with self._recorded_action("start", child):
            child.wait_ready(self._deadline)
        if child.after_ready is not None:
            child.after_ready()
        self._report({"progress": f"{child.name} is ready"})

    def _recorded_action(self, action: str, child: ManagedProcess) -> AbstractContextManager[Any]:
        if self._step is None:
            return nullcontext()
        return self._step(action, f"server:{child.name}", facts={"version": child.version})


def run_supervisor(project: Project, report: ReportCallback, settings: MonitorSettings) -> int:
    """Start the servers, report the result, serve the control socket until a stop, stop the servers."""
    supervisor = Supervisor(project, report)
    try:
        with stop_on_signals():
            supervisor.start_all()
            control_socket = ControlSocket(
                project.socket_path("control"), supervisor.handle_request, on_refusal=supervisor.record_refusal
            )
            supervisor.save_state()
            report({"up": True})
            serve_requests(supervisor, control_socket, settings)
    except StopRequested:
        return 0
    except WellspringError as error:
        report(error_message(error))
        print(format_error(error.slug, error.what, error.fix), file=sys.stderr)
        return error.exit_code
    except OSError as exc:
        report(
            error_message(Unavailable(f"the servers could not start: {exc}", fix=f"read {project.state_dir / 'logs'}"))
        )
        raise
    finally:
        supervisor.stop_all()
    return 0
