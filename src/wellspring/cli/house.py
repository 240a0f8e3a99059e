"""up, down, status, doctor, clean: the embedded servers of one project."""

from __future__ import annotations

import sys

import click

from wellspring.cli.door import Door
from wellspring.cli.show import age, table


@click.command()
@click.pass_obj
def up(door: Door) -> int:
    """Start the servers of this project; returns when every probe is green. A second `up` is harmless."""
    from wellspring.servers import supervisor

    running = supervisor.up(door.project(), progress=lambda line: door.say(f"  {line}"))
    door.say(f"up: {', '.join(running.servers)}")
    door.say(_separation(running.separation, running.why))
    door.answer(running.model_dump(mode="json"), next_command="wellspring receive")
    return 0


@click.command()
@click.pass_obj
def down(door: Door) -> int:
    """Stop the servers of this project. Data stays."""
    from wellspring.servers import supervisor

    stopped = supervisor.down(door.project())
    door.say("stopped" if stopped else "nothing was running")
    door.answer({"stopped": bool(stopped)}, next_command="wellspring up")
    return 0


@click.command()
@click.argument("server")
@click.pass_obj
def restart(door: Door, server: str) -> int:
    """Stop one server and start it again; the others stay up."""
    from wellspring.servers import supervisor

    supervisor.restart(door.project(), server)
    door.say(f"{server} is up again")
    door.answer({"restarted": server}, next_command="wellspring status")
    return 0


@click.command()
@click.pass_obj
def status(door: Door) -> int:
    """Show the servers, what readers see, how old it is, and whether every account balances. Exit 69 when not up."""
    from wellspring.cli.follow import follow
    from wellspring.errors import Unavailable
    from wellspring.records.data import Edition
    from wellspring.servers import supervisor

    here = door.project()
    rows = supervisor.status(here)
    running = here.running()
    door.say(
        table(
            ("server", "state", "pid", "where", "version", "uid"),
            [
                (
                    row.name,
                    row.state,
                    str(row.pid or ""),
                    row.where,
                    row.version,
                    str(row.uid if row.uid is not None else ""),
                )
                for row in rows
            ],
        )
    )
    if running is not None:
        door.say(_separation(running.separation, running.why))
    whole = bool(rows) and all(row.state == "up" for row in rows)
    found = {"edition": None, "accounts": {}}
    if whole:
        try:
            found = follow(here, "accounts")
        except Unavailable as busy:
            door.say(f"accounts: {busy.what}")
    if found["edition"] is not None:
        from wellspring.records.clock import SystemClock

        edition = Edition.model_validate(found["edition"])
        old = int((SystemClock().now() - edition.known_since).total_seconds())
        tables = ", ".join(f"{each.table} {each.rows:,} rows" for each in edition.tables)
        door.say(f"edition {edition.id}, {age(old)} old: {tables}")
    names = ("received", "published", "quarantined", "rejected", "discarded", "waiting", "balanced")
    if found["accounts"]:
        door.say(
            table(
                ("drop", *names), [(drop, *(each[name] for name in names)) for drop, each in found["accounts"].items()]
            )
        )
    door.answer(
        {"servers": [row._asdict() for row in rows], "running": running and running.model_dump(mode="json"), **found},
        next_command="wellspring receive" if whole else "wellspring up",
    )
    return 0 if whole else 69


@click.command()
@click.pass_obj
def doctor(door: Door) -> int:
    """Look for what would stop this project from working: packages, contracts, permissions, leftovers."""
    from wellspring.servers.doctor import examine

    here = door.project()
    ills = examine(here)
    for ill in ills:
        door.say(f"{'ok  ' if ill.well else 'ILL '} {ill.what}" + ("" if ill.well else f"\n      fix: {ill.fix}"))
    well = all(ill.well for ill in ills)
    up = here.running() is not None
    command = "wellspring doctor" if not well else "wellspring status" if up else "wellspring up"
    door.answer([ill._asdict() for ill in ills], next_command=command)
    return 0 if well else 1


@click.command()
@click.option("--yes", is_flag=True, help="Do not ask.")
@click.pass_obj
def clean(door: Door, yes: bool) -> int:
    """Stop the servers and remove all that they wrote: .wellspring/, the embedded vendor's house, the witness."""
    from wellspring.servers import supervisor
    from wellspring.servers.packages import embedded

    here = door.project()
    if not yes:
        if not sys.stdin.isatty():
            raise click.UsageError("there is no terminal to ask at: say --yes if you mean it")
        outbox = f", {here.vendor} with every file in it" if embedded(here) else ""
        click.confirm(f"remove every drop, edition, model and proof of {here.root}, its people{outbox}?", abort=True)
    supervisor.clean(here)
    door.say(f"{here.root} is as it was before the first `wellspring up`")
    door.answer({"cleaned": str(here.root)}, next_command="wellspring up")
    return 0


def _separation(how: str, why: str) -> str:
    if how == "user":
        return (
            "separated by user: worker, enclave, keys, witness and vendor each run under a numeric user of their own"
            + (f"; {why}" if why else "")
        )
    return f"separated by process and keys, not by user: {why}"
