"""A person is who OpenBao says they are, for one act, with a password and a code that works once."""

from __future__ import annotations

import base64
import json
import re
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from tests.builders.openbao import PASSWORD, Authenticator, keyserver, log_in
from tests.builders.projects import login_with_credential
from tests.builders.recording_step import RecordingStep
from tests.builders.sockets import own_server
from wellspring.embedded import openbao_setup
from wellspring.embedded import users as enrollment
from wellspring.errors import NotFound, Refused, Unavailable
from wellspring.project import Project
from wellspring.runtime.server_sockets import find_server_socket
from wellspring.trust.identity import users
from wellspring.trust.identity.openbao import map_errors, open_client
from wellspring.trust.identity.port import Principal
from wellspring.trust.identity.users import LOGIN_PATH_FILE, login_user, read_login_mount, resume_session

pytestmark = pytest.mark.live
ERROR = "name, password or code is wrong"


@pytest.fixture(scope="module")
def project_value() -> Iterator[Project]:
    with keyserver() as project:
        yield project


class Telephones:
    """Enrols each person the first time that they are asked for."""

    def __init__(self, project_value: Project) -> None:
        self.project = project_value
        self.public: dict[str, bytes] = {}
        self._expected: dict[str, Authenticator] = {}

    def of(self, name: str) -> Authenticator:
        if name not in self._expected:
            with openbao_setup.supervisor_session(self.project) as client:
                built = enrollment.enroll_user(self.project, name, PASSWORD, client=client, step=RecordingStep())
            self._expected[name] = Authenticator(built["otpauth_url"])
            self.public[name] = base64.b64decode(built["public_key"])
        return self._expected[name]

    def login(self, name: str, *, steps: int = 0) -> str:
        return log_in(self.project, name, PASSWORD, self.of(name).code(steps=steps)).token


@pytest.fixture(scope="module")
def phones(project_value: Project) -> Telephones:
    return Telephones(project_value)


def ask(project_value: Project, token: str, method: str, path: str, **values: Any) -> Any:
    client = open_client(find_server_socket(project_value, "openbao"), token)
    try:
        with map_errors(path):
            return client.adapter.request(method, f"/v1/{path}", **({"json": values} if values else {}))
    finally:
        client.adapter.close()


def test_the_user_is_looked_up_in_openbao_and_signs_with_their_own_key(
    project_value: Project, phones: Telephones
) -> None:
    token = phones.login("ana")
    with resume_session(project_value, token) as ana:
        assert ana.principal == Principal("user:ana", ("owner",))
        assert ana.public_key == phones.public["ana"]
        assert ana.key_id == users.public_key_id(ana.public_key)
        signature = ana.sign(b"a note\n")
    Ed25519PublicKey.from_public_bytes(phones.public["ana"]).verify(signature, b"a note\n")


def test_a_code_works_once(project_value: Project, phones: Telephones) -> None:
    phone = phones.of("bo")
    # Of this half minute, and of the next one: clocks differ.
    for code in (phone.code(), phone.code(steps=1)):
        token = log_in(project_value, "bo", PASSWORD, code).token
        with pytest.raises(Refused, match=ERROR):
            log_in(project_value, "bo", PASSWORD, code)
        with resume_session(project_value, token):
            pass


def test_whatever_is_wrong_the_refusal_says_the_same(project_value: Project, phones: Telephones) -> None:
    phone = phones.of("cy")
    output: set[str] = set()
    for name, password, code in (
        ("cy", "not " + PASSWORD, phone.code()),
        ("cy", PASSWORD, f"{(int(phone.code()) + 1) % 10**6:06d}"),
        ("cy", PASSWORD, phone.code(steps=-20)),
        ("cy", PASSWORD, ""),
        ("cy", PASSWORD, " " + phone.code()[1:]),
        ("cy", PASSWORD, phone.code() + "\n"),
        ("cy", PASSWORD, phones.of("ana").code(steps=1)),
        ("nobody", PASSWORD, phone.code()),
        ("../../sys/seal", PASSWORD, phone.code()),
        ("CY", PASSWORD, phone.code()),
    ):
        with pytest.raises(Refused) as refused:
            log_in(project_value, name, password, code)
        output.add(refused.value.what + refused.value.fix)
    assert len(output) == 1
    assert PASSWORD not in output.pop()
    log_in(project_value, "cy", PASSWORD, phone.code())


def test_a_code_of_ten_minutes_ago_is_refused(project_value: Project, phones: Telephones) -> None:
    with pytest.raises(Refused, match=ERROR):
        phones.login("dee", steps=-20)
    with pytest.raises(Refused, match=ERROR):
        phones.login("dee", steps=-3)


def test_a_password_alone_gives_no_token(project_value: Project, phones: Telephones) -> None:
    phones.of("dee")
    answer = ask(project_value, "", "post", f"auth/{read_login_mount(project_value)}/login/dee", password=PASSWORD)[
        "auth"
    ]
    assert answer["client_token"] == ""
    assert answer["policies"] is None


def test_the_token_is_revoked_when_the_act_ends(project_value: Project, phones: Telephones) -> None:
    token = phones.login("eli")
    with resume_session(project_value, token):
        pass
    with pytest.raises(Refused, match="used before"), resume_session(project_value, token):
        pass
    token = phones.login("eli", steps=1)
    with pytest.raises(ZeroDivisionError), resume_session(project_value, token):
        raise ZeroDivisionError
    with pytest.raises(Refused):
        ask(project_value, token, "get", "auth/token/lookup-self")


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("post", "people/sign/ana"),
        ("post", "people/sign/flo/sha2-512"),
        ("get", "people/keys/ana"),
        ("get", "people/keys"),
        ("post", "people/keys/flo/config"),
        ("post", "people/keys/flo/rotate"),
        ("post", "transit/sign/ledger"),
        ("post", "auth/{mount}/users/flo/password"),
        ("get", "auth/{mount}/users/flo"),
        ("post", "auth/token/create"),
        ("post", "auth/token/renew-self"),
        ("post", "identity/mfa/method/totp/admin-generate"),
        ("get", "secret/data/enclave/postgres"),
        ("get", "sys/policies/acl/person"),
    ],
)
def test_a_person_may_sign_as_themselves_and_nothing_else(
    project_value: Project, phones: Telephones, method: str, path: str, flos: str
) -> None:
    path = path.format(mount=read_login_mount(project_value))
    with pytest.raises(Refused):
        ask(project_value, flos, method, path, **({"input": "eA=="} if method == "post" else {}))


@pytest.fixture(scope="module")
def flos(project_value: Project, phones: Telephones) -> str:
    # Her key is there: it is the policy that refuses it to flo.
    phones.of("ana")
    return phones.login("flo")


def test_a_persons_token_lives_a_minute_and_has_one_policy(project_value: Project, flos: str) -> None:
    matches = ask(project_value, flos, "get", "auth/token/lookup-self")["data"]
    assert matches["policies"] == ["user"]
    assert (matches["creation_ttl"], matches["type"]) == (60, "service")
    assert 0 < matches["ttl"] <= 60


SERVICE_ROLES = ["worker", "enclave", "api", "sequencer", "dispatcher"]


@pytest.mark.parametrize("role", SERVICE_ROLES)
def test_a_service_cannot_find_the_login_of_users(project_value: Project, role: str) -> None:
    mount = read_login_mount(project_value)
    session = login_with_credential(project_value, openbao_setup.issue_secret_id(project_value, role))
    for token in (session.client.token, ""):
        for path in ("sys/internal/ui/mounts", "sys/auth", "sys/internal/specs/openapi", "sys/locked-users"):
            try:
                assert mount not in json.dumps(ask(project_value, token, "get", path))
            except (Refused, NotFound):
                continue
    session.close()


def test_guesses_of_a_service_lock_nobody_out_and_those_of_the_owner_lock_one_name_for_a_minute(
    project_value: Project, phones: Telephones
) -> None:
    phone = phones.of("ivy")
    for mount in ("userpass", "users", f"users-{'0' * 32}"):
        for _ in range(8):
            with pytest.raises((Refused, NotFound)):
                ask(project_value, "", "post", f"auth/{mount}/login/ivy", password="a guess of a service")
    log_in(project_value, "ivy", PASSWORD, phone.code())
    for _ in range(6):
        with pytest.raises(Refused, match=ERROR):
            log_in(project_value, "ivy", "a guess of the owner", phone.code())
    with pytest.raises(Refused, match=ERROR):
        log_in(project_value, "ivy", PASSWORD, phone.code(steps=1))
    # Another name is not locked.
    phones.login("jo")


def test_a_locked_name_is_free_after_its_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(enrollment.LOCKOUT, "lockout_duration", "3s")
    with keyserver() as project:
        phone = Telephones(project).of("ana")
        for _ in range(6):
            with pytest.raises(Refused):
                log_in(project, "ana", "a guess of the owner", phone.code())
        with pytest.raises(Refused):
            log_in(project, "ana", PASSWORD, phone.code())
        pause, deadline = threading.Event(), time.monotonic() + 30
        while True:
            try:
                log_in(project, "ana", PASSWORD, phone.code())
                break
            except Refused:
                assert time.monotonic() < deadline
                pause.wait(0.5)


def test_only_the_owner_reads_where_users_log_in(project_value: Project) -> None:
    path = project_value.state_dir / LOGIN_PATH_FILE
    assert path.stat().st_mode & 0o777 == 0o600
    assert re.fullmatch(r"users-[0-9a-f]{32}\n", path.read_text())
    without = project_value.model_copy(update={"root": project_value.root / "contracts"})
    with pytest.raises(Unavailable, match="no user of this project can log in"):
        read_login_mount(without)


def test_service_login_and_unknown_token_are_refused(project_value: Project) -> None:
    session = login_with_credential(project_value, openbao_setup.issue_secret_id(project_value, "worker"))
    with pytest.raises(Refused, match="does not belong to a user"), resume_session(project_value, session.client.token):
        pass
    session.close()
    with pytest.raises(Refused, match="used before"), resume_session(project_value, "s.madeup"):
        pass


def test_a_removed_user_cannot_act(project_value: Project, phones: Telephones) -> None:
    token = phones.login("gus")
    without = project_value.model_copy(
        update={"users": {name: item for name, item in project_value.users.items() if name != "gus"}}
    )
    with pytest.raises(Refused, match="has no \\[users"), resume_session(without, token):
        pass
    with pytest.raises(Refused, match="used before"), resume_session(project_value, token):
        pass


def test_no_server_is_unavailable(project_value: Project) -> None:
    with pytest.raises(Unavailable):
        login_user(own_server(project_value.runtime_dir / "nobody.sock"), "ana", PASSWORD, "000000", mount="users-0")


def test_a_token_is_not_shown_and_nothing_of_a_login_stands_in_a_file(
    project_value: Project, phones: Telephones
) -> None:
    token = log_in(project_value, "hal", PASSWORD, phones.of("hal").code())
    assert token.token not in repr(token)
    with resume_session(project_value, token.token):
        pass
    for path in project_value.root.rglob("*"):
        if path.is_file():
            content = path.read_bytes()
            assert PASSWORD.encode() not in content, path
            assert token.token.encode() not in content, path
