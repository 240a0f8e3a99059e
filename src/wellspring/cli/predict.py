"""The `predict` command: request one prediction from the API."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from wellspring.cli.context import CliContext
from wellspring.cli.trace import get_command_trace
from wellspring.cli.worker_client import run_worker
from wellspring.project import Project

if TYPE_CHECKING:
    from wellspring.records.models import Prediction


@click.command()
@click.argument("model")
@click.argument("keys", nargs=-1, metavar="[COLUMN=TOKEN]...")
@click.option("--newest", is_flag=True, help="Predict for the newest row of the built edition.")
@click.option("--reasons/--no-reasons", default=True, help="Whether to include the reasons.")
@click.pass_obj
def predict(ctx: CliContext, model: str, keys: tuple[str, ...], newest: bool, reasons: bool) -> int:
    """Request a prediction of MODEL for one entity, named by its tokens; the response is journaled and signed."""
    from wellspring.client import Client

    project = ctx.load_project()
    if newest == bool(keys):
        raise click.UsageError("give COLUMN=TOKEN for each key, or --newest")
    entity_keys = _latest_keys(ctx, project, model) if newest else _parse_keys(keys)
    prediction = Client(project, trace=get_command_trace()).predict(model, entity_keys, include_reasons=reasons)
    ctx.echo(f"{format_output(prediction)}; {prediction.freshness}")
    for attribution in prediction.reasons:
        ctx.echo(f"  {'+' if attribution.contribution > 0 else '-'} {attribution.description}")
    if prediction.mode == "development":
        ctx.echo("development: one person was enough to release this model")
    ctx.echo(f"release {prediction.release}, edition {prediction.edition}, as of {prediction.as_of:%Y-%m-%d %H:%M} UTC")
    ctx.print_result(
        prediction.model_dump(mode="json"), next_command=f"wellspring prove {prediction.subject} --out PACK"
    )
    return 0


def format_output(prediction: Prediction) -> str:
    """Format decision and score, and the threshold, interval or other classes that belong to them."""
    details: list[str] = []
    if prediction.interval is not None:
        details.append(f"interval {prediction.interval[0]:.3f} to {prediction.interval[1]:.3f}")
    if prediction.threshold is not None:
        details.append(f"threshold {prediction.threshold}")
    remaining = [item for item in prediction.probabilities or () if item.label != prediction.decision]
    details += [f"{item.label} {item.probability:.3f}" for item in remaining[:3]]
    if prediction.decision:
        return f"{prediction.decision} ({', '.join([f'{prediction.score:.3f}', *details])})"
    return f"{prediction.score:.3f} ({', '.join(details)})" if details else f"{prediction.score:.3f}"


def _latest_keys(ctx: CliContext, project: Project, model: str) -> dict[str, str]:
    entity_keys: dict[str, str] = run_worker(project, "latest-keys", model)[0]
    ctx.echo(f"keys: {', '.join(f'{name}={token}' for name, token in entity_keys.items())}")
    return entity_keys


def _parse_keys(keys: tuple[str, ...]) -> dict[str, str]:
    # The error repeats no argument: it could be an identifier.
    if malformed_keys := [key for key in keys if "=" not in key]:
        raise click.UsageError(f"{len(malformed_keys)} of the keys are not COLUMN=TOKEN")
    pairs = [key.split("=", 1) for key in keys]
    if not all(column for column, _ in pairs):
        raise click.UsageError("a key has no COLUMN before the =")
    if repeated := len(pairs) - len({column for column, _ in pairs}):
        raise click.UsageError(f"{repeated} of the keys name a column a second time")
    return {pair[0]: pair[1] for pair in pairs}
