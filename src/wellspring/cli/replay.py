"""The `replay` command: compute a recorded prediction again and compare every bit."""

from __future__ import annotations

import click

from wellspring.cli.context import CliContext
from wellspring.cli.worker_client import run_worker

DIFFERENT_EXIT_CODE = 20


@click.command()
@click.argument("prediction")
@click.pass_obj
def replay(ctx: CliContext, prediction: str) -> int:
    """Recompute PREDICTION (prediction:ID) from the lake. Exit 0: equal to the last bit. 20: it differs."""
    replayed = run_worker(ctx.load_project(), "replay-predictions", prediction)[0]
    if replayed["equal"]:
        ctx.echo(f"{prediction}: vector and score are equal to the last bit ({float.fromhex(replayed['score']):.6f})")
    else:
        ctx.echo(f"{prediction} differs from the recorded prediction: {replayed['first_difference']}")
    ctx.print_result(replayed, next_command=f"wellspring prove {prediction} --out PACK")
    return 0 if replayed["equal"] else DIFFERENT_EXIT_CODE
