"""receive, and quarantine list | show | replay."""

from __future__ import annotations

from collections import Counter
from typing import Any

import click

from wellspring.cli.door import Door, WellspringGroup
from wellspring.cli.follow import follow
from wellspring.cli.show import age, progress_bar, table

WAITS = 75
NOTHING = 3
SHOWN = 20


@click.command()
@click.argument("source", required=False)
@click.pass_obj
def receive(door: Door, source: str | None) -> int:
    """Bring in everything new from SOURCE, prove it, and publish it as one edition.

    Exit 0: published. 3: there was nothing new. 75: a drop was stopped, or only files came that wait untouched.
    """
    here = door.project()
    if source is None:
        if len(here.sources) != 1:
            raise click.UsageError(f"name a source: {', '.join(here.sources)}")
        source = next(iter(here.sources))
    here.source(source)
    with progress_bar(shown=not door.as_json) as draw:
        received = follow(here, "receive", source, on_progress=draw)
    return tell(door, received)


def tell(door: Door, received: dict[str, Any]) -> int:
    """Print what one run did, and return the exit code that says it."""
    edition = received["edition"]
    stopped = received["verdict"]["outcome"] != "pass"
    if not received["outcomes"]:
        door.say(f"nothing new in {received['source']}; " + _serving(received))
    else:
        door.say(
            table(("file", "fate", "received", "published", "quarantined", "rejected", "waiting"), _rows(received))
        )
        for outcome in received["outcomes"]:
            for reason in outcome["reasons"]:
                where = f" in {reason['column']}" if reason["column"] else ""
                count = f"{reason['count']:,} x " if reason["count"] is not None else ""
                door.say(f"  {outcome['name']}: {count}{reason['code']}{where}: {reason['what']}")
        door.say(f"published edition {edition['id']}" if received["fresh"] else _serving(received))
    for reason in received["verdict"]["reasons"]:
        door.say(f"  {reason['code']}: {reason['what']}")
    if stopped:
        command = "wellspring receive    (once the vendor has sent a good file)"
    elif any(outcome["account"] and outcome["account"]["quarantined"] for outcome in received["outcomes"]):
        command = "wellspring quarantine list"
    else:
        command = f"wellspring prove edition:{edition['id']} --out PACK" if edition else "wellspring status"
    door.answer(received, next_command=command)
    if stopped:
        return WAITS
    if received["fresh"] or any(outcome["drop"] for outcome in received["outcomes"]):
        return 0
    # A file that fits no contract, or came again under an old name: somebody must look, though nothing was stopped.
    return WAITS if received["outcomes"] else NOTHING


def _rows(received: dict[str, Any]) -> list[tuple[object, ...]]:
    rows: list[tuple[object, ...]] = []
    for outcome in received["outcomes"]:
        counts = outcome["account"] or dict.fromkeys(("received", "published", "quarantined", "rejected", "waiting"), 0)
        rows.append(
            (
                outcome["name"],
                outcome["fate"],
                *(counts[name] for name in ("received", "published", "quarantined", "rejected", "waiting")),
            )
        )
    return rows


def _serving(received: dict[str, Any]) -> str:
    if received["edition"] is None:
        return "nothing is published yet"
    return f"readers keep the last good edition {received['edition']['id']}, {age(received['age_seconds'])} old"


@click.group(cls=WellspringGroup)
def quarantine() -> None:
    """Rows that did not keep their contract wait inside the enclave, each with its reasons."""


@quarantine.command("list")
@click.pass_obj
def list_(door: Door) -> int:
    """List the drops that have waiting rows, and why they wait."""
    rows = follow(door.project(), "quarantined")
    drops: dict[str, list[dict[str, Any]]] = {}
    for row in rows:
        drops.setdefault(row["drop"], []).append(row)
    lines = [
        {
            "drop": drop,
            "rows": len(waiting),
            "reasons": dict(Counter(reason["code"] for row in waiting for reason in row["reasons"])),
            "waiting_until": min(row["waiting_until"] for row in waiting),
        }
        for drop, waiting in drops.items()
    ]
    shown = [
        (
            line["drop"],
            line["rows"],
            ", ".join(f"{count} {code}" for code, count in line["reasons"].items()),
            line["waiting_until"][:10],
        )
        for line in lines
    ]
    door.say(table(("drop", "rows", "reasons", "until"), shown) if shown else "no row waits in quarantine")
    door.answer(lines, next_command=f"wellspring quarantine show {lines[0]['drop']}" if lines else "wellspring receive")
    return 0


@quarantine.command()
@click.argument("drop")
@click.pass_obj
def show(door: Door, drop: str) -> int:
    """Show the waiting rows of DROP with every value masked."""
    rows = follow(door.project(), "quarantined", drop)
    for row in rows[:SHOWN]:
        door.say(f"row {row['row_number']:,}")
        for reason in row["reasons"]:
            where = f" in {reason['column']}" if reason["column"] else ""
            value = row["values"].get(reason["column"] or "", "")
            door.say(f"  {reason['code']}{where}: {reason['what']}  {value}".rstrip())
    if len(rows) > SHOWN:
        door.say(f"... and {len(rows) - SHOWN:,} more; see them all with --json")
    door.say("" if rows else f"no row of {drop} waits in quarantine")
    door.answer(rows, next_command=f"wellspring quarantine replay {drop}" if rows else "wellspring quarantine list")
    return 0


@quarantine.command()
@click.argument("drop")
@click.pass_obj
def replay(door: Door, drop: str) -> int:
    """Judge the waiting rows of DROP again, by its contract as it stands now, and publish those that pass."""
    with progress_bar(shown=not door.as_json) as draw:
        return tell(door, follow(door.project(), "replay", drop, on_progress=draw))
