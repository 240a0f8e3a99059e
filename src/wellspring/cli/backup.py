"""The `backup` commands: create, verify, restore, and the export of the master key for two custodians."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from wellspring.cli.context import CliContext, LazyGroup
from wellspring.cli.trace import get_command_trace
from wellspring.cli.users import require_terminal

if TYPE_CHECKING:
    from wellspring.backup.master_key import KeyShare

_FOLDER = click.Path(path_type=Path, file_okay=False)


@click.group(cls=LazyGroup)
def backup() -> None:
    """Back up all state of a project, verify a backup, restore one, and export the master key."""


@backup.command("create")
@click.option(
    "--to", "folder", type=_FOLDER, required=True, help="A folder outside the project; later backups share it."
)
@click.pass_obj
def create_command(ctx: CliContext, folder: Path) -> int:
    """Write a backup of this project while it runs, without its master key; the servers are paused for a moment."""
    from wellspring.backup.creation import create_backup

    report = create_backup(
        ctx.load_project(), folder, trace=get_command_trace(), progress=lambda line: ctx.echo(f"  {line}")
    )
    ctx.echo(
        f"backup {report.id}: {report.files:,} files, {report.total_bytes / 1e6:,.1f} MB, of which "
        f"{report.new_bytes / 1e6:,.1f} MB are new; {report.log_size:,} entries in its log; {report.seconds:.1f} s"
    )
    ctx.print_result(report._asdict(), next_command=f"wellspring backup verify {folder}")
    return 0


@backup.command("verify")
@click.argument("folder", type=_FOLDER)
@click.option("--id", "backup_id", help="Which backup of the folder. Default: the newest.")
@click.option("--key", help="A file with the output of `wellspring ledger key`. Default: the keys of this project.")
@click.pass_obj
def verify(ctx: CliContext, folder: Path, backup_id: str | None, key: str | None) -> int:
    """Compare everything in FOLDER with the signed manifest. Exit 10: the signer is not known here. 20: corrupted."""
    from wellspring.backup.backup_folder import BackupFolder
    from wellspring.backup.verification import verify_backup

    check = verify_backup(BackupFolder(folder), backup_id, _trusted_keys(ctx, key))
    manifest = check.manifest
    for path in check.damaged:
        ctx.echo(f"corrupted: {path} is missing or was changed in the backup")
    if not check.damaged:
        ctx.echo(f"backup {manifest.id} of {manifest.root}: {len(manifest.files):,} files, as its signed manifest says")
    if not check.is_signer_trusted:
        ctx.echo("no project here: the signature was compared only with the key in the backup itself; use --key")
    ctx.print_result(
        {
            "id": manifest.id, "root": manifest.root, "files": len(manifest.files), "damaged": list(check.damaged),
            "log_size": manifest.log_size, "signer_is_trusted": check.is_signer_trusted,
        },
        next_command=f"wellspring backup restore {folder} --project {manifest.root}",
    )  # fmt: skip
    return 20 if check.damaged else 0 if check.is_signer_trusted else 10


@backup.command("export-key")
@click.option("--to", "folder", type=_FOLDER, required=True, help="An empty folder, for two files.")
@click.pass_obj
def export_key(ctx: CliContext, folder: Path) -> int:
    """Write the master key as two shares, each under a passphrase that its custodian types at this terminal."""
    from wellspring.backup.master_key import split_key
    from wellspring.embedded.control_socket import send_request
    from wellspring.embedded.openbao import seal_key_path
    from wellspring.errors import Refused
    from wellspring.runtime.files import create_once
    from wellspring.runtime.trusted_folder import read_file
    from wellspring.trust.ledger.tree import ORIGIN_FILE

    project = ctx.load_project()
    require_terminal()
    if folder.resolve().is_relative_to(project.root):
        raise Refused(f"{folder} lies inside the project", fix="name a folder on a disk of its own")
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    if any(folder.iterdir()):
        raise Refused(f"{folder} is not empty", fix="name an empty folder")
    key = read_file(seal_key_path(project))
    first, second = (
        str(
            click.prompt(
                f"passphrase of custodian {number}", hide_input=True, confirmation_prompt=f"again, custodian {number}",
                err=True,
            )
        )
        for number in (1, 2)
    )  # fmt: skip
    origin = (project.ledger_dir / ORIGIN_FILE).read_text(encoding="ascii").strip()
    shares = split_key(key, (first, second), project=project.name, origin=origin)
    # First the entry: no share exists that the ledger does not know of.
    send_request(project, {"op": "record_key_export", "check": shares[0].check, "trace": get_command_trace()})
    paths = [folder / f"custodian-{share.custodian}.json" for share in shares]
    for path, share in zip(paths, shares, strict=True):
        create_once(path, share.model_dump_json(indent=1).encode() + b"\n", mode=0o600)
    ctx.echo(f"{paths[0]} and {paths[1]}: give each custodian one file, and remove both here")
    ctx.print_result({"check": shares[0].check, "files": [str(path) for path in paths]})
    return 0


@backup.command("restore")
@click.argument("folder", type=_FOLDER)
@click.option("--id", "backup_id", help="Which backup of the folder. Default: the newest.")
@click.option(
    "--share", "share_paths", type=click.Path(path_type=Path, dir_okay=False), multiple=True, required=True,
    help="The file of a custodian; twice.",
)  # fmt: skip
@click.option("--witness", type=_FOLDER, help="The folder of a witness that survived: what it has seen must be there.")
@click.option("--journals", type=_FOLDER, help="The journals of the lost project, if they survived: for later answers.")
@click.option("--accept-loss", is_flag=True, help="Restore although that witness has seen more entries.")
@click.pass_obj
def restore(
    ctx: CliContext, folder: Path, backup_id: str | None, share_paths: tuple[Path, ...], witness: Path | None,
    journals: Path | None, *, accept_loss: bool,
) -> int:  # fmt: skip
    """Restore a backup in FOLDER to --project, which must be empty and have the path of the project."""
    import os

    from wellspring.backup.backup_folder import BackupFolder
    from wellspring.backup.master_key import join_shares
    from wellspring.backup.restoration import require_empty, require_same_path, restore_backup

    if ctx.folder is None:
        raise click.UsageError("--project FOLDER is missing: the empty folder to restore to")
    if len(share_paths) != 2:
        raise click.UsageError("--share is needed twice: one file of each custodian")
    root = ctx.folder.resolve()
    backups = BackupFolder(folder)
    # Before anybody types a passphrase.
    require_same_path(backups.read_manifest(backup_id), root)
    require_empty(root)
    shares = _read_shares(share_paths)
    require_terminal()
    first, second = (
        str(click.prompt(f"passphrase of custodian {share.custodian}", hide_input=True, err=True)) for share in shares
    )
    report = restore_backup(
        backups, backup_id, root, join_shares(shares, (first, second)), witness=witness, journals=journals,
        accept_loss=accept_loss, crash_at=os.environ.get("WELLSPRING_CRASH_AT"),
        progress=lambda line: ctx.echo(f"  {line}"),
    )  # fmt: skip
    ctx.echo(f"restored the backup {report.id}: {report.files:,} files, {report.log_size:,} entries in its log")
    if report.adopted_answers:
        ctx.echo(f"{report.adopted_answers:,} entries of the API after the backup were taken from the journals")
    if report.lost_entries:
        ctx.echo(f"{report.lost_entries:,} entries that the witness has seen are lost; the ledger will say so")
    ctx.print_result(report._asdict(), next_command="wellspring up")
    return 0


def _read_shares(paths: tuple[Path, ...]) -> tuple[KeyShare, KeyShare]:
    from wellspring.backup.master_key import parse_share
    from wellspring.errors import NotFound

    try:
        first, second = (parse_share(path.read_bytes(), str(path)) for path in paths)
    except FileNotFoundError as exc:
        raise NotFound(f"no file {exc.filename}", fix="name the file of each custodian") from None
    return first, second


def _trusted_keys(ctx: CliContext, key: str | None) -> tuple[str, ...]:
    """Return the verifier keys that a backup is compared with: of a file, or of the project here."""
    from wellspring.errors import NotFound
    from wellspring.trust.ledger.journal_key import read_service_key_lines

    if key is not None:
        if not Path(key).is_file():
            raise click.UsageError(f"--key {key} is not a file: see `wellspring ledger key`")
        return tuple(Path(key).read_text(encoding="utf-8", errors="replace").splitlines())
    try:
        return tuple(read_service_key_lines(ctx.load_project().state_dir))
    except NotFound:
        return ()
