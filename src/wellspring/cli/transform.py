"""The `transform` command: build tables and features from the newest landed edition."""

from __future__ import annotations

import click

from wellspring.cli.context import CliContext
from wellspring.cli.render import progress_bar, suggest_model
from wellspring.cli.worker_client import run_worker

ALREADY_BUILT_EXIT_CODE = 3


@click.command()
@click.pass_obj
def transform(ctx: CliContext) -> int:
    """Build tables and features from the newest landed edition, audit them for leakage, and publish them online.

    Exit 0: a new built edition. 3: the same code has already built this edition.
    """
    project = ctx.load_project()
    with progress_bar(enabled=not ctx.as_json) as draw:
        built = run_worker(project, "transform", on_progress=draw)
    edition = built["edition"]
    ctx.echo(f"built edition {edition['id']} from landed {edition['parent']}, with the dbt code of {built['release']}")
    if not built["is_on_disk"]:
        command = ctx.full_command("wellspring release propose --kind transform")
        ctx.echo(f"the dbt code on disk differs, and is built once it is released: {command}")
    ctx.echo_table(("table", "rows"), [(table["table"], table["rows"]) for table in built["tables"]])
    for leak in built["leaks"]:
        ctx.echo(f"  {leak} used future data: the gate refuses each model that uses it")
    if built["online_rows"]:
        ctx.echo_table(("view", "rows online"), list(built["online_rows"].items()))
    for item in built["warm"]:
        what = item["problem"] or f"fresh, from edition {item['edition']}"
        ctx.echo(f"features of release {item['release']} of {item['model']}: {what}")
    ctx.print_result(built, next_command=f"wellspring train {suggest_model(project)}")
    return 0 if built["newly_built"] else ALREADY_BUILT_EXIT_CODE
