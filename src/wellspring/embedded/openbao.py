"""Configures OpenBao: raft storage, static-key seal, audit device, and a Unix socket as the only usable listener."""

from __future__ import annotations

import http.client
import json
import secrets
import socket
from datetime import timedelta
from pathlib import Path
from typing import Any

from wellspring.embedded.layout import write_secret_file
from wellspring.errors import Unavailable
from wellspring.project import Project
from wellspring.records.clock import SystemClock
from wellspring.runtime.privileges import ServicePrivileges
from wellspring.runtime.trusted_folder import create_folder, remove_file, remove_tree
from wellspring.runtime.unix_socket import ServerSocket, UnixHTTPConnection

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
  # OpenBao applies the mode only if user and group are set. Its clients are members of its group.
  socket_mode = "0660"
  socket_user = "{uid}"
  socket_group = "{gid}"
  max_request_json_strings = 100000
  max_request_json_memory = 67108864
}}
# Raft requires a TCP listener for its cluster address. No client can use this one: it requires a client
# certificate of an authority whose key was discarded.
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
    """Return the folder of OpenBao's storage, configuration and audit log."""
    return project.state_dir / "openbao"


def seal_key_path(project: Project) -> Path:
    """Return the file of the 32-byte key that seals the storage. In production, use a cloud key service."""
    return project.state_dir / "seal.key"


def prepare_openbao(project: Project, privileges: ServicePrivileges) -> None:
    """Write the seal key (once) and the configuration of this start. Only OpenBao's uid can read them."""
    home = openbao_data_dir(project)
    data = home / "data"
    create_folder(data, 0o700, privileges.owner_of("keys"))
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
    """Remove the certificate files of the TCP listener: OpenBao reads them once, at start."""
    for name in ("certificate", "key", "authority"):
        remove_file(openbao_data_dir(project) / f"{name}.pem")


def fetch_health(server: ServerSocket) -> dict[str, Any] | None:
    """Return {initialized, sealed, standby, ...}, or None while OpenBao does not respond."""
    connection = UnixHTTPConnection(server, timeout=2)
    try:
        connection.request("GET", "/v1/sys/health")
        return json.loads(connection.getresponse().read())
    except (OSError, Unavailable, http.client.HTTPException, ValueError):
        return None
    finally:
        connection.close()


def is_openbao_active(server: ServerSocket) -> bool:
    """Return True if OpenBao is unsealed and the active node."""
    health = fetch_health(server)
    return health is not None and health.get("sealed") is False and health.get("standby") is False


def remove_openbao_data(project: Project) -> None:
    """Remove the storage of an unfinished bootstrap. The caller has checked that no data depends on its keys."""
    home = openbao_data_dir(project)
    remove_tree(home / "data")
    for name in ("audit.log", "config.hcl"):
        remove_file(home / name)
    remove_listener_certs(project)
    remove_file(seal_key_path(project))


def _create_listener_certs() -> tuple[bytes, bytes, bytes]:
    """Create a server certificate with its key, and the certificate of an authority whose key is discarded."""
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
