"""The main job, for real: from a vendor's drops to an answer whose whole story verifies without the house."""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import click

from wellspring.cli.door import Door
from wellspring.cli.show import age, table
from wellspring.cli.stage import Measured, hold, quiet, scene
from wellspring.project import Project

DEMO = Path("wellspring-demo")


@click.command()
@click.option("--keep-up", is_flag=True, help="Leave the servers running at the end.")
@click.pass_obj
def demo(door: Door, keep_up: bool) -> int:
    """Walk a vendor's drops to a proved answer, on real servers, in a folder of its own (default: wellspring-demo)."""
    from wellspring import project
    from wellspring.cli import sample
    from wellspring.servers import supervisor
    from wellspring.servers.packages import check

    folder = (door.folder or DEMO).absolute()
    sample.lay_out(folder, before=supervisor.clean)
    here = project.load(folder)
    check(here)
    begun = time.perf_counter()
    with _servers(door, here, keep_up=keep_up) as started:
        figures = [started, *_scenes(door, here, sample.vendor())]
    whole = time.perf_counter() - begun
    sample.end(folder)
    figures.append(
        Measured(
            "the whole demo", "servers up, drops, features, a model, answers, proofs, servers down", f"{whole:.1f} s"
        )
    )
    door.say()
    door.say(table(("measured in this run", "definition", "figure"), figures))
    door.say()
    pack = folder / "pack"
    door.say(
        f"everything lies in {folder}; nothing is running any more" if not keep_up else f"everything lies in {folder}"
    )
    door.say("next, three things to try:")
    keys, named = folder / "keys.txt", Door(folder=door.folder or DEMO, as_json=door.as_json)
    for command in (
        f"verify {pack} --key {keys} --witness {keys}", "ledger verify", "up && wellspring status",
    ):  # fmt: skip
        door.say(f"  {named.typed('wellspring ' + command)}")
    door.answer({"project": str(folder), "figures": [figure._asdict() for figure in figures]})
    return 0


@contextmanager
def _servers(door: Door, here: Project, *, keep_up: bool) -> Iterator[Measured]:
    from wellspring.servers import supervisor

    door.say(f"project: {here.root}")
    begun = time.perf_counter()
    running = supervisor.up(here, progress=lambda line: door.say(f"  {line}"))
    took = time.perf_counter() - begun
    door.say(
        "  "
        + (
            f"separated by user{'; ' + running.why if running.why else ''}"
            if running.separation == "user"
            else running.why
        )
    )
    try:
        yield Measured("servers up", f"{', '.join(running.servers)}: every probe green", f"{took:.1f} s")
    finally:
        if not keep_up:
            supervisor.down(here)


def _scenes(door: Door, here: Project, vendor: Any) -> Iterator[Measured]:
    """Play the scenes in order; each checks what it claims, so a demo that ends is a demo that held."""
    from wellspring.cli import answering

    outbox = here.vendor / "outbox"
    yield from _good_drop(door, here, vendor, outbox)
    drop, repairable, figures = _bad_drop(door, here, vendor, outbox)
    yield from figures
    yield from _broken_schema(door, here, vendor, outbox)
    yield from _repair(door, here, vendor, outbox, drop, repairable)
    yield from _proof(door, here)
    yield from answering.scenes(door, here, vendor)


def _good_drop(door: Door, here: Project, vendor: Any, outbox: Path) -> Iterator[Measured]:
    scene(door, "1. Eighteen months of six tables: they leave the enclave as tokens, one edition switches them all")
    good = vendor.history(outbox)
    begun = time.perf_counter()
    received = _receive(door, here)
    took = time.perf_counter() - begun
    hold(received["fresh"] and _sum(received, "published") == sum(good.rows.values()), "every good row is published")
    rows = sum(good.rows.values())
    yield Measured("a drop becomes an edition", f"{rows:,} rows from SFTP to readers, proof included", f"{took:.1f} s")


def _bad_drop(door: Door, here: Project, vendor: Any, outbox: Path) -> tuple[str, int, list[Measured]]:
    scene(
        door,
        "2. A bad drop: ten kinds of bad rows wait inside the enclave, each with its reasons; the rest is published",
    )
    from wellspring.cli.follow import follow

    bad = vendor.bad(outbox)
    received = _receive(door, here)
    drop = received["outcomes"][0]["drop"]
    rows = follow(here, "quarantined", drop)
    found = {(row["row_number"], reason["code"]) for row in rows for reason in row["reasons"]}
    named = sum((flaw.row, flaw.code) in found for flaw in bad.flaws)
    waiting = {flaw.row for flaw in bad.flaws}
    hold({row["row_number"] for row in rows} == waiting, "exactly the bad rows wait")
    sample = rows[0]
    why = "; ".join(f"{reason['code']} in {reason['column']}" for reason in sample["reasons"])
    door.say(f"  for example row {sample['row_number']} waits for: {why}; its values are shown masked")
    figure = Measured(
        "bad rows named", "planted flaws whose row waits with the right reason", f"{named} of {len(bad.flaws)}"
    )
    return drop, bad.repairable, [figure]


def _broken_schema(door: Door, here: Project, vendor: Any, outbox: Path) -> Iterator[Measured]:
    scene(
        door,
        "3. The vendor renames a column: the drop stops whole, the owner is told, readers keep the last good edition",
    )
    vendor.broken_schema(outbox)
    begun = time.perf_counter()
    received = _receive(door, here)
    took = time.perf_counter() - begun
    stopped = received["verdict"]["outcome"] == "fail" and not received["fresh"]
    hold(stopped and received["edition"] is not None, "the last good edition is served")
    yield Measured("a broken drop is stopped", "from the command to the alert record", f"{took:.1f} s")
    yield Measured(
        "last good data", "age of what readers saw meanwhile, and they are told", age(received["age_seconds"])
    )


def _repair(door: Door, here: Project, vendor: Any, outbox: Path, drop: str, repairable: int) -> Iterator[Measured]:
    scene(
        door,
        "4. Repair: the vendor sends the file again; the owner mends the contract, and the waiting rows are replayed",
    )
    from wellspring.cli.follow import follow
    from wellspring.cli.receive import tell

    vendor.corrected(outbox)
    received = _receive(door, here)
    hold(received["fresh"], "the corrected file settles the set")
    vendor.repaired_contract(here.contracts)
    waited = len(follow(here, "quarantined", drop))
    replayed = follow(here, "replay", drop)
    tell(quiet(door), replayed)
    account = replayed["outcomes"][0]["account"]
    repaired = waited - account["quarantined"]
    hold(replayed["fresh"] and repaired == repairable, "the repairable rows are published")
    yield Measured("rows repaired", "left quarantine once the contract knew their code", f"{repaired} of {repairable}")
    found = follow(here, "accounts")["accounts"]
    balanced = sum(each["balanced"] for each in found.values())
    hold(balanced == len(found) and account["waiting"] == 0, "every account balances")
    received_rows = sum(each["received"] for each in found.values())
    yield Measured(
        "accounts that balance",
        f"drops of which every row is somewhere; {received_rows:,} rows in all",
        f"{balanced} of {len(found)}",
    )


def _proof(door: Door, here: Project) -> Iterator[Measured]:
    scene(door, "5. Proof: the story of what readers see, verified without the house; then one byte is flipped")
    from wellspring.cli.follow import follow
    from wellspring.cli.proof import copy_pack
    from wellspring.trust.ledger import keyring
    from wellspring_verify import pack as verifier

    edition = follow(here, "accounts")["edition"]["id"]
    begun = time.perf_counter()
    written = follow(here, "prove", f"edition:{edition}")
    out = here.root / "pack"
    copy_pack(Path(written["folder"]), out)
    proved = time.perf_counter() - begun
    keys = keyring.read(here.ledger, here.root / here.witness.folder)
    (here.root / "keys.txt").write_text(f"{keys.log}\n{keys.witness}\n", encoding="utf-8")
    begun = time.perf_counter()
    report = verifier.verify(out, key=keys.log, witness=keys.witness)
    verified = time.perf_counter() - begun
    hold(report.outcome == 0, "the pack verifies")
    door.say(
        f"  edition:{edition}: {written['entries']} entries, each proved under a checkpoint that log and witness signed"
    )
    forged = here.root / "pack-with-one-byte-flipped"
    shutil.copytree(out, forged)
    entry = sorted((forged / "entries").iterdir())[0]
    content = bytearray(entry.read_bytes())
    content[len(content) // 2] ^= 1
    entry.write_bytes(content)
    broken = verifier.verify(forged, key=keys.log, witness=keys.witness)
    hold(broken.outcome == 20, "one flipped byte is found")
    for finding in broken.findings[:2]:
        door.say(f"  one byte flipped: {finding}")
    yield Measured(
        "a story is proved", f"{written['entries']} entries with inclusion proofs, sealed", f"{proved:.1f} s"
    )
    yield Measured("a story is verified", "offline, keys given by hand", f"{verified:.2f} s")
    yield Measured("one byte flipped", "exit code of verify, and the file that it names", f"20, {entry.name}")


def _receive(door: Door, here: Project) -> dict[str, Any]:
    from wellspring.cli.follow import follow
    from wellspring.cli.receive import tell
    from wellspring.cli.show import progress_bar

    with progress_bar(shown=not door.as_json) as draw:
        received = follow(here, "receive", next(iter(here.sources)), on_progress=draw)
    tell(quiet(door), received)
    return received


def _sum(received: dict[str, Any], name: str) -> int:
    return sum(outcome["account"][name] for outcome in received["outcomes"] if outcome["account"])
