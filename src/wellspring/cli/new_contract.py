"""The `new contract` command: infer a contract from a CSV or JSON Lines file."""

from __future__ import annotations

import glob
import re
import shlex
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

import click

from wellspring.cli.context import CliContext
from wellspring.cli.new import write_new_files
from wellspring.errors import NotFound, suggest_name
from wellspring.project import Project

if TYPE_CHECKING:
    from wellspring.data.contracts.inference import InferredColumn
    from wellspring.records.contracts import DataContract


@click.command()
@click.argument("file", type=click.Path(path_type=Path, exists=True, dir_okay=False))
@click.option("--name", "name_override", help="The name of the table. Default: from the file name.")
@click.pass_obj
def create_contract(ctx: CliContext, file: Path, name_override: str | None) -> int:
    """Infer a contract from a CSV or JSON Lines FILE, and print the evidence for each column.

    No value of the file is printed or stored. A column that looks like an identifier leaves the enclave as a token. A
    column that looks personal, or is not clearly a number, a date or a shared code, never leaves until you change that.
    """
    from wellspring.data.contracts import inference
    from wellspring.data.formats.registry import detect_format, load_format
    from wellspring.trust.dlp.registry import load_scanner

    project = ctx.load_project()
    name = name_override or _table_name(file)
    if not re.fullmatch(r"[a-z][a-z0-9_]{0,62}", name):
        raise click.UsageError(f"{file.name} gives no valid table name; set one with --name")
    file_format = detect_format(file)
    rows, paths, settings = load_format(file_format).read_sample(file)
    scanner = load_scanner(project)
    columns = [
        inference.infer_column(column_name, rows.column(column_name), scanner)._replace(path=paths.get(column_name, ""))
        for column_name in rows.column_names
    ]
    key = inference.infer_primary_key(rows, columns)
    files = f"{glob.escape(file.stem.rstrip('0123456789-_.'))}*{glob.escape(file.suffix)}"
    path = project.contracts_dir / f"{name}.odcs.yaml"
    source = next(iter(project.sources))
    owner = f"owner@{project.name.replace('_', '-')}.example"
    text = inference.render_contract(
        name, source=source, glob=files, file_format=file_format, settings=settings, owner=owner, columns=columns,
        primary_key=key,
    )  # fmt: skip
    write_new_files({path: text})
    with ExitStack() as undo:
        undo.callback(path.unlink)
        load_named_contract(project, name)
        undo.pop_all()
    ctx.echo(f"contract {path}, inferred from {rows.num_rows:,} rows; review and edit it:")
    column_rows = [(column.name, column.type, _describe_egress(column), column.evidence) for column in columns]
    ctx.echo_table(("column", "type", "egress", "evidence"), column_rows)
    ctx.echo(f"key: {' + '.join(key) or 'none found, so duplicate rows are kept'}")
    ctx.echo(f"files: {files} of {source}; owner: {owner}, a placeholder; other columns never leave the enclave")
    plain_columns = [column.name for column in columns if column.egress == "plain"]
    ctx.echo(_describe_plain_columns(plain_columns))
    document = {"contract": str(path), "files": files, "key": list(key), "plain": plain_columns}
    ctx.print_result(
        {**document, "columns": [column._asdict() for column in columns]},
        next_command=_next_ingest_command(project, source, file),
    )
    return 0


def load_named_contract(project: Project, name: str) -> DataContract:
    """Read a contract of the project by its table name. Raises NotFound with the nearest name, ProjectError."""
    from wellspring.data.contracts.contract import CONTRACT_GLOB, load_contract
    from wellspring.records.clock import SystemClock

    path = project.contracts_dir / f"{name}.odcs.yaml"
    if not path.is_file():
        contract_names = [
            contract_path.name.removesuffix(".odcs.yaml") for contract_path in project.contracts_dir.glob(CONTRACT_GLOB)
        ]
        raise NotFound(f"no contract {name!r} in {project.contracts_dir}", fix=suggest_name(name, contract_names))
    return load_contract(path, tenant=project.tenant, known_since=SystemClock().now())


def _table_name(file: Path) -> str:
    stem = re.sub(r"[-_. ]*[0-9][-_.0-9]*$", "", file.stem.lower())
    return re.sub(r"[^a-z0-9]+", "_", stem).strip("_")


def _describe_egress(column: InferredColumn) -> str:
    return f"{column.egress} ({column.domain})" if column.domain else column.egress


def _describe_plain_columns(plain_columns: Sequence[str]) -> str:
    if not plain_columns:
        return "no column leaves the enclave unchanged: edit `egress` in the contract for columns without personal data"
    noun = "column leaves" if len(plain_columns) == 1 else "columns leave"
    names = ", ".join(plain_columns)
    return f"{len(plain_columns)} {noun} the enclave unchanged: {names} - check before `wellspring ingest`"


def _next_ingest_command(project: Project, source: str, file: Path) -> str:
    """Return the next command: `up`, or the copy of the file to its source and `ingest` if the servers are up."""
    from wellspring.supervisor import client

    rows = client.list_server_status(project)
    if not rows or any(row.state != "up" for row in rows):
        return "wellspring up"
    settings = project.sources[source]
    outbox = settings.drop_folder(project.root)
    if outbox is None:
        return f"wellspring ingest {source}    (once {file.name} is in {settings.place})"
    outbox_path = outbox.relative_to(Path.cwd()) if outbox.is_relative_to(Path.cwd()) else outbox
    return f"cp {shlex.quote(str(file))} {shlex.quote(str(outbox_path))}/ && wellspring ingest {source}"
