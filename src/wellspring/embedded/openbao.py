"""The key server: raft storage, static-key seal, audit device on, spoken to over a Unix socket only."""

from __future__ import annotations

import http.client
import json
import os
import secrets
import shutil
import socket
from datetime import timedelta
from pathlib import Path
from typing import Any

from wellspring.embedded.layout import write_secret_file
from wellspring.project import Project
from wellspring.records.clock import SystemClock
from wellspring.runtime.privileges import ServicePrivileges

CONFIG_TEMPLATE = """
storage "raft" {{
  path = {data}
  node_id = "embedded"
  performance_multiplier = "1"
}}
seal "static" {{
  current_key_id = "seal-1"
  current_key = {seal}
}}
listener "unix" {{
  address = {socket}
  # The mode counts only together with user and group; who asks is for the token to say.
  socket_mode = "0666"
  socket_user = "{uid}"
  socket_group = "{gid}"
  max_request_json_strings = 100000
  max_request_json_memory = 67108864
}}
# Raft demands a TCP listener for its cluster address. This one answers nobody: it wants a client certificate
# of an authority whose key was never written down.
listener "tcp" {{
  address = "127.0.0.1:{port}"
  cluster_address = "127.0.0.1:{cluster}"
  tls_cert_file = {certificate}
  tls_key_file = {key}
  tls_client_ca_file = {authority}
  tls_require_and_verify_client_cert = true
}}
audit "file" "main" {{
  options {{
    file_path = {audit}
    mode = "0600"
  }}
}}
api_addr = "https://127.0.0.1:{port}"
cluster_addr = "https://127.0.0.1:{cluster}"
log_level = "info"
"""


def openbao_data_dir(project: Project) -> Path:
    """Where it keeps its storage, configuration and audit log."""
    return project.state_dir / "openbao"


def seal_key_path(project: Project) -> Path:
    """The 32 bytes that seal its storage; in production a key of the cloud's key service does."""
    return project.state_dir / "seal.key"


def prepare_openbao(project: Project, privileges: ServicePrivileges) -> None:
    """Write the seal's key (once) and this run's configuration; both are for the key server's uid alone."""
    home = openbao_data_dir(project)
    data = home / "data"
    data.mkdir(exist_ok=True)
    privileges.set_owner(data, "keys", 0o700)
    if not seal_key_path(project).exists():
        write_secret_file(seal_key_path(project), secrets.token_bytes(32), privileges, "keys")
    certificate, key, authority = _create_listener_certs()
    listener_files = {"certificate": certificate, "key": key, "authority": authority}
    for name, content in listener_files.items():
        write_secret_file(home / f"{name}.pem", content, privileges, "keys")
    with socket.socket() as api_socket, socket.socket() as cluster_socket:
        api_socket.bind(("127.0.0.1", 0))
        cluster_socket.bind(("127.0.0.1", 0))
        ports = {"port": api_socket.getsockname()[1], "cluster": cluster_socket.getsockname()[1]}
    info = home.stat()
    ids = {"uid": info.st_uid, "gid": info.st_gid}
    paths = {
        "data": data,
        "seal": f"file://{seal_key_path(project)}",
        "socket": project.socket_path("openbao"),
        "audit": home / "audit.log",
        **{name: home / f"{name}.pem" for name in listener_files},
    }
    text = CONFIG_TEMPLATE.format(**{name: json.dumps(str(path)) for name, path in paths.items()}, **ports, **ids)
    write_secret_file(home / "config.hcl", text.encode(), privileges, "keys")


def remove_listener_certs(project: Project) -> None:
    """Remove the certificate files of the listener that answers nobody: they are read once, at start."""
    for name in ("certificate", "key", "authority"):
        (openbao_data_dir(project) / f"{name}.pem").unlink(missing_ok=True)


def fetch_health(project: Project) -> dict[str, Any] | None:
    """Ask for {initialized, sealed, standby}; None while it does not answer."""
    connection = _OpenBaoConnection(project.socket_path("openbao"))
    try:
        connection.request("GET", "/v1/sys/health")
        return json.loads(connection.getresponse().read())
    except (OSError, http.client.HTTPException, ValueError):
        return None
    finally:
        connection.close()


def is_openbao_active(project: Project) -> bool:
    """Say whether it is unsealed and leads."""
    state = fetch_health(project)
    return state is not None and state.get("sealed") is False and state.get("standby") is False


def remove_openbao_data(project: Project) -> None:
    """Remove an unfinished key server: no data was ever encrypted under its keys."""
    home = openbao_data_dir(project)
    for name in ("data", "audit.log", "config.hcl"):
        path = home / name
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)
    remove_listener_certs(project)
    seal_key_path(project).unlink(missing_ok=True)


class _OpenBaoConnection(http.client.HTTPConnection):
    def __init__(self, path: Path) -> None:
        super().__init__("localhost", timeout=2)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(2)
        self.sock.connect(os.fspath(self._path))


def _create_listener_certs() -> tuple[bytes, bytes, bytes]:
    """Make a server certificate with its key, and the certificate of an authority whose key is dropped here."""
    from cryptography import x509
    from cryptography.hazmat.primitives.asymmetric import ed25519
    from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

    def create_certificate(name: str) -> tuple[bytes, ed25519.Ed25519PrivateKey]:
        key = ed25519.Ed25519PrivateKey.generate()
        subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
        now = SystemClock().now()
        signed_certificate = (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(subject)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - timedelta(minutes=5))
            .not_valid_after(now + timedelta(days=3650))
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .sign(key, None)
        )
        return signed_certificate.public_bytes(Encoding.PEM), key

    server, key = create_certificate("wellspring embedded key server")
    authority, _ = create_certificate("nobody")
    return server, key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()), authority
