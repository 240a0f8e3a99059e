"""release propose | approve | rollback | list, and history: what is live, who asked for it and who said yes."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import click

from wellspring.cli.door import Door, WellspringGroup
from wellspring.cli.follow import follow
from wellspring.cli.people import log_in, require_terminal
from wellspring.cli.show import only_model, table
from wellspring.errors import NotFound, Unavailable
from wellspring.project import Project, nearest


@click.group(cls=WellspringGroup)
def release() -> None:
    """What is served: proposed by one person, approved by another, and brought back by either."""


@release.command()
@click.argument("candidate")
@click.pass_obj
def propose(door: Door, candidate: str) -> int:
    """Ask for CANDIDATE to be released; you log in, and somebody else must approve it."""
    here = door.project()
    proposed = _as_a_person(here, "propose", candidate)
    door.say(f"release {proposed['release']['id']} of {proposed['release']['model']} waits for a second person")
    door.answer(proposed, next_command=f"wellspring release approve {proposed['release']['id']}")
    return 0


@release.command()
@click.argument("name")
@click.pass_obj
def approve(door: Door, name: str) -> int:
    """Approve the release NAME that somebody else proposed: you log in and sign it, and it goes live."""
    here = door.project()
    approved = _as_a_person(here, "approve", name)
    # Approved just now, or before: then whoever is here saw to it, or it was live already.
    door.say(
        f"{approved['release']['model']} serves release {approved['release']['id']}, approved by {approved['person']}"
    )
    door.answer(approved, next_command=f"wellspring ask {approved['release']['model']} --newest")
    return 0


@release.command()
@click.argument("model")
@click.pass_obj
def rollback(door: Door, model: str) -> int:
    """Serve again what MODEL served before, whole: no second person is needed to go back."""
    here = door.project()
    back = _as_a_person(here, "rollback", model)
    door.say(f"{back['person']} took {model} back to release {back['release']['id']}")
    door.answer(back, next_command=f"wellspring history {model}")
    return 0


@release.command("list")
@click.pass_obj
def list_(door: Door) -> int:
    """List every candidate and release: what its gate said, who proposed it, who approved it, what is live."""
    here = door.project()
    found = follow(here, "releases", offline=True)
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
    # What was judged beside another release than what is live now can no longer go live.
    waiting = next((each for each in found["releases"] if not each["approved"] and each["beside_live"]), None)
    asked = {each["candidate"] for each in found["releases"]}
    fit = [each for each in found["candidates"] if each["outcome"] == "pass" and each["beside_live"]]
    passed = next((each for each in reversed(fit) if each["id"] not in asked), None)
    if waiting is not None:
        command = f"wellspring release approve {waiting['id']}"
    elif passed is not None:
        command = f"wellspring release propose {passed['id']}"
    else:
        command = f"wellspring learn {only_model(here)}"
    door.answer(found, next_command=command)
    return 0


def _instant(_: click.Context, __: click.Parameter, text: str | None) -> str | None:
    try:
        read = None if text is None else datetime.fromisoformat(text)
    except ValueError:
        read = None
    if text is not None and (read is None or read.utcoffset() is None):
        raise click.BadParameter(f"{text!r} is no instant: write it as 2026-11-25T14:00:00Z")
    return text


@click.command()
@click.argument("model")
@click.option("--at", callback=_instant, help="An instant (2026-11-25T14:00:00Z); else the whole history.")
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


def _known(here: Project, run: str, subject: str) -> None:
    """Say before anybody logs in what no login could help: nothing runs, or nothing is called so."""
    from wellspring.models.artefact import candidates
    from wellspring.models.release import Releases

    if here.running() is None:
        raise Unavailable("the servers of this project are not running", fix="run `wellspring up`")
    kept = Releases(here.models_kept)
    known = {"propose": candidates(kept.paths), "approve": kept.ids()}.get(run)
    if known is not None and subject not in known:
        kind = "candidate" if run == "propose" else "release"
        raise NotFound(f"no {kind} {subject!r}", fix=f"{nearest(subject, list(known))}; see `wellspring release list`")


def _as_a_person(here: Project, run: str, subject: str) -> Any:
    """Let somebody log in, and follow a run under that login, which ends with it, whether or not the run used it."""
    from wellspring.trust.identity import people

    require_terminal()
    _known(here, run, subject)
    token = log_in(here)
    try:
        return follow(here, run, subject, given={"token": token})
    finally:
        people.revoke(here.socket("openbao"), token)
