"""The `source` commands: list the sources of a project, and store the credentials of one."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING, Any

import click

from wellspring.cli.context import CliContext, LazyGroup
from wellspring.cli.render import escape_text

if TYPE_CHECKING:
    from wellspring.data.sources.port import SourceKind


@click.group(cls=LazyGroup)
def source() -> None:
    """List the sources of drops that wellspring.toml names, and store their credentials."""


@source.command("list")
@click.pass_obj
def list_sources(ctx: CliContext) -> int:
    """List the sources of this project: kind, place, and the secret that holds the credentials."""
    from wellspring.data.sources.registry import list_source_kinds

    project = ctx.load_project()
    rows = [
        (name, settings.kind, settings.place, settings.secret_path(name) or "none: the machine's identity")
        for name, settings in project.sources.items()
    ]
    ctx.echo_table(("name", "kind", "place", "credentials"), rows)
    ctx.echo(f"installed kinds: {', '.join(list_source_kinds())}")
    document = [dict(zip(("name", "kind", "place", "secret"), row, strict=True)) for row in rows]
    ctx.print_result(document, next_command="wellspring ingest")
    return 0


@source.command()
@click.argument("name")
@click.pass_obj
def login(ctx: CliContext, name: str) -> int:
    """Store the credentials of source NAME in OpenBao, where only the enclave can read them.

    At a terminal it asks for each. Otherwise it reads standard input: the value itself if the kind of source has one
    (an SFTP private key), else a JSON object of texts.
    """
    from wellspring.bootstrap import open_enclave_client
    from wellspring.data.sources.registry import load_source_kind
    from wellspring.enclave.source_login import check_credentials, require_own_secret

    project = ctx.load_project()
    kind = load_source_kind(project.source_settings(name).kind)
    require_own_secret(project, name)
    values = check_credentials(kind, _prompt_values(kind, name) if sys.stdin.isatty() else _read_values(kind))
    stored_keys = open_enclave_client(project).store_credentials(name, values)
    ctx.echo(f"stored the credentials of {name}: {', '.join(stored_keys)}")
    ctx.print_result({"source": name, "keys": list(stored_keys)}, next_command=f"wellspring ingest {name}")
    return 0


def _prompt_values(kind: SourceKind, name: str) -> dict[str, str]:
    values: dict[str, str] = {}
    for key in kind.secret_keys:
        if key.multiline:
            raise click.UsageError(f"{key.name} has several lines: wellspring source login {name} < FILE")
        label = key.name if key.required else f"{key.name} (empty for none)"
        default = None if key.required else ""
        values[key.name] = str(
            click.prompt(escape_text(label), hide_input=True, default=default, show_default=False, err=True)
        )
    return values


def _read_values(kind: SourceKind) -> dict[str, str]:
    text = sys.stdin.read()
    if len(kind.secret_keys) == 1:
        return {kind.secret_keys[0].name: text}
    try:
        return _decode_texts(text)
    except ValueError:
        names = ", ".join(f'"{key.name}": "..."' for key in kind.secret_keys if key.required)
        raise click.UsageError(
            f"standard input is not a JSON object of texts, each key once, such as {{{names}}}"
        ) from None


def _decode_texts(text: str) -> dict[str, str]:
    """Decode a JSON object of texts. Raises ValueError for anything else, also for a repeated key."""
    pairs: list[tuple[str, Any]] = json.loads(text, object_pairs_hook=list)
    is_object = text.lstrip().startswith("{")
    if not is_object or len({key for key, _ in pairs}) != len(pairs):
        raise ValueError
    if not all(isinstance(value, str) for _, value in pairs):
        raise ValueError
    return dict(pairs)
