"""prove, verify, and ledger verify | tail | key."""

from __future__ import annotations

from pathlib import Path

import click

from wellspring.cli.door import Door, WellspringGroup


@click.command()
@click.argument("subject")
@click.option(
    "--out", type=click.Path(path_type=Path, file_okay=False), required=True, help="The folder to write the pack into."
)
@click.pass_obj
def prove(door: Door, subject: str, out: Path) -> int:
    """Write the story of SUBJECT with proofs: a drop, edition, dataset, run, candidate, release, model or prediction.

    A story that is already sealed in the signed log needs no server.
    """
    from wellspring.cli.follow import follow

    here = door.project()
    pack = follow(here, "prove", subject, offline=True)
    copy_pack(Path(pack["folder"]), out)
    door.say(f"the story of {pack['subject']}: {pack['entries']:,} proved entries, in {out}")
    door.answer(
        {**pack, "folder": str(out)},
        next_command=f"wellspring ledger key > keys.txt; wellspring verify {out} --key keys.txt --witness keys.txt",
    )
    return 0


def copy_pack(written: Path, out: Path) -> None:
    """Put a pack where the person wants it, in the place of an older one of the same subject.

    Raises Refused when anything else stands there: evidence is not overwritten.
    """
    import shutil

    from wellspring.errors import Refused

    if out.exists() and any(out.iterdir()):
        there = _subject(out)
        if there is None:
            raise Refused(f"{out} holds something that is no pack", fix="name a new folder with --out")
        if there != _subject(written):
            raise Refused(f"{out} holds the story of {there}", fix="name a new folder with --out")
        shutil.rmtree(out)
    shutil.copytree(written, out, dirs_exist_ok=True)


def _subject(pack: Path) -> str | None:
    """Read whose story a folder holds; None when it is no pack."""
    import json

    try:
        read = json.loads((pack / "manifest.json").read_bytes())
        return str(read["subject"]) if (pack / "seal.json").is_file() else None
    except (OSError, ValueError, TypeError, KeyError):
        return None


@click.command()
@click.argument("pack", type=click.Path(path_type=Path))
@click.option("--key", help="The log's verifier key, or a file that holds it.")
@click.option("--witness", help="The witness's verifier key, or a file that holds it.")
@click.option(
    "--answer", type=click.Path(path_type=Path, dir_okay=False), help="An answer as the API gave it, held against PACK."
)
@click.pass_obj
def verify(door: Door, pack: Path, key: str | None, witness: str | None, answer: Path | None) -> int:
    """Check PACK without the house: exit 0 verified, 10 consistent but signer not checked, 20 broken (and what)."""
    from wellspring_verify import cli as verifier

    _there(pack, key, witness, answer)
    arguments = [str(pack)]
    arguments += ["--key", key] if key else []
    arguments += ["--witness", witness] if witness else []
    arguments += ["--answer", str(answer)] if answer else []
    return verifier.main([*arguments, *(["--json"] if door.as_json else [])])


def _there(pack: Path, key: str | None, witness: str | None, answer: Path | None) -> None:
    """Say in the house's own words what the stand-alone verifier says in its: what was named is not there."""
    from wellspring.errors import NotFound

    if not pack.is_dir():
        raise NotFound(f"there is no folder {pack}", fix="name the folder that `wellspring prove` wrote")
    if not (pack / "manifest.json").exists() and not (pack / "checkpoint").exists():
        raise NotFound(f"{pack} is no pack", fix="name the folder that `wellspring prove` wrote")
    if answer is not None and not answer.is_file():
        raise NotFound(f"there is no file {answer}", fix="write it with `wellspring --json ask MODEL --newest`")
    for option, given in (("--key", key), ("--witness", witness)):
        if given is not None and "+" not in given and not Path(given).is_file():
            raise click.UsageError(f"{option} {given} is neither a key nor a file: see `wellspring ledger key`")


@click.group(cls=WellspringGroup)
def ledger() -> None:
    """The one memory: a Merkle log of everything that was done, signed, and held by a witness as well."""


@ledger.command()
@click.pass_obj
def key(door: Door) -> int:
    """Print the verifier keys of the log and of its witness."""
    from wellspring.trust.ledger import keyring

    here = door.project()
    keys = keyring.read(here.ledger, here.root / here.witness.folder)
    door.say(keys.log)
    door.say(keys.witness)
    door.answer({"log": keys.log, "witness": keys.witness})
    return 0


@ledger.command("verify")
@click.pass_obj
def verify_ledger(door: Door) -> int:
    """Recompute the whole tree from its entries, and compare it with the checkpoint and with what the witness holds."""
    from wellspring.stores.objects.disk import DiskPaths
    from wellspring.trust.ledger import keyring
    from wellspring.trust.ledger.audit import audit
    from wellspring.trust.ledger.tree import Tree

    here = door.project()
    keys = keyring.read(here.ledger, here.root / here.witness.folder)
    tree = Tree(DiskPaths(here.ledger))
    findings = audit(tree, keys, journals=here.journals)
    for finding in findings:
        door.say(f"broken: {finding}")
    if not findings:
        door.say(
            f"{tree.size:,} entries: every hash, signature and cosignature holds, and the witness saw the same log"
        )
    door.answer({"size": tree.size, "findings": list(findings)}, next_command="wellspring ledger tail")
    return 20 if findings else 0


@ledger.command()
@click.option("-n", "count", type=click.IntRange(min=1), default=20, show_default=True, help="How many entries.")
@click.pass_obj
def tail(door: Door, count: int) -> int:
    """Show the newest entries."""
    import json

    from wellspring.cli.show import table
    from wellspring.stores.objects.disk import DiskPaths
    from wellspring.trust.ledger.tree import Tree

    tree = Tree(DiskPaths(door.project().ledger))
    size = tree.size
    entries = [(index, json.loads(tree.entry(index))) for index in range(max(0, size - count), size)]
    rows = [(index, e["known_since"], e["service"], e["action"], e["phase"], e["subject"]) for index, e in entries]
    door.say(table(("index", "when", "service", "action", "phase", "subject"), rows))
    door.answer([{"index": index, **entry} for index, entry in entries], next_command="wellspring ledger verify")
    return 0
