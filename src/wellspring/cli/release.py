"""release propose | approve | rollback | list, and history: what is live, who asked for it and who said yes."""

from __future__ import annotations

from typing import Any

import click

from wellspring.cli.door import Door, WellspringGroup
from wellspring.cli.follow import follow
from wellspring.cli.people import log_in
from wellspring.cli.show import table


@click.group(cls=WellspringGroup)
def release() -> None:
    """What is served: proposed by one person, approved by another, and brought back by either."""


@release.command()
@click.argument("candidate")
@click.pass_obj
def propose(door: Door, candidate: str) -> int:
    """Ask for CANDIDATE to be released; you log in, and somebody else must approve it."""
    here = door.project()
    proposed = follow(here, "propose", candidate, given={"token": log_in(here)})
    door.say(f"release {proposed['release']['id']} of {proposed['release']['model']} waits for a second person")
    door.answer(proposed, next_command=f"wellspring release approve {proposed['release']['id']}")
    return 0


@release.command()
@click.argument("name")
@click.pass_obj
def approve(door: Door, name: str) -> int:
    """Approve the release NAME that somebody else proposed: you log in and sign it, and it goes live."""
    here = door.project()
    approved = follow(here, "approve", name, given={"token": log_in(here)})
    door.say(
        f"{approved['person']} approves release {approved['release']['id']}; {approved['release']['model']} serves it"
    )
    door.answer(approved, next_command=f"wellspring ask {approved['release']['model']} --newest")
    return 0


@release.command()
@click.argument("model")
@click.pass_obj
def rollback(door: Door, model: str) -> int:
    """Serve again what MODEL served before, whole: no second person is needed to go back."""
    here = door.project()
    back = follow(here, "rollback", model, given={"token": log_in(here)})
    door.say(f"{back['person']} took {model} back to release {back['release']['id']}")
    door.answer(back, next_command=f"wellspring history {model}")
    return 0


@release.command("list")
@click.pass_obj
def list_(door: Door) -> int:
    """List every candidate and release: what its gate said, who proposed it, who approved it, what is live."""
    found = follow(door.project(), "releases", offline=True)
    candidates = [
        (each["model"], each["id"], each["outcome"], each["auc"], each["edition"]) for each in found["candidates"]
    ]
    releases = [
        (each["model"], each["id"], each["candidate"], each["proposed"], each["approved"], each["live"])
        for each in found["releases"]
    ]
    if candidates:
        door.say(table(("model", "candidate", "gate", "auc", "edition"), candidates))
    if releases:
        door.say(table(("model", "release", "candidate", "proposed by", "approved by", "live"), releases))
    if not candidates:
        door.say("no model has been trained here")
    waiting = next((each for each in found["releases"] if not each["approved"]), None)
    passed = next((each for each in found["candidates"] if each["outcome"] == "pass"), None)
    if waiting is not None:
        command = f"wellspring release approve {waiting['id']}"
    elif passed is not None and not releases:
        command = f"wellspring release propose {passed['id']}"
    else:
        command = "wellspring learn MODEL"
    door.answer(found, next_command=command)
    return 0


@click.command()
@click.argument("model")
@click.option("--at", help="An instant (2026-11-25T14:00:00Z); else the whole history.")
@click.pass_obj
def history(door: Door, model: str, at: str | None) -> int:
    """Say which release of MODEL was live, since when, who proposed and who approved it."""
    told: list[dict[str, Any]] = follow(door.project(), "history", model, given={"at": at}, offline=True)
    rows = [
        (each["since"], each["act"], each["release"], each["proposed"], each["approved"], each["by"]) for each in told
    ]
    door.say(
        table(("since", "act", "release", "proposed by", "approved by", "by"), rows)
        if rows
        else f"no release of {model} was live" + (f" at {at}" if at else "")
    )
    door.answer(told, next_command=f"wellspring prove model:{model}@{told[0]['release']} --out PACK" if told else None)
    return 0
