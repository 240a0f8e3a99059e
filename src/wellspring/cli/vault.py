"""The `vault` commands: how many persons have a sealed row, and the drops that are still to be read for them."""

from __future__ import annotations

from typing import Any

import click

from wellspring.cli.context import CliContext, LazyGroup
from wellspring.cli.render import progress_bar
from wellspring.cli.worker_client import run_worker


@click.group(cls=LazyGroup)
def vault() -> None:
    """Count the sealed rows of persons, and read earlier drops for them; no value leaves the enclave."""


@vault.command("status")
@click.pass_obj
def show_vault(ctx: CliContext) -> int:
    """Count the persons of whom the vault keeps a sealed row, and the drops that were not read for them."""
    counts: dict[str, Any] = run_worker(ctx.load_project(), "person-counts")
    _print_rows(ctx, counts["rows"])
    unread: list[str] = counts["unread_drops"]
    if unread:
        ctx.echo(f"{len(unread):,} drops were not read for their persons")
    ctx.print_result(counts, next_command="wellspring vault backfill" if unread else "wellspring status")
    return 0


@vault.command("backfill")
@click.pass_obj
def backfill_vault(ctx: CliContext) -> int:
    """Read each drop whose original is kept and that landed before its contract named a person.

    It can be interrupted and run again.
    """
    with progress_bar(enabled=not ctx.as_json) as draw:
        result: dict[str, Any] = run_worker(ctx.load_project(), "backfill", on_progress=draw)
    for drop, persons in result["drops"].items():
        ctx.echo(f"{drop}: {persons:,} new person rows")
    _print_rows(ctx, result["rows"])
    ctx.print_result(result, next_command="wellspring vault status")
    return 0


def _print_rows(ctx: CliContext, rows: dict[str, int]) -> None:
    if rows:
        ctx.echo_table(("domain", "persons"), [(domain, f"{count:,}") for domain, count in rows.items()])
    else:
        ctx.echo("no person has a row; a contract names its column of persons by the property `person`")
