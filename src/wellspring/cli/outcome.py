"""The `outcome` commands: record predictions and their truth in the lake, and count them."""

from __future__ import annotations

from typing import Any

import click

from wellspring.cli.context import CliContext, LazyGroup
from wellspring.cli.render import progress_bar
from wellspring.cli.worker_client import run_worker

_COLUMNS = ("model", "predictions", "with_outcome")


@click.group(cls=LazyGroup)
def outcome() -> None:
    """Record predictions and the labels that became known after them as tables of the lake."""


@outcome.command()
@click.pass_obj
def record(ctx: CliContext) -> int:
    """Append the new predictions of the log to the table `prediction`, and new labels to the table `outcome`."""
    with progress_bar(enabled=not ctx.as_json) as draw:
        recorded: dict[str, Any] = run_worker(ctx.load_project(), "record-outcomes", on_progress=draw)
    ctx.echo(f"{recorded['predictions']:,} new predictions, {recorded['outcomes']:,} new outcomes")
    _echo_models(ctx, recorded["models"])
    ctx.print_result(recorded, next_command="wellspring outcome list")
    return 0


@outcome.command("list")
@click.pass_obj
def list_outcomes(ctx: CliContext) -> int:
    """Count the recorded predictions of each model, and those whose outcome is known."""
    models: list[dict[str, Any]] = run_worker(ctx.load_project(), "outcomes")
    _echo_models(ctx, models)
    ctx.print_result(models, next_command="wellspring outcome record")
    return 0


def _echo_models(ctx: CliContext, models: list[dict[str, Any]]) -> None:
    if models:
        ctx.echo_table(
            ("model", "predictions", "with outcome"), [tuple(model[column] for column in _COLUMNS) for model in models]
        )
    else:
        ctx.echo("no prediction is recorded yet")
