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

from wellspring.project import Project, load
from wellspring.records.clock import SystemClock
from wellspring.servers.confine import confine
from wellspring.servers.folders import write_public, write_secret
from wellspring.servers.privileges import Privileges

APP = "mlflow.server.fastapi_app:app"
_DAYS = 30


def folder(project: Project) -> Path:
    """Where it keeps its database and the files of its runs."""
    return project.state / "mlflow"


def told(project: Project) -> dict[str, str]:
    """Say to MLflow's application what `mlflow server` says: where its database and its files lie, and to be quiet."""
    home = folder(project)
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


def prepare(project: Project, privileges: Privileges, now: datetime) -> None:
    """Furnish the server before it starts, unless it has certificates that are young enough: callers know those."""
    if is_aged(project, now):
        furnish(project, privileges)


def is_aged(project: Project, now: datetime) -> bool:
    """Say whether half the life of the server's certificate is over, or whether there is none."""
    from cryptography import x509

    try:
        shown = x509.load_pem_x509_certificate((folder(project) / "server.pem").read_bytes())
    except (FileNotFoundError, ValueError):
        return True
    return now >= shown.not_valid_after_utc - timedelta(days=_DAYS) / 2


def furnish(project: Project, privileges: Privileges) -> None:
    """Make this start's authority, the server's certificate and the worker's, each key for its owner alone."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

    now = SystemClock().now()

    def named(name: str) -> x509.Name:
        return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])

    def signed(subject: str, public: ec.EllipticCurvePublicKey, usage: x509.ObjectIdentifier | None) -> bytes:
        making = (
            x509.CertificateBuilder()
            .subject_name(named(subject))
            .issuer_name(named("wellspring mlflow"))
            .public_key(public)
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - timedelta(minutes=5))
            .not_valid_after(now + timedelta(days=_DAYS))
            .add_extension(x509.BasicConstraints(ca=usage is None, path_length=None), critical=True)
        )
        if usage is not None:
            making = making.add_extension(x509.ExtendedKeyUsage([usage]), critical=False)
            here = x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))])
            making = making.add_extension(here, critical=False)
        return making.sign(authority, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)

    def private(key: ec.EllipticCurvePrivateKey) -> bytes:
        return key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )

    authority, server, client = (ec.generate_private_key(ec.SECP256R1()) for _ in range(3))
    home = folder(project)
    write_public(home / "ca.pem", signed("wellspring mlflow", authority.public_key(), None), privileges, "mlflow")
    shown = signed("127.0.0.1", server.public_key(), ExtendedKeyUsageOID.SERVER_AUTH)
    write_secret(home / "server.pem", private(server) + shown, privileges, "mlflow")
    known = signed("worker", client.public_key(), ExtendedKeyUsageOID.CLIENT_AUTH)
    write_public(project.mlflow_files.ca, (home / "ca.pem").read_bytes(), privileges, "worker")
    write_secret(project.mlflow_files.client, private(client) + known, privileges, "worker")


def forget(project: Project) -> None:
    """Remove the certificates of a start that has ended: the next one makes its own."""
    for path in (*project.mlflow_files, folder(project) / "ca.pem", folder(project) / "server.pem"):
        path.unlink(missing_ok=True)


def listen() -> socket.socket:
    """Take a loopback port; the child serves it."""
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    listener.bind(("127.0.0.1", 0))
    listener.listen(128)
    return listener


def is_ready(project: Project, port: int) -> bool:
    """Say whether it answers a client that it knows, from its database: the first time it makes its tables."""
    known = project.mlflow_files
    context = ssl.create_default_context(cafile=str(known.ca))
    context.load_cert_chain(str(known.client))
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
    parser = argparse.ArgumentParser(prog="python -m wellspring.servers.mlflow")
    parser.add_argument("--project", type=Path, required=True)
    parser.add_argument("--fd", type=int, required=True)
    given = parser.parse_args(argv)
    project = load(given.project)
    confine(project, role="mlflow")
    # Before MLflow is imported: it reads its environment once, then.
    os.environ.update(told(project))
    import uvicorn

    home = folder(project)
    config = uvicorn.Config(
        APP,
        fd=given.fd,
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
