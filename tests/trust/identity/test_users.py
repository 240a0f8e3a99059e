"""A person is who OpenBao says they are, for one act, with a password and a code that works once."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from tests.builders.openbao import PASSWORD, Authenticator, keyserver
from tests.builders.recording_step import RecordingStep
from wellspring.embedded import openbao_setup
from wellspring.embedded import users as enrollment
from wellspring.errors import Refused, Unavailable
from wellspring.project import Project
from wellspring.trust.identity import openbao as services
from wellspring.trust.identity import users
from wellspring.trust.identity.openbao import map_errors, open_client
from wellspring.trust.identity.port import Principal
from wellspring.trust.identity.users import login_user, resume_session

pytestmark = pytest.mark.live
WRONG = "name, password or code is wrong"


@pytest.fixture(scope="module")
def here() -> Iterator[Project]:
    with keyserver() as project:
        yield project


class Telephones:
    """Enrols each person the first time that they are asked for."""

    def __init__(self, here: Project) -> None:
        self.here = here
        self.public: dict[str, bytes] = {}
        self._known: dict[str, Authenticator] = {}

    def of(self, name: str) -> Authenticator:
        if name not in self._known:
            with openbao_setup.supervisor_session(self.here) as client:
                made = enrollment.enroll_user(self.here, name, PASSWORD, client=client, step=RecordingStep())
            self._known[name] = Authenticator(made["otpauth_url"])
            self.public[name] = base64.b64decode(made["public_key"])
        return self._known[name]

    def login(self, name: str, *, steps: int = 0) -> str:
        return login_user(self.here.socket_path("openbao"), name, PASSWORD, self.of(name).code(steps=steps)).token


@pytest.fixture(scope="module")
def phones(here: Project) -> Telephones:
    return Telephones(here)


def ask(here: Project, token: str, method: str, path: str, **values: Any) -> Any:
    client = open_client(here.socket_path("openbao"), token)
    try:
        with map_errors(path):
            return client.adapter.request(method, f"/v1/{path}", **({"json": values} if values else {}))
    finally:
        client.adapter.close()


def test_who_logs_in_is_told_by_openbao_and_signs_with_their_own_key(here: Project, phones: Telephones) -> None:
    token = phones.login("ana")
    with resume_session(here, token) as ana:
        assert ana.principal == Principal("user:ana", ("owner",))
        assert ana.public_key == phones.public["ana"]
        assert ana.key_id == users.public_key_id(ana.public_key)
        signature = ana.sign(b"a note\n")
    Ed25519PublicKey.from_public_bytes(phones.public["ana"]).verify(signature, b"a note\n")


def test_a_code_works_once(here: Project, phones: Telephones) -> None:
    socket, phone = here.socket_path("openbao"), phones.of("bo")
    # Of this half minute, and of the next one: clocks differ.
    for code in (phone.code(), phone.code(steps=1)):
        token = login_user(socket, "bo", PASSWORD, code).token
        with pytest.raises(Refused, match=WRONG):
            login_user(socket, "bo", PASSWORD, code)
        with resume_session(here, token):
            pass


def test_whatever_is_wrong_the_refusal_says_the_same(here: Project, phones: Telephones) -> None:
    socket, phone = here.socket_path("openbao"), phones.of("cy")
    said: set[str] = set()
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
            login_user(socket, name, password, code)
        said.add(refused.value.what + refused.value.fix)
    assert len(said) == 1
    assert PASSWORD not in said.pop()
    login_user(socket, "cy", PASSWORD, phone.code())


def test_a_code_of_ten_minutes_ago_is_refused(here: Project, phones: Telephones) -> None:
    with pytest.raises(Refused, match=WRONG):
        phones.login("dee", steps=-20)
    with pytest.raises(Refused, match=WRONG):
        phones.login("dee", steps=-3)


def test_a_password_alone_gives_no_token(here: Project, phones: Telephones) -> None:
    phones.of("dee")
    answer = ask(here, "", "post", "auth/userpass/login/dee", password=PASSWORD)["auth"]
    assert answer["client_token"] == ""
    assert answer["policies"] is None


def test_the_token_is_revoked_when_the_act_ends(here: Project, phones: Telephones) -> None:
    token = phones.login("eli")
    with resume_session(here, token):
        pass
    with pytest.raises(Refused, match="spent"), resume_session(here, token):
        pass
    token = phones.login("eli", steps=1)
    with pytest.raises(ZeroDivisionError), resume_session(here, token):
        raise ZeroDivisionError
    with pytest.raises(Refused):
        ask(here, token, "get", "auth/token/lookup-self")
    # Where no act ever used it, or after one did: the terminal ends it too, and twice is once.
    token = phones.login("ana", steps=1)
    for _ in range(2):
        users.revoke_token(here.socket_path("openbao"), token)
        with pytest.raises(Refused, match="spent"), resume_session(here, token):
            pass
    users.revoke_token(here.root / "nobody-is-there.sock", token)


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
        ("post", "auth/userpass/users/flo/password"),
        ("get", "auth/userpass/users/flo"),
        ("post", "auth/token/create"),
        ("post", "auth/token/renew-self"),
        ("post", "identity/mfa/method/totp/admin-generate"),
        ("get", "secret/data/enclave/postgres"),
        ("get", "sys/policies/acl/person"),
    ],
)
def test_a_person_may_sign_as_themselves_and_nothing_else(
    here: Project, phones: Telephones, method: str, path: str, flos: str
) -> None:
    with pytest.raises(Refused):
        ask(here, flos, method, path, **({"input": "eA=="} if method == "post" else {}))


@pytest.fixture(scope="module")
def flos(here: Project, phones: Telephones) -> str:
    # Her key is there: it is the policy that refuses it to flo.
    phones.of("ana")
    return phones.login("flo")


def test_a_persons_token_lives_a_minute_and_has_one_policy(here: Project, flos: str) -> None:
    found = ask(here, flos, "get", "auth/token/lookup-self")["data"]
    assert found["policies"] == ["user"]
    assert (found["creation_ttl"], found["type"]) == (60, "service")
    assert 0 < found["ttl"] <= 60


def test_a_login_that_is_no_persons_is_refused(here: Project) -> None:
    session = services.login_service(here.socket_path("openbao"), **openbao_setup.issue_secret_id(here, "worker"))
    with pytest.raises(Refused, match="no person's"), resume_session(here, session.client.token):
        pass
    session.close()
    with pytest.raises(Refused, match="spent"), resume_session(here, "s.madeup"):
        pass


def test_who_is_not_named_any_more_may_not_act(here: Project, phones: Telephones) -> None:
    token = phones.login("gus")
    without = here.model_copy(update={"users": {name: item for name, item in here.users.items() if name != "gus"}})
    with pytest.raises(Refused, match="names nobody"), resume_session(without, token):
        pass
    with pytest.raises(Refused, match="spent"), resume_session(here, token):
        pass


def test_no_server_is_unavailable(here: Project) -> None:
    with pytest.raises(Unavailable):
        login_user(here.runtime_dir / "nobody.sock", "ana", PASSWORD, "000000")


def test_a_token_is_not_shown_and_nothing_of_a_login_stands_in_a_file(here: Project, phones: Telephones) -> None:
    token = login_user(here.socket_path("openbao"), "hal", PASSWORD, phones.of("hal").code())
    assert token.token not in repr(token)
    with resume_session(here, token.token):
        pass
    for path in here.root.rglob("*"):
        if path.is_file():
            content = path.read_bytes()
            assert PASSWORD.encode() not in content, path
            assert token.token.encode() not in content, path
