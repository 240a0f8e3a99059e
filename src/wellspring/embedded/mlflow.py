"""Runs MLflow's tracking server and model registry in one process, behind mutual TLS on loopback.

`mlflow server` imports MLflow twice, in two processes, and cannot use an inherited listening socket. This module runs
MLflow's ASGI application under uvicorn instead, with the environment variables that `mlflow server` sets; a test
compares their names with the installed MLflow. Each start creates a certificate authority, issues a server certificate
and one client certificate, for the worker, and discards the authority's key. Certificates are valid for 30 days; after
15 the supervisor creates new ones, and SIGHUP makes the server use them without a restart.
"""

from __future__ import annotations

import gc
import http.client
import ipaddress
import os
import secrets
import signal
import socket
import ssl
import sys
import threading
import time
from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path
from typing import NamedTuple

from wellspring.embedded.layout import write_secret_file, write_shared_file
from wellspring.errors import Unavailable
from wellspring.project import Project, load_project
from wellspring.records.clock import SystemClock
from wellspring.runtime.privileges import ServicePrivileges
from wellspring.runtime.process import build_argument_parser
from wellspring.runtime.sandbox import confine_process
from wellspring.runtime.trusted_folder import read_file, remove_file

ASGI_APP = "mlflow.server.fastapi_app:app"
_CERTIFICATE_DAYS = 30
_RELOAD_TIMEOUT = 10.0
_END_CERTIFICATE = b"-----END CERTIFICATE-----\n"


class _Certificates(NamedTuple):
    """Certificates in PEM: the authority's; the server's and the client's, each after its private key."""

    authority: bytes
    server: bytes
    client: bytes


def mlflow_data_dir(project: Project) -> Path:
    """Return the folder of MLflow's database and artifacts."""
    return project.state_dir / "mlflow"


def mlflow_environment(project: Project) -> dict[str, str]:
    """Return the variables that `mlflow server` sets: the database, the artifact folder, and no telemetry or jobs."""
    home = mlflow_data_dir(project)
    return {
        "_MLFLOW_SERVER_FILE_STORE": f"sqlite:///{home}/mlflow.db",
        "_MLFLOW_SERVER_REGISTRY_STORE": f"sqlite:///{home}/mlflow.db",
        "_MLFLOW_SERVER_ARTIFACT_ROOT": "mlflow-artifacts:/",
        "_MLFLOW_SERVER_ARTIFACT_DESTINATION": str(home / "artifacts"),
        "_MLFLOW_SERVER_SERVE_ARTIFACTS": "true",
        "_MLFLOW_SGI_NAME": "uvicorn",
        "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
        "MLFLOW_ALLOW_PICKLE_DESERIALIZATION": "false",
        "MLFLOW_DISABLE_TELEMETRY": "true",
        "DO_NOT_TRACK": "true",
        "GIT_PYTHON_REFRESH": "quiet",
    }


def prepare_certificates(project: Project, privileges: ServicePrivileges, now: datetime) -> None:
    """Create certificates before the server starts, unless the present ones are less than half expired."""
    if certificates_expiring(project, now):
        create_certificates(project, privileges)


def certificates_expiring(project: Project, now: datetime) -> bool:
    """Return True if the server's or the worker's certificate is missing, unreadable or past half of its validity."""
    from cryptography import x509

    try:
        certificates = [
            x509.load_pem_x509_certificate(read_file(path))
            for path in (mlflow_data_dir(project) / "server.pem", project.mlflow_files.client_path)
        ]
    except (FileNotFoundError, ValueError):
        return True
    ends = min(certificate.not_valid_after_utc for certificate in certificates)
    return now >= ends - timedelta(days=_CERTIFICATE_DAYS) / 2


def create_certificates(project: Project, privileges: ServicePrivileges) -> None:
    """Create an authority, the server's certificate and the worker's. Only its owner can read each private key."""
    certificates = _issue_certificates()
    _write_server_files(project, privileges, certificates, certificates.authority)
    write_secret_file(project.mlflow_files.client_path, certificates.client, privileges, "worker")


def renew_certificates(project: Project, privileges: ServicePrivileges, port: int, reload: Callable[[], None]) -> None:
    """Replace the certificates of a running server. reload: makes it read its files again.

    Until the next renewal both sides trust the former authority too, so that a client with the former certificate works
    on. Raises Unavailable if the server does not use its new certificate within a few seconds.
    """
    certificates = _issue_certificates()
    former = read_file(mlflow_data_dir(project) / "ca.pem")
    # The newest authority is the first one.
    former = former[: former.index(_END_CERTIFICATE) + len(_END_CERTIFICATE)]
    _write_server_files(project, privileges, certificates, certificates.authority + former)
    reload()
    pause, deadline = threading.Event(), time.monotonic() + _RELOAD_TIMEOUT
    while not _presents_certificate(port, certificates.server):
        if time.monotonic() > deadline:
            raise Unavailable("MLflow does not use its new certificate", fix="run `wellspring restart mlflow`")
        pause.wait(0.05)
    write_secret_file(project.mlflow_files.client_path, certificates.client, privileges, "worker")


def _presents_certificate(port: int, server: bytes) -> bool:
    try:
        presented = ssl.get_server_certificate(("127.0.0.1", port), timeout=2)
    except OSError:
        return False
    return presented.strip().encode() in server


def _write_server_files(
    project: Project, privileges: ServicePrivileges, certificates: _Certificates, authorities: bytes
) -> None:
    """Write the trusted authorities of both sides, and the server's key with its certificate."""
    home = mlflow_data_dir(project)
    write_shared_file(home / "ca.pem", authorities, privileges, "mlflow")
    write_shared_file(project.mlflow_files.ca_path, authorities, privileges, "worker")
    write_secret_file(home / "server.pem", certificates.server, privileges, "mlflow")


def _issue_certificates() -> _Certificates:
    """Create an authority, and certificates that it signs; its private key is discarded."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

    now = SystemClock().now()
    # OpenSSL finds an issuer by its name: two authorities that are trusted at once need different ones.
    authority_name = f"wellspring mlflow {secrets.token_hex(8)}"

    def common_name(name: str) -> x509.Name:
        return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])

    def issue_certificate(
        subject: str, public: ec.EllipticCurvePublicKey, usage: x509.ObjectIdentifier | None
    ) -> bytes:
        builder = (
            x509.CertificateBuilder()
            .subject_name(common_name(subject))
            .issuer_name(common_name(authority_name))
            .public_key(public)
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - timedelta(minutes=5))
            .not_valid_after(now + timedelta(days=_CERTIFICATE_DAYS))
            .add_extension(x509.BasicConstraints(ca=usage is None, path_length=None), critical=True)
        )
        if usage is not None:
            builder = builder.add_extension(x509.ExtendedKeyUsage([usage]), critical=False)
            loopback_name = x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))])
            builder = builder.add_extension(loopback_name, critical=False)
        return builder.sign(authority, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)

    def encode_private_key(key: ec.EllipticCurvePrivateKey) -> bytes:
        return key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )

    authority, server, client = (ec.generate_private_key(ec.SECP256R1()) for _ in range(3))
    server_certificate = issue_certificate("127.0.0.1", server.public_key(), ExtendedKeyUsageOID.SERVER_AUTH)
    client_certificate = issue_certificate("worker", client.public_key(), ExtendedKeyUsageOID.CLIENT_AUTH)
    return _Certificates(
        issue_certificate(authority_name, authority.public_key(), None),
        encode_private_key(server) + server_certificate,
        encode_private_key(client) + client_certificate,
    )


def remove_certificates(project: Project) -> None:
    """Remove all certificate files; the next start creates new ones."""
    for path in (*project.mlflow_files, mlflow_data_dir(project) / "ca.pem", mlflow_data_dir(project) / "server.pem"):
        remove_file(path)


def bind_mlflow_port() -> socket.socket:
    """Bind a free loopback port and listen on it; the child process inherits the socket."""
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    listener.bind(("127.0.0.1", 0))
    listener.listen(128)
    return listener


def is_mlflow_ready(project: Project, port: int) -> bool:
    """Return True if a request with the worker's certificate succeeds. The request reads the database."""
    client_files = project.mlflow_files
    context = ssl.create_default_context(cafile=str(client_files.ca_path))
    context.load_cert_chain(str(client_files.client_path))
    connection = http.client.HTTPSConnection("127.0.0.1", port, timeout=20, context=context)
    try:
        connection.request("GET", "/api/2.0/mlflow/experiments/get?experiment_id=0")
        return connection.getresponse().status == 200
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


def reload_on_hangup(listening_context: ssl.SSLContext, home: Path) -> None:
    """Let each new connection use the certificates that SIGHUP has read last; open connections keep theirs."""
    current = [listening_context]

    def use_current(connection: ssl.SSLObject, _: str | None, __: ssl.SSLContext) -> None:
        connection.context = current[0]

    def read_files(*_: object) -> None:
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=str(home / "ca.pem"))
        context.load_cert_chain(str(home / "server.pem"))
        context.verify_mode = ssl.CERT_REQUIRED
        current[0] = context

    listening_context.sni_callback = use_current
    signal.signal(signal.SIGHUP, read_files)


def main(argv: list[str] | None = None) -> int:
    """Serve MLflow until a signal stops the process."""
    parser = build_argument_parser("wellspring.embedded.mlflow")
    parser.add_argument("--fd", type=int, required=True)
    arguments = parser.parse_args(argv)
    project = load_project(arguments.project, sources=False)
    confine_process(project, role="mlflow")
    # MLflow reads its environment once, when it is imported.
    os.environ.update(mlflow_environment(project))
    import uvicorn

    home = mlflow_data_dir(project)
    config = uvicorn.Config(
        ASGI_APP,
        fd=arguments.fd,
        log_level="warning",
        access_log=False,
        ssl_certfile=str(home / "server.pem"),
        ssl_keyfile=str(home / "server.pem"),
        ssl_ca_certs=str(home / "ca.pem"),
        ssl_cert_reqs=ssl.CERT_REQUIRED,
    )
    # MLflow's imports live as long as this process: garbage collection during them takes one second of four.
    gc.disable()
    config.load()
    gc.freeze()
    gc.enable()
    if config.ssl is not None:
        reload_on_hangup(config.ssl, home)
    uvicorn.Server(config).run()
    return 0


if __name__ == "__main__":
    sys.exit(main())
