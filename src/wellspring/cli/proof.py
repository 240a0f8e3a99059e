"""The commands for evidence: `prove`, `verify`, and `ledger` (key, verify, pack, tail)."""

from __future__ import annotations

import os
from pathlib import Path

import click

from wellspring.cli.context import CliContext, LazyGroup


@click.command()
@click.argument("subject")
@click.option(
    "--out", type=click.Path(path_type=Path, file_okay=False), required=True, help="The folder to write the pack to."
)
@click.pass_obj
def prove(ctx: CliContext, subject: str, out: Path) -> int:
    """Write a pack of evidence about SUBJECT: a drop, edition, pipeline, run, candidate, release, model, prediction.

    A pipeline has the name of its source. If the ledger holds the sealed story of SUBJECT, the servers may be down.
    """
    from wellspring.cli.worker_client import run_worker

    project = ctx.load_project()
    pack = run_worker(project, "prove", subject, offline=True)
    copy_pack(Path(pack["folder"]), out)
    ctx.echo(f"the story of {pack['subject']}: {pack['entries']:,} entries with proofs, in {out}")
    ctx.print_result(
        {**pack, "folder": str(out)},
        next_command=f"wellspring ledger key > keys.txt; wellspring verify {out} --key keys.txt --witness keys.txt",
    )
    return 0


def copy_pack(source: Path, destination: Path) -> None:
    """Copy a pack to a folder; an older pack of the same subject is replaced.

    Raises Refused if the folder holds anything else: evidence is not overwritten.
    """
    from wellspring.errors import Refused
    from wellspring.runtime.trusted_folder import copy_tree, remove_tree

    for path in (destination.absolute(), *destination.absolute().parents):
        if path.is_symlink() and path.lstat().st_uid not in {0, os.geteuid()}:
            raise Refused(
                f"{path} is a link of another user", fix="name a folder with --out that no other user may change"
            )
    if destination.exists() and any(destination.iterdir()):
        existing_subject = _pack_subject(destination)
        if existing_subject is None:
            raise Refused(f"{destination} is not empty and is not a pack", fix="name a new folder with --out")
        if existing_subject != _pack_subject(source):
            raise Refused(f"{destination} holds the story of {existing_subject}", fix="name a new folder with --out")
        remove_tree(destination)
    # The worker wrote the pack: no link in it is followed.
    copy_tree(source, destination)


def _pack_subject(pack: Path) -> str | None:
    """Return the subject of a pack; None if the folder is not a pack."""
    import json

    try:
        manifest = json.loads((pack / "manifest.json").read_bytes())
        return str(manifest["subject"]) if (pack / "seal.json").is_file() else None
    except (OSError, ValueError, TypeError, KeyError):
        return None


@click.command()
@click.argument("pack", type=click.Path(path_type=Path))
@click.option("--key", help="The verifier key of the log, or a file that holds it.")
@click.option("--witness", help="The verifier key of the witness, or a file that holds it.")
@click.option(
    "--answer",
    type=click.Path(path_type=Path, dir_okay=False),
    help="A file with a prediction as the API returned it, to compare with PACK.",
)
@click.option("--allow-development", is_flag=True, help="Accept evidence of a project in development.")
@click.pass_obj
def verify(
    ctx: CliContext, pack: Path, key: str | None, witness: str | None, answer: Path | None, allow_development: bool
) -> int:
    """Verify PACK offline. Exit 0: verified. 10: a key is missing. 20: corrupted. 77: of a project in development.

    In a project in development one person releases a model; --allow-development accepts its evidence.
    """
    from wellspring_verify import cli as verifier

    _require_inputs(pack, key, witness, answer)
    arguments = [str(pack)]
    arguments += ["--key", key] if key else []
    arguments += ["--witness", witness] if witness else []
    arguments += ["--answer", str(answer)] if answer else []
    arguments += ["--allow-development"] if allow_development else []
    return verifier.main([*arguments, *(["--json"] if ctx.as_json else [])])


def _require_inputs(pack: Path, key: str | None, witness: str | None, answer: Path | None) -> None:
    """Check that the pack, the answer and the key files exist. Raises NotFound, UsageError."""
    from wellspring.errors import NotFound

    # Of a path that is too long, pathlib raises.
    if not os.path.isdir(pack):
        raise NotFound(f"no folder {pack}", fix="name the folder that `wellspring prove` wrote")
    if not (pack / "manifest.json").exists() and not (pack / "checkpoint").exists():
        raise NotFound(f"{pack} is not a pack", fix="name the folder that `wellspring prove` wrote")
    if answer is not None and not answer.is_file():
        raise NotFound(f"no file {answer}", fix="write it with `wellspring --json predict MODEL --newest`")
    for option, value in (("--key", key), ("--witness", witness)):
        if value is not None and "+" not in value and not Path(value).is_file():
            raise click.UsageError(f"{option} {value} is neither a key nor a file: see `wellspring ledger key`")


@click.group(cls=LazyGroup)
def ledger() -> None:
    """Inspect and verify the ledger, the signed Merkle log of every action; an independent witness cosigns it."""


@ledger.command("key")
@click.pass_obj
def print_keys(ctx: CliContext) -> int:
    """Print the verifier keys of the log, of the witness and of the services that write journals."""
    from wellspring.trust.ledger import keyring
    from wellspring.trust.ledger.journal_key import read_service_key_lines

    project = ctx.load_project()
    keys = keyring.read_verifier_keys(project.ledger_dir, project.root / project.witness.folder)
    ctx.echo(keys.log_key)
    ctx.echo(keys.witness_key)
    services = read_service_key_lines(project.state_dir)
    for line in services:
        ctx.echo(line)
    ctx.print_result({"log": keys.log_key, "witness": keys.witness_key, "services": services})
    return 0


@ledger.command("verify")
@click.pass_obj
def verify_ledger(ctx: CliContext) -> int:
    """Recompute the tree; compare it with the checkpoint, the witness, the journals, the line packs and the index.

    Then compare pointers, data files of the lake and view definitions with what the log says.
    """
    from wellspring.bootstrap import open_ledger_index
    from wellspring.bootstrap.lake_ports import open_stored_state
    from wellspring.operations.stored_state import list_state_problems
    from wellspring.trust.ledger import keyring
    from wellspring.trust.ledger.audit import JournalEvidence, audit_ledger
    from wellspring.trust.ledger.journal_key import read_service_keys
    from wellspring.trust.ledger.journal_state import PACKED_FILE, SEEN_FILE, read_states

    project = ctx.load_project()
    index = open_ledger_index(project)
    tree = index.tree
    keys, checkpoint = keyring.read_matching_checkpoint(tree, project.ledger_dir, project.root / project.witness.folder)
    report = audit_ledger(
        tree,
        keys,
        checkpoint=checkpoint,
        journals=JournalEvidence(
            project.journals_dir,
            *(read_states(project.ledger_dir, file) for file in (SEEN_FILE, PACKED_FILE)),
        ),
        index=index,
        service_keys=read_service_keys(project.state_dir),
    )
    pending_count = sum(pending.entries for pending in report.pending)
    findings = [*report.findings]
    # Entries of the worker that are not in the log yet may be switches whose pointers have moved.
    is_switching = any(pending.service.startswith("worker") for pending in report.pending)
    if checkpoint is not None and not findings and not is_switching:
        findings += [problem.what for problem in list_state_problems(open_stored_state(project))]
    for finding in findings:
        ctx.echo(f"corrupted: {finding}")
    if not findings:
        ctx.echo(
            f"{tree.size:,} entries in the log are consistent, but not every acknowledged entry is in the log:"
            if pending_count
            else f"{tree.size:,} entries: every hash, signature and cosignature is valid, and the witness holds the "
            "same log"
        )
    for pending in report.pending:
        ctx.echo(
            f"{pending.entries:,} entries of {pending.service}, the oldest of {pending.oldest}: "
            "acknowledged, not yet in the log"
        )
    ctx.print_result(
        {
            "size": tree.size,
            "findings": findings,
            "pending": [pending._asdict() for pending in report.pending],
        },
        next_command="wellspring status    (writes them to the log)" if pending_count else "wellspring ledger tail",
    )
    return 20 if findings else 0


@ledger.command("pack")
@click.pass_obj
def pack_ledger(ctx: CliContext) -> int:
    """Pack the lines of answers now. The sequencer does it every hour; packed lines leave the journals."""
    from wellspring.runtime.server_sockets import find_server_socket
    from wellspring.trust.ledger.remote_sequencer import RemoteSequencer

    report = RemoteSequencer(find_server_socket(ctx.load_project(), "sequencer"), "worker").pack_lines()
    ctx.echo(f"{report.lines:,} lines in {report.packs} new line packs")
    ctx.print_result(report._asdict(), next_command="wellspring ledger verify")
    return 0


@ledger.command("rotate-key")
@click.pass_obj
def rotate_log_key(ctx: CliContext) -> int:
    """Let a new key sign the log. The present key signs it in, so everybody's keys of this log stay valid."""
    from wellspring.runtime.server_sockets import find_server_socket
    from wellspring.trust.ledger.remote_sequencer import RemoteSequencer

    project = ctx.load_project()
    sequencer = RemoteSequencer(find_server_socket(project, "sequencer"), "owner")
    # The size after which the new key signs is that of the whole log.
    sequencer.integrate()
    key = sequencer.rotate_key()
    ctx.echo(f"the log is now signed with {key}")
    ctx.print_result({"key": key}, next_command="wellspring ledger verify")
    return 0


@ledger.command("tail")
@click.option("-n", "count", type=click.IntRange(min=1), default=20, show_default=True, help="Number of entries.")
@click.pass_obj
def tail_ledger(ctx: CliContext, count: int) -> int:
    """Show the newest entries of the ledger."""
    from wellspring.bootstrap import open_ledger_index

    index = open_ledger_index(ctx.load_project())
    newest = index.list_entries(after=max(0, index.count_entries() - count))
    entries = [(indexed.index, indexed.entry.model_dump(mode="json")) for indexed in newest]
    columns = ("known_since", "service", "action", "phase", "subject")
    rows = [(index, *(entry[column] for column in columns)) for index, entry in entries]
    ctx.echo_table(("index", "when", "service", "action", "phase", "subject"), rows)
    ctx.print_result([{"index": index, **entry} for index, entry in entries], next_command="wellspring ledger verify")
    return 0
