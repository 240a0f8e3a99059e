"""The `users` commands, and the login of a user at a terminal: name, password and code, never by option.

In development, without a code.
"""

from __future__ import annotations

import sys
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import click

from wellspring.cli.context import CliContext, LazyGroup
from wellspring.cli.trace import get_command_trace
from wellspring.project import Project
from wellspring.runtime.run_state import read_run_state

if TYPE_CHECKING:
    from collections.abc import Sequence

    from wellspring.records.user_notes import NoteKind, UserNote


@click.group(cls=LazyGroup)
def users() -> None:
    """List and enroll the users that wellspring.toml names; each action asks for their password and code."""


@users.command("list")
@click.pass_obj
def list_users(ctx: CliContext) -> int:
    """List the users of this project, their roles, and whether each is enrolled."""
    from wellspring.cli.worker_client import run_worker
    from wellspring.embedded.openbao_setup import is_bootstrap_complete

    project = ctx.load_project()
    # Before the first `up` no ledger exists, so no user is enrolled.
    enrolled = set(run_worker(project, "enrolled", offline=True)) if is_bootstrap_complete(project) else set[str]()
    rows = [(name, ", ".join(settings.roles), name in enrolled) for name, settings in project.users.items()]
    if rows:
        ctx.echo_table(("name", "roles", "enrolled"), rows)
    else:
        ctx.echo("wellspring.toml has no [users] section")
    unenrolled = next((name for name, _, is_enrolled in rows if not is_enrolled), None)
    document = [
        {"name": name, "roles": list(project.users[name].roles), "enrolled": is_enrolled}
        for name, _, is_enrolled in rows
    ]
    ctx.print_result(
        document, next_command=f"wellspring users enroll {unenrolled}" if unenrolled else "wellspring release list"
    )
    return 0


@users.command()
@click.argument("name")
@click.pass_obj
def enroll(ctx: CliContext, name: str) -> int:
    """Enroll NAME: the user sets a password at this terminal and stores the authenticator key, which is shown once.

    The first user of a governed project types the code that `up` printed. In development, without an authenticator.
    """
    from wellspring.cli.worker_client import run_worker
    from wellspring.embedded import users as enrollment
    from wellspring.errors import Unavailable

    project = ctx.load_project()
    enrollment.find_user_settings(project, name)
    require_terminal()
    # Check before the password prompt: the servers must be up, and the user not yet enrolled.
    if read_run_state(project) is None:
        raise Unavailable("the servers of this project are not running", fix="run `wellspring up`")
    enrolled_names: list[str] = []
    # While the log cannot be read, only the supervisor checks for an earlier enrollment.
    with suppress(Unavailable):
        enrolled_names = run_worker(project, "enrolled")
    if name in enrolled_names:
        enrollment.report_refusal(project, "enroll", name)
        raise enrollment.already_enrolled(name)
    is_development = project.project.mode == "development"
    needs_code = not enrolled_names and not is_development
    code = click.prompt("code that `up` printed", err=True) if needs_code else ""
    password = click.prompt("password", hide_input=True, confirmation_prompt="again")
    enrolled: dict[str, Any] = enrollment.request_enrollment(
        project, name, str(password), bootstrap_code=str(code), trace=get_command_trace()
    )
    if is_development:
        ctx.echo(f"{name} is enrolled, in development: without an authenticator")
    else:
        ctx.echo(f"{name} is enrolled; the authenticator URL, shown only once:")
        ctx.echo(str(enrolled["otpauth_url"]))
    ctx.print_result({"name": name, **enrolled}, next_command="wellspring users list")
    return 0


def sign_as_user(project: Project, kind: NoteKind, *lines: str) -> UserNote:
    """Prompt for name, password and code, log in to OpenBao, sign the note of an act, and revoke the login's token.

    In development, without a code.
    Raises Refused without a terminal, and for a wrong password or code.
    """
    return sign_notes_as_user(project, [(kind, lines)])[0]


def sign_notes_as_user(project: Project, unsigned: Sequence[tuple[NoteKind, tuple[str, ...]]]) -> list[UserNote]:
    """Sign several notes in one login, as `sign_as_user` does. unsigned: kind and lines of each."""
    from wellspring.embedded import users as enrollment
    from wellspring.runtime.server_sockets import find_server_socket
    from wellspring.trust import user_notes
    from wellspring.trust.identity import users as identity

    require_terminal()
    server, mount = find_server_socket(project, "openbao"), identity.read_login_mount(project)
    name = click.prompt("name", err=True)
    password = click.prompt("password", hide_input=True, err=True)
    if project.project.mode == "development":
        token = identity.login_development_user(server, str(name), str(password), mount=mount).token
    else:
        code = click.prompt("code", hide_input=True, err=True)
        token = identity.login_user(server, str(name), str(password), str(code), mount=mount).token
    if name not in project.users:
        # A removed user still has a password; the session refuses the act.
        enrollment.report_refusal(project, "sign", str(name))
    with identity.resume_session(project, token) as user:
        return [user_notes.sign_note(user, kind, *lines) for kind, lines in unsigned]


def require_terminal() -> None:
    """Raise Refused if standard input is not a terminal: no option, file or variable replaces a login."""
    from wellspring.errors import Refused

    if not sys.stdin.isatty():
        raise Refused(
            "a login needs a terminal, and standard input is not a terminal",
            fix="run this command in an interactive shell; no option, file or variable replaces the login",
        )
