"""transform, learn, ask: from a landed edition to an answer."""

from __future__ import annotations

from typing import Any

import click

from wellspring.cli.context import CliContext
from wellspring.cli.render import progress_bar, render_table, suggest_model
from wellspring.cli.worker_client import run_worker

ALREADY_BUILT_EXIT_CODE = 3


@click.command()
@click.pass_obj
def transform(ctx: CliContext) -> int:
    """Build the tables and features from the newest landed edition, audit them, publish, and put them online.

    Exit 0: a new built edition. 3: this edition was built already by this code.
    """
    project = ctx.load_project()
    with progress_bar(enabled=not ctx.as_json) as draw:
        built = run_worker(project, "transform", on_progress=draw)
    edition = built["edition"]
    ctx.echo(f"built edition {edition['id']} from landed {edition['parent']}")
    ctx.echo(render_table(("table", "rows"), [(item["table"], item["rows"]) for item in built["tables"]]))
    for leak in built["leaks"]:
        ctx.echo(f"  {leak} knew the future: no model that uses it passes the gate")
    if built["online_rows"]:
        ctx.echo(render_table(("view", "rows online"), list(built["online_rows"].items())))
    ctx.print_result(built, next_command=f"wellspring train {suggest_model(project)}")
    return 0 if built["newly_built"] else ALREADY_BUILT_EXIT_CODE


@click.command()
@click.argument("model")
@click.option("--reproduce", metavar="RUN", help="Train that run again, and compare every byte.")
@click.pass_obj
def train(ctx: CliContext, model: str, reproduce: str | None) -> int:
    """Train models/MODEL.py on the newest built edition and hold it against its gate.

    Exit 0: the gate lets it pass. 77: it does not, and says why.
    """
    project = ctx.load_project()
    with progress_bar(enabled=not ctx.as_json) as draw:
        if reproduce is not None:
            reproduced = run_worker(project, "reproduce", model, params={"run": reproduce}, on_progress=draw)
            ctx.echo(f"run {reproduce} trained again: {len(reproduced['files'])} files, every byte the same")
            ctx.print_result(reproduced, next_command=f"wellspring prove run:{reproduce} --out PACK")
            return 0
        candidate = run_worker(project, "train", model, on_progress=draw)
    print_candidate(ctx, candidate)
    ctx.print_result(candidate, next_command=f"wellspring release propose {candidate['id']}")
    return 0


def print_candidate(ctx: CliContext, candidate: dict[str, Any]) -> None:
    """Print what a candidate measured, beside its baselines."""
    scores = candidate["scores"]
    ctx.echo(
        f"candidate {candidate['id']} of {candidate['model']}: "
        f"{scores['train_rows']:,} rows to learn from, {scores['test_rows']:,} it never saw"
    )
    labelled_figures = [(name, item) for name, item in scores["metrics"].items()]
    labelled_figures += [(f"baseline: {name}", item) for name, item in scores["baselines"].items()]
    rows = [
        (name, f"{labelled_figure['value']:.3f}", f"{labelled_figure['low']:.3f} - {labelled_figure['high']:.3f}")
        for name, labelled_figure in labelled_figures
    ]
    ctx.echo(render_table(("metric", "value", "95 % interval"), rows))
    for reason in candidate["verdict"]["reasons"]:
        ctx.echo(f"  {reason['code']}: {reason['message']}")
    ctx.echo(f"run {candidate['run']}, which `wellspring train {candidate['model']} --reproduce` trains again")


@click.command()
@click.argument("prediction")
@click.pass_obj
def replay(ctx: CliContext, prediction: str) -> int:
    """Give an answer again (prediction:ID) from the lake; exit 0: equal to the last bit, 20: what differs is named."""
    replayed = run_worker(ctx.load_project(), "replay-predictions", prediction)[0]
    if replayed["equal"]:
        ctx.echo(f"{prediction}: vector and score are equal to the last bit ({float.fromhex(replayed['score']):.6f})")
    else:
        ctx.echo(f"{prediction} is not what was answered: {replayed['first_difference']}")
    ctx.print_result(replayed, next_command=f"wellspring prove {prediction} --out PACK")
    return 0 if replayed["equal"] else 20


@click.command()
@click.argument("model")
@click.argument("keys", nargs=-1, metavar="[COLUMN=TOKEN]...")
@click.option("--newest", is_flag=True, help="Ask about the newest row that the built edition holds.")
@click.option("--reasons/--no-reasons", default=True, help="Whether to say why.")
@click.pass_obj
def predict(ctx: CliContext, model: str, keys: tuple[str, ...], newest: bool, reasons: bool) -> int:
    """Ask MODEL about one thing, named by its tokens; the answer is journalled and signed before it is given."""
    from wellspring.client import Client

    project = ctx.load_project()
    if newest == bool(keys):
        raise click.UsageError("name COLUMN=TOKEN for each key, or say --newest")
    if newest:
        entity_keys: dict[str, str] = run_worker(project, "latest-keys", model)[0]
    else:
        if malformed_keys := [key for key in keys if "=" not in key]:
            raise click.UsageError(f"{len(malformed_keys)} of the keys are not COLUMN=TOKEN")
        entity_keys = dict(key.split("=", 1) for key in keys)
    if newest:
        ctx.echo(f"asked about {', '.join(f'{name}={token}' for name, token in entity_keys.items())}")
    prediction = Client(project).predict(model, entity_keys, include_reasons=reasons)
    ctx.echo(
        f"{prediction.decision} ({prediction.score:.3f}, threshold {prediction.threshold}); {prediction.freshness}"
    )
    for attribution in prediction.reasons:
        ctx.echo(f"  {'+' if attribution.contribution > 0 else '-'} {attribution.description}")
    ctx.echo(f"release {prediction.release}, edition {prediction.edition}, as of {prediction.as_of:%Y-%m-%d %H:%M} UTC")
    ctx.print_result(
        prediction.model_dump(mode="json"), next_command=f"wellspring prove {prediction.subject} --out PACK"
    )
    return 0
