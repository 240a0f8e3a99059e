"""Asks Valkey which of all its commands each user may run. Uses the real server."""

import os
import socket
import subprocess
import time
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple, cast

import hiredis
import pytest

from tests.builders import projects, sockets
from wellspring.embedded import layout, packages, valkey
from wellspring.project import Project
from wellspring.runtime.privileges import detect_privileges, service_environment
from wellspring.runtime.server_sockets import find_server_socket
from wellspring.supervisor.managed_process import ManagedProcess

# A user of this test only: it asks the server for the permissions of the others.
EXAMINER = "examiner"


class Store(NamedTuple):
    """The server's project, and the passwords that were made for its users."""

    project: Project
    expected: dict[str, str]

    def ask(self, user: str, *lines: str) -> list[Any]:
        """Run commands as a user and return the replies; an error is returned in place of a reply."""
        result = self.talk([["AUTH", user, self.expected.get(user, "any")], *map(str.split, lines)])
        assert result[0] == b"OK"
        return result[1:]

    def talk(self, commands: Sequence[Sequence[str]]) -> list[Any]:
        reader, result = hiredis.Reader(), list[Any]()
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(60)
            connection.connect(os.fspath(self.project.socket_path("valkey")))
            # hiredis' hints know commands of one word only.
            packed = [hiredis.pack_command(cast("tuple[str]", tuple(words))) for words in commands]
            connection.sendall(b"".join(packed))
            while len(result) < len(commands):
                if (reply := reader.gets()) is not False:
                    result.append(reply)
                    continue
                more = connection.recv(65536)
                assert more, f"it hung up after {result}"
                reader.feed(more)
        return result


@pytest.fixture(scope="module")
def store() -> Iterator[Store]:
    with projects.create_project(sections="[features]") as project:
        layout.ensure_ownership(project)
        granted, expected = detect_privileges(project), valkey.generate_passwords()
        layout.create_folders(project, granted)
        layout.create_runtime_dir(project, granted)
        sockets.record_service_users(project)
        valkey.write_valkey_acl(project, expected, granted)
        with (valkey.valkey_data_dir(project) / "users.acl").open("a") as rules:
            rules.write(f"user {EXAMINER} on >any ~* +@all\n")
        program = packages.check_installed(project).valkey
        assert program is not None
        child = ManagedProcess(
            name="valkey", service="valkey", argv=valkey.valkey_command(project, program), version="",
            readiness_probe=lambda: valkey.is_valkey_ready(child.own_socket()),
            log_path=project.state_dir / "logs/valkey.log",
            socket=find_server_socket(project, "valkey"),
        )  # fmt: skip
        try:
            child.start(granted.command_for("valkey", child.argv), service_environment(project, "valkey"))
            child.wait_ready(time.monotonic() + 60)
            yield Store(project, expected)
        finally:
            child.stop()
            layout.remove_runtime_dir(project)


def allowed_commands(store: Store, user: str) -> set[str]:
    """Return the commands that a user may run, as the server reports them."""
    (names,) = store.ask(EXAMINER, "COMMAND LIST")
    sizes: dict[str, int] = {}
    for (command_info,) in store.ask(EXAMINER, *(f"COMMAND INFO {name.decode()}" for name in names)):
        # Name, arity, flags ..., and last the subcommands in the same form, named NAME|SUBCOMMAND.
        sizes |= {info[0].decode(): abs(info[1]) for info in command_info[9] or [command_info]}
    words = {name: name.split("|") for name in sizes}
    requests = [
        " ".join(["ACL DRYRUN", user, *words[name], *["1"] * (size - len(words[name]))]) for name, size in sizes.items()
    ]
    output = store.ask(EXAMINER, *requests)
    assert not [reply for reply in output if isinstance(reply, hiredis.ReplyError)]
    return {name for name, reply in zip(sizes, output, strict=True) if reply == b"OK"}


def listed(store: Store, *categories: str) -> set[str]:
    """List the commands of some categories."""
    result = store.ask(EXAMINER, *(f"COMMAND LIST FILTERBY ACLCAT {category}" for category in categories))
    matches = {name.decode() for names in result for name in names}
    assert matches
    return matches


@pytest.mark.live
def test_commands_need_a_login_with_name_and_password(store: Store):
    guesses = [["AUTH", "any"], ["AUTH", "default", "any"], ["AUTH", "default", ""], ["AUTH", "nobody", "any"]]
    guesses += [["AUTH", user, password] for user in store.expected for password in ("", "any")]
    guesses.append(["AUTH", valkey.READER_USER, store.expected[valkey.WRITER_USER]])
    result = store.talk([["PING"], ["HGETALL", "row"], *guesses])
    assert [str(reply).partition(" ")[0] for reply in result] == ["NOAUTH"] * 2 + ["WRONGPASS"] * len(guesses)


@pytest.mark.live
def test_of_all_commands_none_lets_the_api_write(store: Store):
    allowed = allowed_commands(store, valkey.READER_USER)
    assert {"hmget", "hgetall"} <= allowed
    assert not allowed & listed(store, "write", "scripting", "keyspace", "pubsub")
    assert allowed - listed(store, "connection") == {"hmget", "hgetall"}


@pytest.mark.live
@pytest.mark.parametrize("user", [valkey.WRITER_USER, valkey.READER_USER, valkey.PROBE_USER])
def test_of_all_commands_none_lets_a_user_administer_the_server(store: Store, user: str):
    assert not allowed_commands(store, user) & listed(store, "admin", "dangerous")


@pytest.mark.live
def test_the_probe_user_may_run_ping_only(store: Store):
    # The other commands log in or out and are allowed for every user.
    assert allowed_commands(store, valkey.PROBE_USER) - {"auth", "hello", "reset", "quit"} == {"ping"}


@pytest.mark.live
def test_protected_settings_cannot_be_changed_even_with_all_permissions(store: Store):
    result = store.ask(EXAMINER, "CONFIG SET dir /tmp", "DEBUG SLEEP 0", "MODULE LOAD /tmp/x.so")
    assert all(isinstance(reply, hiredis.ReplyError) for reply in result), result


@pytest.mark.live
@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give services users of their own")
@pytest.mark.parametrize("service", ["worker", "api", "enclave", "vendor"])
def test_no_other_service_reads_its_folder(store: Store, service: str):
    granted = detect_privileges(store.project)._replace(closed_folders=False)
    for path in valkey.valkey_data_dir(store.project).rglob("*"):
        read = granted.command_for(service, ["cat", str(path)])
        assert subprocess.run(read, capture_output=True, check=False).stdout == b"", path


def test_the_acl_file_is_private_and_holds_only_hashes():
    with projects.create_project() as project:
        layout.ensure_ownership(project)
        granted, expected = detect_privileges(project), valkey.generate_passwords()
        layout.create_folders(project, granted)
        valkey.write_valkey_acl(project, expected, granted)
        path = valkey.valkey_data_dir(project) / "users.acl"
        assert not [user for user, password in expected.items() if password in path.read_text()]
        assert (path.stat().st_mode & 0o777, path.stat().st_uid) == (0o600, granted.uid_of("valkey"))
        assert len(set(expected.values())) == len(expected) == 2


def test_a_missing_socket_is_not_ready():
    assert not valkey.is_valkey_ready(sockets.own_server(projects.EXAMPLE / "nothing.sock"))
