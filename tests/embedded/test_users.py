"""Enrollment happens once per user, and the supervisor cannot change an enrolled user. Uses the real OpenBao."""

from __future__ import annotations

import base64
import json
import threading
from collections.abc import Iterator
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from tests.builders.openbao import PASSWORD, Authenticator, in_mode, keyserver, log_in
from tests.builders.recording_step import RecordingStep
from wellspring.embedded import openbao_setup, users
from wellspring.embedded.control_socket import ControlSocket
from wellspring.errors import NotFound, ProjectError, Refused
from wellspring.observe.refusal_log import RefusalLog
from wellspring.project import Project
from wellspring.runtime.privileges import detect_privileges
from wellspring.runtime.server_sockets import find_server_socket
from wellspring.trust.identity.openbao import map_errors
from wellspring.trust.identity.users import (
    LOGIN_PATH_FILE,
    login_development_user,
    read_login_mount,
    resume_session,
)

pytestmark = pytest.mark.live
USER = {
    "password": PASSWORD, "token_policies": "user", "token_no_default_policy": True, "token_ttl": "60s",
    "token_max_ttl": "60s", "token_type": "service",
}  # fmt: skip


@pytest.fixture(scope="module")
def project() -> Iterator[Project]:
    # With the login of development, too: what the supervisor may do there must not reach the users of the other one.
    with keyserver("development") as project:
        yield in_mode(project, "governed")


@pytest.fixture
def client(project: Project) -> Iterator[Any]:
    with openbao_setup.supervisor_session(project) as session_client:
        yield session_client


def ask(client: Any, method: str, path: str, **values: Any) -> Any:
    with map_errors(path):
        return client.adapter.request(method, f"/v1/{path}", **({"json": values} if values else {}))


def test_an_enrolled_user_can_log_in_and_sign_with_the_recorded_key(project: Project, client: Any) -> None:
    step = RecordingStep()
    built = users.enroll_user(project, "ana", PASSWORD, client=client, step=step)
    intent, entry = step.entries
    assert (intent.phase, entry.phase, entry.action, entry.subject) == ("intent", "done", "enroll", "user:ana")
    assert entry.facts == {"roles": ["owner"], "principal": "owner", "public_key": built["public_key"]}
    result = json.dumps([item.model_dump(mode="json") for item in step.entries])
    assert PASSWORD not in result
    assert built["otpauth_url"].partition("secret=")[2][:20] not in result
    phone = Authenticator(built["otpauth_url"])
    assert "otpauth://totp/health_plan%3Aana?" in built["otpauth_url"]
    token = log_in(project, "ana", PASSWORD, phone.code()).token
    with resume_session(project, token) as session:
        Ed25519PublicKey.from_public_bytes(base64.b64decode(built["public_key"])).verify(session.sign(b"x"), b"x")


def test_enrolling_twice_changes_nothing(project: Project, client: Any) -> None:
    step = RecordingStep()
    built = users.enroll_user(project, "bo", PASSWORD, client=client, step=step)
    for password in (PASSWORD, "somebody else's idea of one"):
        with pytest.raises(Refused, match="already enrolled"):
            users.enroll_user(project, "bo", password, client=client, step=step)
    assert [entry.phase for entry in step.entries] == ["intent", "done", "intent", "refused", "intent", "refused"]
    token = log_in(project, "bo", PASSWORD, Authenticator(built["otpauth_url"]).code()).token
    with resume_session(project, token) as session:
        assert base64.b64encode(session.public_key).decode() == built["public_key"]


def test_an_interrupted_enrollment_can_be_finished_with_the_same_password_only(project: Project, client: Any) -> None:
    ask(client, "post", f"auth/{read_login_mount(project)}/users/cy", **USER)
    with pytest.raises(Refused, match="already enrolled"):
        users.enroll_user(project, "cy", "another good password", client=client, step=RecordingStep())
    built = users.enroll_user(project, "cy", PASSWORD, client=client, step=RecordingStep())
    log_in(project, "cy", PASSWORD, Authenticator(built["otpauth_url"]).code())


def test_only_users_of_the_project_are_enrolled(project: Project, client: Any) -> None:
    step = RecordingStep()
    with pytest.raises(NotFound, match="has no user"):
        users.enroll_user(project, "an", PASSWORD, client=client, step=step)
    assert step.entries == []
    (project.root / "wellspring.toml").write_text(
        (project.root / "wellspring.toml").read_text()
        + '\n[users."Ann Smith"]\nroles = []\n\n[users.new]\nroles = ["x"]\n'
    )
    with pytest.raises(ProjectError, match="lower-case"):
        users.enroll_user(project, "Ann Smith", PASSWORD, client=client, step=step)
    # Added to wellspring.toml since the servers were started.
    users.enroll_user(project, "new", PASSWORD, client=client, step=step)
    assert step.done("enroll")[0].facts["roles"] == ["x"]


@pytest.mark.parametrize("password", ["", "elevenchars", "aaaaaaaaaaaaaaaa", "abababababababab"])
def test_a_weak_password_is_refused_before_anything_is_created(project: Project, client: Any, password: str) -> None:
    step = RecordingStep()
    with pytest.raises(Refused, match="12 characters"):
        users.enroll_user(project, "dee", password, client=client, step=step)
    with pytest.raises(Refused, match="12 characters"):
        users.request_enrollment(project, "dee", password)
    assert step.entries == []


@pytest.mark.parametrize(
    ("method", "path", "values"),
    [
        ("post", "auth/{mount}/users/eli", {**USER, "token_policies": "enclave"}),
        ("post", "auth/{mount}/users/eli", {**USER, "token_policies": "user,enclave"}),
        ("post", "auth/{mount}/users/eli", {**USER, "token_ttl": "1h"}),
        ("post", "auth/{mount}/users/eli", {**USER, "token_no_default_policy": False}),
        ("post", "auth/{mount}/users/eli", {**USER, "token_period": "1h"}),
        ("post", "auth/{mount}/users/eli", {"password": PASSWORD}),
        ("post", "auth/{mount}/users/ana", {**USER, "password": "another good password"}),
        ("post", "auth/{mount}/users/ana/password", {"password": "another good password"}),
        ("post", "auth/{mount}/users/ana/policies", {"token_policies": "enclave"}),
        ("delete", "auth/{mount}/users/ana", {}),
        ("get", "auth/{mount}/users/ana", {}),
        ("post", "users/keys/ana/rotate", {"type": "ed25519"}),
        ("post", "users/keys/ana/config", {"type": "ed25519"}),
        ("post", "users/keys/eli/import", {"type": "ed25519"}),
        ("post", "users/keys/eli", {"type": "ed25519", "exportable": True}),
        ("delete", "users/keys/ana", {}),
        ("post", "users/sign/ana", {"input": "eA=="}),
        ("get", "users/export/signing-key/ana", {}),
        ("post", "identity/mfa/method/totp/admin-destroy", {"method_id": "x", "entity_id": "x"}),
        ("post", "identity/mfa/method/totp", {"method_name": "user"}),
        ("delete", "identity/mfa/login-enforcement/users", {}),
        ("post", "identity/entity-alias", {"name": "ana"}),
        ("post", "sys/policies/acl/user", {"policy": "x"}),
        ("delete", "sys/auth/{mount}", {}),
        ("post", "development/sign/ana", {"input": "eA=="}),
    ],
)
def test_the_supervisor_can_create_users_and_change_none(
    project: Project, client: Any, method: str, path: str, values: dict[str, Any]
) -> None:
    with pytest.raises(Refused):
        ask(client, method, path.format(mount=read_login_mount(project)), **values)


def test_a_totp_secret_is_returned_once(project: Project, client: Any) -> None:
    users.enroll_user(project, "hal", PASSWORD, client=client, step=RecordingStep())
    mounted = ask(client, "get", f"sys/internal/ui/mounts/auth/{read_login_mount(project)}")["data"]
    entity = ask(client, "post", "identity/lookup/entity", alias_name="hal", alias_mount_accessor=mounted["accessor"])[
        "data"
    ]
    assert "secret" not in json.dumps(entity)
    requirement = ask(client, "post", f"auth/{read_login_mount(project)}/login/hal", password=PASSWORD)["auth"][
        "mfa_requirement"
    ]
    method = requirement["mfa_constraints"]["users"]["any"][0]["id"]
    again = ask(client, "post", "identity/mfa/method/totp/admin-generate", method_id=method, entity_id=entity["id"])
    assert again["data"] is None


def test_the_owner_enrolls_through_the_control_socket(project: Project) -> None:
    step = RecordingStep()

    def handle(request: dict[str, Any]) -> dict[str, Any]:
        assert set(request) == {"op", "name", "password", "bootstrap_code", "trace"}
        with openbao_setup.supervisor_session(project) as client:
            return users.enroll_user(project, request["name"], request["password"], client=client, step=step)

    control = ControlSocket(project.socket_path("control"), handle, on_refusal=lambda *_: None)
    server_thread = threading.Thread(target=lambda: [control.serve_one() for _ in range(2)])
    server_thread.start()
    try:
        built = users.request_enrollment(project, "gus", PASSWORD)
        with pytest.raises(Refused, match="already enrolled"):
            users.request_enrollment(project, "gus", PASSWORD)
    finally:
        server_thread.join(60)
        control.close()
    log_in(project, "gus", PASSWORD, Authenticator(built["otpauth_url"]).code())
    assert step.done("enroll")[0].facts["public_key"] == built["public_key"]
    with pytest.raises(NotFound, match="has no user") as lost:
        users.request_enrollment(project, "guss", PASSWORD)
    assert lost.value.fix == "did you mean 'gus'?"


def test_a_user_of_development_signs_with_another_key_until_their_login_is_removed(
    project: Project, client: Any
) -> None:
    development = in_mode(project, "development")
    step = RecordingStep()
    built = users.enroll_user(development, "ivy", PASSWORD, client=client, step=step)
    assert built["otpauth_url"] == ""
    assert step.done("enroll")[0].facts["mode"] == "development"
    # An interrupted enrollment is repeated with the same password, and with no other.
    assert users.enroll_user(development, "ivy", PASSWORD, client=client, step=step) == built
    with pytest.raises(Refused, match="already enrolled"):
        users.enroll_user(development, "ivy", "another good password", client=client, step=step)
    server, mount = find_server_socket(project, "openbao"), read_login_mount(development)
    for name, password in (("ivy", "another good password"), ("Ivy", PASSWORD), ("nobody", PASSWORD)):
        with pytest.raises(Refused, match="is wrong"):
            login_development_user(server, name, password, mount=mount)
    token = login_development_user(server, "ivy", PASSWORD, mount=mount).token
    with pytest.raises(Refused, match="does not belong to a user"), resume_session(project, token):
        pass
    token = login_development_user(server, "ivy", PASSWORD, mount=mount).token
    with resume_session(development, token) as session:
        Ed25519PublicKey.from_public_bytes(base64.b64decode(built["public_key"])).verify(session.sign(b"x"), b"x")
    governed = users.enroll_user(project, "ivy", PASSWORD, client=client, step=step)
    assert governed["public_key"] != built["public_key"]

    lines = (project.state_dir / LOGIN_PATH_FILE).read_bytes()
    for _ in range(2):
        # A start after a crash removes it again.
        (project.state_dir / LOGIN_PATH_FILE).write_bytes(lines)
        users.remove_development_login(development, client, detect_privileges(project))
    with pytest.raises(Refused, match="is wrong"):
        login_development_user(server, "ivy", PASSWORD, mount=mount)
    with pytest.raises(Refused, match="has no login without a code"):
        read_login_mount(development)
    assert f"{read_login_mount(project)}\n".encode() == (project.state_dir / LOGIN_PATH_FILE).read_bytes()


def test_act_that_a_command_refused_is_recorded_by_the_supervisor() -> None:
    step = RecordingStep()
    for _ in range(2):
        users.record_refused_user("enroll", "ann", RefusalLog(step))
    assert [(entry.action, entry.phase, entry.subject) for entry in step.entries] == [
        ("enroll", "refused", "user:ann")
    ] * 2
    for act, name in (("approve", "ann"), ("enroll", "Ann Smith")):
        with pytest.raises(Refused, match="the name of a user"):
            users.record_refused_user(act, name, RefusalLog(step))
