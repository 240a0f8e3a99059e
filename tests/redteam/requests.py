"""Requests to the API, to MLflow and to the vendor's server that their senders may not make."""

from __future__ import annotations

import asyncio
import json
import socket
import ssl

from tests.redteam.catalogue import attempt
from tests.redteam.shop_project import MODEL
from tests.redteam.target import Target
from wellspring.runtime.run_state import find_server_port
from wellspring.trust.secrets.openbao import OpenBaoSecretStore

RAW_ORDER = "ORD-000123"


def send_request(target: Target, request: bytes) -> str:
    """Send bytes to the API as the owner; return the status of the response."""
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(20)
        connection.connect(str(target.project.socket_path("api")))
        connection.sendall(request)
        answer = connection.recv(65536)
    return f"status {answer.split()[1].decode()}" if answer else "closed"


def _predict(target: Target, keys: dict[str, str]) -> str:
    body = json.dumps({"keys": keys}).encode()
    head = f"POST /v1/models/{MODEL}/predictions HTTP/1.1\r\nhost: api\r\ncontent-type: application/json\r\n"
    return send_request(target, head.encode() + b"content-length: %d\r\n\r\n" % len(body) + body)


@attempt("small", "owner", refused="status 422, not repeated", allowed="status 200, not repeated", needs="model")
def predict_for_a_raw_identifier(target: Target, is_twin: bool) -> str:
    """A caller sends an identifier instead of a token, which a log could keep; a token is answered."""
    keys = target.key if is_twin else dict.fromkeys(target.key, RAW_ORDER)
    status = _predict(target, keys)
    state = target.project.state_dir
    paths = [*(state / "journals/api").glob("*.log"), state / "logs/api.log"]
    is_repeated = any(RAW_ORDER.encode() in path.read_bytes() for path in paths)
    return f"{status}, {'repeated' if is_repeated else 'not repeated'}"


@attempt("small", "owner", refused="status 400", allowed="status 422", needs="servers")
def hide_a_second_request(target: Target, is_twin: bool) -> str:
    """A caller states the length of a body in two ways, to hide a second request in it; stated once it is parsed."""
    head = b"POST /v1/models/x/predictions HTTP/1.1\r\nhost: api\r\ncontent-type: application/json\r\n"
    second = b"" if is_twin else b"transfer-encoding: chunked\r\n"
    return send_request(target, head + b"content-length: 2\r\n" + second + b"\r\n{}")


@attempt("small", "owner", refused="status 404", allowed="status 200", needs="model")
def lead_a_request_out_of_the_models(target: Target, is_twin: bool) -> str:
    """A caller writes a path with two dots as the name of a model; the name of a model is answered."""
    name = MODEL if is_twin else "..%2f..%2fseal.key"
    return send_request(target, f"GET /v1/models/{name} HTTP/1.1\r\nhost: api\r\n\r\n".encode())


@attempt("false-servers", "other-user", refused="refused", allowed="answered", needs="servers")
def log_in_to_mlflow_without_a_certificate(target: Target, is_twin: bool) -> str:
    """Another user connects to MLflow's port on loopback; with the worker's certificate it answers."""
    port, files = find_server_port(target.project, "mlflow"), target.project.mlflow_files
    context = ssl.create_default_context(cafile=str(files.ca_path))
    context.check_hostname = False
    if is_twin:
        context.load_cert_chain(str(files.client_path))

    def request() -> str:
        with socket.create_connection(("127.0.0.1", port), 10) as plain:
            try:
                with context.wrap_socket(plain, server_hostname="localhost") as connection:
                    connection.sendall(b"GET /health HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n")
                    return "answered" if connection.recv(100) else "refused"
            except (ssl.SSLError, ConnectionResetError):
                return "refused"

    return request() if is_twin else target.run_as("other-user", request)


@attempt("false-servers", "vendor", refused="refused", allowed="listed", needs="servers")
def log_in_to_the_vendor_with_another_key(target: Target, is_twin: bool) -> str:
    """Somebody logs in to the vendor's server with a key of their own; with the enclave's key the outbox is listed."""
    import asyncssh

    key = asyncssh.generate_private_key("ssh-ed25519")
    if is_twin:
        with target.session("enclave") as session:
            text = OpenBaoSecretStore(session).read_secret("enclave/sftp")["private_key"]
        key = asyncssh.import_private_key(text)
    port = find_server_port(target.project, "sftp")

    async def list_outbox() -> str:
        try:
            async with asyncssh.connect(
                "127.0.0.1", port, username="wellspring", client_keys=[key], known_hosts=None, config=None
            ) as connection:
                sftp = await connection.start_sftp_client()
                return "listed" if await sftp.listdir("outbox") else "empty"
        except asyncssh.PermissionDenied:
            return "refused"

    return asyncio.run(list_outbox())
