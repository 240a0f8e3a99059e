"""The `train` command: train a model, evaluate it and apply its gate."""

from __future__ import annotations

from typing import Any

import click

from wellspring.cli.context import CliContext
from wellspring.cli.render import progress_bar
from wellspring.cli.worker_client import ProgressCallback, run_worker
from wellspring.project import Project
from wellspring.runtime.git import read_revision


@click.command()
@click.argument("model")
@click.option("--reproduce", metavar="RUN", help="Train that run again and compare every byte of its files.")
@click.option("--evaluate", is_flag=True, help="Do not train: score and gate the live model on the newest features.")
@click.option("--draft", is_flag=True, help="Train on a build with the dbt code on disk, which is not released.")
@click.pass_obj
def train(ctx: CliContext, model: str, reproduce: str | None, evaluate: bool, draft: bool) -> int:
    """Train models/MODEL.py on the newest built edition and apply its gate.

    With --evaluate, the candidate has the files of the live release, on the features of the newest transform.

    With --draft, on a build with the dbt code on disk. A release of its candidate pins that code for this model only;
    other models and queries keep the released code (`release propose --kind transform`).

    Exit 0: the gate passes the candidate. 77: the gate refuses it; the reasons are printed.
    """
    if evaluate and reproduce is not None:
        raise click.UsageError("--evaluate trains no run: leave out --reproduce")
    if draft and (evaluate or reproduce is not None):
        raise click.UsageError("--draft trains a new candidate: leave out --evaluate and --reproduce")
    project = ctx.load_project()
    with progress_bar(enabled=not ctx.as_json) as draw:
        if reproduce is not None:
            reproduced = run_worker(project, "reproduce", model, params={"run": reproduce}, on_progress=draw)
            ctx.echo(f"run {reproduce} reproduced: {len(reproduced['files'])} files with identical bytes")
            ctx.print_result(reproduced, next_command=f"wellspring prove run:{reproduce} --out PACK")
            return 0
        job = "evaluate" if evaluate else "train-draft" if draft else "train"
        candidate = run_training(project, model, job=job, on_progress=draw)
    print_candidate(ctx, candidate)
    ctx.print_result(candidate, next_command=f"wellspring release propose {candidate['id']}")
    return 0


def run_training(
    project: Project, model: str, *, job: str = "train", on_progress: ProgressCallback | None = None
) -> dict[str, Any]:
    """Let the worker train or evaluate a model. It gets the commit of the project, whose repository it may not read."""
    params = {"revision": read_revision(project.root)._asdict()}
    return run_worker(project, job, model, params=params, on_progress=on_progress)


def print_candidate(ctx: CliContext, candidate: dict[str, Any]) -> None:
    """Print the metrics of a candidate and of its baselines."""
    scores = candidate["scores"]
    ctx.echo(
        f"candidate {candidate['id']} of {candidate['model']}: "
        f"{scores['train_rows']:,} training rows, {scores['test_rows']:,} test rows"
    )
    estimates = [*scores["metrics"].items()]
    estimates += [
        (f"{scores['main_metric']} of baseline {name}", estimate) for name, estimate in scores["baselines"].items()
    ]
    rows = [
        (name, f"{estimate['value']:.3f}", f"{estimate['low']:.3f} - {estimate['high']:.3f}")
        for name, estimate in estimates
    ]
    ctx.echo_table(("metric", "value", "95 % interval"), rows)
    for reason in candidate["verdict"]["reasons"]:
        ctx.echo(f"  {reason['code']}: {reason['message']}")
    ctx.echo(f"run {candidate['run']}; reproduce it with `wellspring train {candidate['model']} --reproduce RUN`")
