"""Run records and registered models: MLflow's own server, behind mutual TLS on loopback.

`mlflow server` imports MLflow only to start a second process that imports it again, and hands no listening
socket on. So its application runs here, in one process, under uvicorn, told what `mlflow server` would have told it; a
test holds the names of these variables against the installed MLflow. Who may speak is for TLS to say: a certificate of
an authority that is made at a start, whose key is thrown away, and of which one client has one: the worker. It lasts
for 30 days; the supervisor starts the server again, with new ones, when half of them are over.
"""

from __future__ import annotations

import argparse
import gc
import http.client
import ipaddress
import os
import socket
import ssl
import sys
from datetime import datetime, timedelta
from pathlib import Path

from wellspring.embedded.layout import write_public_file, write_secret_file
from wellspring.project import Project, load_project
from wellspring.records.clock import SystemClock
from wellspring.runtime.privileges import ServicePrivileges
from wellspring.runtime.sandbox import confine_process

ASGI_APP = "mlflow.server.fastapi_app:app"
_CERTIFICATE_DAYS = 30


def mlflow_data_dir(project: Project) -> Path:
    """Where it keeps its database and the files of its runs."""
    return project.state_dir / "mlflow"


def mlflow_environment(project: Project) -> dict[str, str]:
    """Say to MLflow's application what `mlflow server` says: where its database and its files lie, and to be quiet."""
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
    """Furnish the server before it starts, unless it has certificates that are young enough: callers know those."""
    if certificates_expiring(project, now):
        create_certificates(project, privileges)


def certificates_expiring(project: Project, now: datetime) -> bool:
    """Say whether half the life of the server's certificate is over, or whether there is none."""
    from cryptography import x509

    try:
        certificate = x509.load_pem_x509_certificate((mlflow_data_dir(project) / "server.pem").read_bytes())
    except (FileNotFoundError, ValueError):
        return True
    return now >= certificate.not_valid_after_utc - timedelta(days=_CERTIFICATE_DAYS) / 2


def create_certificates(project: Project, privileges: ServicePrivileges) -> None:
    """Make this start's authority, the server's certificate and the worker's, each key for its owner alone."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

    now = SystemClock().now()

    def common_name(name: str) -> x509.Name:
        return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])

    def issue_certificate(
        subject: str, public: ec.EllipticCurvePublicKey, usage: x509.ObjectIdentifier | None
    ) -> bytes:
        builder = (
            x509.CertificateBuilder()
            .subject_name(common_name(subject))
            .issuer_name(common_name("wellspring mlflow"))
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
    home = mlflow_data_dir(project)
    write_public_file(
        home / "ca.pem", issue_certificate("wellspring mlflow", authority.public_key(), None), privileges, "mlflow"
    )
    server_certificate = issue_certificate("127.0.0.1", server.public_key(), ExtendedKeyUsageOID.SERVER_AUTH)
    write_secret_file(home / "server.pem", encode_private_key(server) + server_certificate, privileges, "mlflow")
    client_certificate = issue_certificate("worker", client.public_key(), ExtendedKeyUsageOID.CLIENT_AUTH)
    write_public_file(project.mlflow_files.ca_path, (home / "ca.pem").read_bytes(), privileges, "worker")
    write_secret_file(
        project.mlflow_files.client_path, encode_private_key(client) + client_certificate, privileges, "worker"
    )


def remove_certificates(project: Project) -> None:
    """Remove the certificates of a start that has ended: the next one makes its own."""
    for path in (*project.mlflow_files, mlflow_data_dir(project) / "ca.pem", mlflow_data_dir(project) / "server.pem"):
        path.unlink(missing_ok=True)


def bind_mlflow_port() -> socket.socket:
    """Take a loopback port; the child serves it."""
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    listener.bind(("127.0.0.1", 0))
    listener.listen(128)
    return listener


def is_mlflow_ready(project: Project, port: int) -> bool:
    """Say whether it answers a client that it knows, from its database: the first time it makes its tables."""
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


def main(argv: list[str] | None = None) -> int:
    """Serve MLflow until told to stop."""
    parser = argparse.ArgumentParser(prog="python -m wellspring.embedded.mlflow")
    parser.add_argument("--project", type=Path, required=True)
    parser.add_argument("--fd", type=int, required=True)
    arguments = parser.parse_args(argv)
    project = load_project(arguments.project)
    confine_process(project, role="mlflow")
    # Before MLflow is imported: it reads its environment once, then.
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
    # What MLflow imports lives as long as this process: looking for garbage in it meanwhile takes a second of four.
    gc.disable()
    config.load()
    gc.freeze()
    gc.enable()
    uvicorn.Server(config).run()
    return 0


if __name__ == "__main__":
    sys.exit(main())
