"""people list | enrol, and how a person logs in at a terminal: name, password, code; never by a flag."""

from __future__ import annotations

import sys
from contextlib import suppress
from typing import Any

import click

from wellspring.cli.door import Door, WellspringGroup
from wellspring.cli.show import table
from wellspring.project import Project


@click.group(cls=WellspringGroup)
def people() -> None:
    """Who may log in: named in wellspring.toml, enrolled once, asked for password and code at each act."""


@people.command("list")
@click.pass_obj
def list_(door: Door) -> int:
    """List the people of this project, their roles, and who is enrolled."""
    from wellspring.cli.follow import follow
    from wellspring.servers.bootstrap import is_done

    here = door.project()
    # Before the first `up` there is nobody who could have enrolled anybody, and no ledger to ask.
    enrolled = set(follow(here, "enrolled", offline=True)) if is_done(here) else set[str]()
    rows = [(name, ", ".join(each.roles), name in enrolled) for name, each in here.people.items()]
    door.say(table(("name", "roles", "enrolled"), rows) if rows else "wellspring.toml names nobody under [people]")
    left = next((name for name, _, known in rows if not known), None)
    document = [{"name": name, "roles": list(here.people[name].roles), "enrolled": known} for name, _, known in rows]
    door.answer(document, next_command=f"wellspring people enrol {left}" if left else "wellspring release list")
    return 0


@people.command()
@click.argument("name")
@click.pass_obj
def enrol(door: Door, name: str) -> int:
    """Enrol NAME: the person chooses a password at this terminal, and takes down an authenticator's key, shown once."""
    from wellspring.cli.follow import follow
    from wellspring.errors import Unavailable
    from wellspring.servers import people as enrolment

    here = door.project()
    enrolment.named(here, name)
    require_terminal()
    # Nobody chooses a password that nothing will take: the servers must be up, and the person new.
    if here.running() is None:
        raise Unavailable("the servers of this project are not running", fix="run `wellspring up`")
    # While another run holds the ledger the supervisor alone says who is enrolled already.
    with suppress(Unavailable):
        if name in follow(here, "enrolled"):
            raise enrolment.again(name)
    password = click.prompt("password", hide_input=True, confirmation_prompt="again")
    enrolled: dict[str, Any] = enrolment.enrol(here, name, str(password))
    door.say(f"{name} is enrolled; for the authenticator, shown this once:")
    door.say(str(enrolled["otpauth_url"]))
    door.answer({"name": name, **enrolled}, next_command="wellspring people list")
    return 0


def log_in(here: Project) -> str:
    """Ask who is there and log in to OpenBao as that person; returns a token for one act, which the act revokes.

    Raises Refused where there is no terminal, and for a wrong password or code.
    """
    from wellspring.trust.identity import people as identity

    require_terminal()
    name = click.prompt("name", err=True)
    password = click.prompt("password", hide_input=True, err=True)
    code = click.prompt("code", hide_input=True, err=True)
    return identity.login(here.socket("openbao"), str(name), str(password), str(code)).token


def require_terminal() -> None:
    """Raise Refused unless somebody sits at a terminal: no flag, file or variable names a person."""
    from wellspring.errors import Refused

    if not sys.stdin.isatty():
        raise Refused(
            "a person logs in at a terminal, and there is none",
            fix="run this command yourself, in a shell: no flag, file or variable names a person",
        )
