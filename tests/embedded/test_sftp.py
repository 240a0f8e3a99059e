"""The SFTP server gives the enclave's key read access to the outbox only. Uses the real server."""

import asyncio
from typing import Any

import asyncssh
import pytest

from tests.builders import projects
from wellspring.embedded.openbao_setup import issue_secret_id
from wellspring.embedded.sftp import generate_ssh_key_pair, is_sftp_ready
from wellspring.project import Project
from wellspring.runtime.run_state import find_server_port
from wellspring.supervisor import client as client_module
from wellspring.trust.secrets.openbao import OpenBaoSecretStore

pytestmark = pytest.mark.live


@pytest.fixture(scope="module")
def project(shared_project: Project) -> Project:
    (shared_project.vendor_dir / "outbox/claims.csv").write_text("a,b\n1,2\n")
    return shared_project


@pytest.fixture(scope="module")
def key(project: Project) -> str:
    with projects.login_with_credential(project, issue_secret_id(project, "enclave")) as session:
        return OpenBaoSecretStore(session).read_secret("enclave/sftp")["private_key"]


def talk(project: Project, key: str, ask: Any, **options: Any) -> Any:
    async def conversation() -> Any:
        arguments = {"known_hosts": str(project.vendor_dir / "known_hosts"), "username": "wellspring", **options}
        arguments.setdefault("client_keys", [asyncssh.import_private_key(key)])
        async with asyncssh.connect(
            "127.0.0.1", find_server_port(project, "sftp"), config=None, agent_path=None, **arguments
        ) as connection:
            async with connection.start_sftp_client() as client:
                return await ask(client)

    return asyncio.run(conversation())


def test_the_outbox_is_listed_and_read_under_the_pinned_host_key(project: Project, key: str):
    async def ask(client: asyncssh.SFTPClient) -> tuple[list[str], bytes]:
        names = [str(name) for name in await client.listdir("outbox")]
        async with client.open("outbox/claims.csv", "rb") as file:
            return names, bytes(await file.read())

    names, content = talk(project, key, ask)
    assert "claims.csv" in names
    assert content == b"a,b\n1,2\n"


@pytest.mark.parametrize(
    "ask",
    [
        lambda client: client.open("outbox/new", "wb"),
        lambda client: client.open("outbox/claims.csv", "ab"),
        lambda client: client.open("outbox/claims.csv", "r+b"),
        lambda client: client.remove("outbox/claims.csv"),
        lambda client: client.rename("outbox/claims.csv", "outbox/other"),
        lambda client: client.posix_rename("outbox/claims.csv", "outbox/other"),
        lambda client: client.mkdir("outbox/folder"),
        lambda client: client.rmdir("outbox"),
        lambda client: client.symlink("claims.csv", "outbox/link"),
        lambda client: client.link("outbox/claims.csv", "outbox/hard"),
        lambda client: client.truncate("outbox/claims.csv", 0),
        lambda client: client.chmod("outbox/claims.csv", 0o777),
    ],
)
def test_every_write_operation_is_refused(project: Project, key: str, ask: Any):
    with pytest.raises(asyncssh.SFTPError):
        talk(project, key, ask)
    assert sorted(path.name for path in (project.vendor_dir / "outbox").iterdir()) == ["claims.csv"]
    assert (project.vendor_dir / "outbox/claims.csv").read_text() == "a,b\n1,2\n"


@pytest.mark.parametrize("path", ["host_key", "/authorized_keys", "outbox/../host_key", "../wellspring.toml", "/"])
def test_only_the_outbox_is_visible(project: Project, key: str, path: str):
    with pytest.raises(asyncssh.SFTPError):
        talk(project, key, lambda client: client.listdir(path))
    with pytest.raises(asyncssh.SFTPError):
        talk(project, key, lambda client: client.get(path))


def test_another_key_a_password_or_no_key_is_refused(project: Project, key: str):
    second = asyncssh.import_private_key(generate_ssh_key_pair()[0].decode())
    for arguments in ({"client_keys": [second]}, {"client_keys": None, "password": "wellspring"}):
        with pytest.raises(asyncssh.PermissionDenied):
            talk(project, key, lambda client: client.listdir("outbox"), **arguments)


def test_a_client_with_another_pinned_host_key_refuses_the_server(project: Project, key: str):
    public = generate_ssh_key_pair()[1].decode()
    pinned = asyncssh.import_known_hosts(f"[127.0.0.1]:{find_server_port(project, 'sftp')} {public}\n")
    with pytest.raises(asyncssh.HostKeyNotVerifiable):
        talk(project, key, lambda client: client.listdir("outbox"), known_hosts=pinned)


def test_the_host_key_stays_and_known_hosts_follows_the_port(project: Project, key: str):
    before = (project.vendor_dir / "host_key").read_bytes(), find_server_port(project, "sftp")
    client_module.stop_servers(project)
    assert not is_sftp_ready(before[1])
    client_module.start_servers(project)
    assert (project.vendor_dir / "host_key").read_bytes() == before[0]
    assert is_sftp_ready(find_server_port(project, "sftp"))
    talk(project, key, lambda client: client.listdir("outbox"))


def test_the_enclaves_private_key_is_in_no_file(project: Project, key: str):
    body = key.splitlines()[3].encode()
    for path in project.root.rglob("*"):
        if path.is_file() and "openbao/data" not in path.as_posix():
            assert body not in path.read_bytes(), path
