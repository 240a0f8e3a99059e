"""people list | enrol, and how a person logs in at a terminal: name, password, code; never by a flag."""

from __future__ import annotations

import sys
from contextlib import suppress
from typing import Any

import click

from wellspring.cli.context import CliContext, LazyGroup
from wellspring.cli.render import render_table
from wellspring.project import Project


@click.group(cls=LazyGroup)
def users() -> None:
    """Who may log in: named in wellspring.toml, enrolled once, asked for password and code at each act."""


@users.command("list")
@click.pass_obj
def list_users(ctx: CliContext) -> int:
    """List the people of this project, their roles, and who is enrolled."""
    from wellspring.cli.worker_client import run_worker
    from wellspring.embedded.openbao_setup import is_bootstrap_complete

    project = ctx.load_project()
    # Before the first `up` there is nobody who could have enrolled anybody, and no ledger to ask.
    enrolled = set(run_worker(project, "enrolled", offline=True)) if is_bootstrap_complete(project) else set[str]()
    rows = [(name, ", ".join(item.roles), name in enrolled) for name, item in project.users.items()]
    ctx.echo(
        render_table(("name", "roles", "enrolled"), rows) if rows else "wellspring.toml names nobody under [users]"
    )
    unenrolled = next((name for name, _, known in rows if not known), None)
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
    """Enrol NAME: the person chooses a password at this terminal, and takes down an authenticator's key, shown once."""
    from wellspring.cli.worker_client import run_worker
    from wellspring.embedded import users as enrollment
    from wellspring.errors import Unavailable

    project = ctx.load_project()
    enrollment.find_user_settings(project, name)
    require_terminal()
    # Nobody chooses a password that nothing will take: the servers must be up, and the person new.
    if project.read_run_state() is None:
        raise Unavailable("the servers of this project are not running", fix="run `wellspring up`")
    # While another run holds the ledger the supervisor alone says who is enrolled already.
    with suppress(Unavailable):
        if name in run_worker(project, "enrolled"):
            raise enrollment.already_enrolled(name)
    password = click.prompt("password", hide_input=True, confirmation_prompt="again")
    enrolled: dict[str, Any] = enrollment.request_enrollment(project, name, str(password))
    ctx.echo(f"{name} is enrolled; for the authenticator, shown this once:")
    ctx.echo(str(enrolled["otpauth_url"]))
    ctx.print_result({"name": name, **enrolled}, next_command="wellspring users list")
    return 0


def log_in(project: Project) -> str:
    """Ask who is there and log in to OpenBao as that person; returns a token for one act, which the act revokes.

    Raises Refused where there is no terminal, and for a wrong password or code.
    """
    from wellspring.trust.identity import users as identity

    require_terminal()
    name = click.prompt("name", err=True)
    password = click.prompt("password", hide_input=True, err=True)
    code = click.prompt("code", hide_input=True, err=True)
    return identity.login_user(project.socket_path("openbao"), str(name), str(password), str(code)).token


def require_terminal() -> None:
    """Raise Refused unless somebody sits at a terminal: no flag, file or variable names a person."""
    from wellspring.errors import Refused

    if not sys.stdin.isatty():
        raise Refused(
            "a person logs in at a terminal, and there is none",
            fix="run this command yourself, in a shell: no flag, file or variable names a person",
        )
