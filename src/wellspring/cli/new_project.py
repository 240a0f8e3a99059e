"""The `new project` command: create a project from the templates."""

from __future__ import annotations

import re
from pathlib import Path

import click

from wellspring.cli.context import CliContext
from wellspring.cli.new import TEMPLATE_SUFFIX, TEMPLATES, fill_template, write_new_files
from wellspring.errors import Refused


@click.command()
@click.argument("name")
@click.option("--source", "kind", default="sftp", help="The kind of its source of drops (default: sftp).")
@click.pass_obj
def create_project(ctx: CliContext, name: str, kind: str) -> int:
    """Create a project in a new folder NAME (or in --project FOLDER); its tests pass unchanged."""
    from wellspring.data.sources.registry import load_source_kind

    if not re.fullmatch(r"[a-z][a-z0-9_]{1,39}", name):
        raise click.UsageError("a project name has 2 to 40 lower-case letters, digits and _, and starts with a letter")
    folder = (ctx.folder or Path(name)).absolute()
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise Refused(f"{folder} is not empty", fix="name a new folder, or an empty one")
    source = load_source_kind(kind).template
    values = {"name": name, "tenant": name.replace("_", "-").rstrip("-"), "source": source}
    template_dir = TEMPLATES / "project"
    files: dict[Path, str] = {}
    for path in sorted(template_dir.rglob(f"*{TEMPLATE_SUFFIX}")):
        relative_path = path.relative_to(template_dir).as_posix().removesuffix(TEMPLATE_SUFFIX).replace("dot-", ".")
        files[folder / relative_path] = fill_template(path, values)
    write_new_files(files)
    for empty_folder in ("contracts", "models", "dbt/models", "dbt/tests"):
        (folder / empty_folder).mkdir(parents=True, exist_ok=True)
    nested = folder.parent == Path.cwd()
    ctx.echo(f"project {name} in {folder}: {len(files)} files; its users are ann (author, approver) and bob (approver)")
    ctx.echo("it is in development: one person releases a model, without an authenticator; README.md has the way on")
    ctx.print_result(
        {"project": name, "folder": str(folder), "files": sorted(map(str, files))},
        next_command=f"cd {folder.name if nested else folder} && wellspring new contract ../FILE.csv",
    )
    return 0
