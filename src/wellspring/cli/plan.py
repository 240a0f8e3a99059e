"""The `plan` command: the project's jobs, their triggers and next runs, as a table, JSON or a picture."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from wellspring.cli.context import CliContext

if TYPE_CHECKING:
    from wellspring.plan import Plan, PlannedJob


@click.command()
@click.option(
    "--picture", type=click.Path(path_type=Path, dir_okay=False), help="Write the plan as an SVG picture to this file."
)
@click.pass_obj
def plan(ctx: CliContext, picture: Path | None) -> int:
    """Show which jobs run when, after what and until when, from the [jobs] tables of wellspring.toml."""
    from wellspring.cli.plan_picture import draw_plan
    from wellspring.plan import build_plan
    from wellspring.runtime.files import write_atomically
    from wellspring.runtime.simulated_clock import open_clock

    project = ctx.load_project()
    built_plan, now = build_plan(project), open_clock(project).now()
    rows = [_describe_job(built_plan, job, now) for job in built_plan.jobs.values()]
    columns = ("name", "kind", "subject", "trigger", "sla", "next")
    if rows:
        ctx.echo_table(("job", *columns[1:]), [tuple(row[column] for column in columns) for row in rows])
    else:
        ctx.echo("wellspring.toml has no [jobs]: every job starts on request")
    if picture is not None:
        write_atomically(picture.absolute(), draw_plan(built_plan).encode())
        ctx.echo(f"the picture is in {picture}")
    ctx.print_result(rows, next_command=f"wellspring run {rows[0]['name']}" if rows else "wellspring status")
    return 0


def _describe_job(built_plan: Plan, job: PlannedJob, now: datetime) -> dict[str, Any]:
    settings, instant = job.settings, built_plan.next_instant(job, now)
    return {
        "name": job.name,
        "kind": settings.kind,
        "subject": settings.subject,
        "trigger": job.trigger,
        "schedule": settings.schedule,
        "timezone": settings.timezone,
        "on_new_file": settings.on_new_file,
        "after": list(settings.after),
        "sla": "" if settings.sla is None else str(settings.sla),
        "priority": settings.priority,
        "next": "" if instant is None else f"{instant:%Y-%m-%dT%H:%M:%SZ}",
    }
