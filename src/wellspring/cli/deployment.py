"""`release deploy`, `undeploy` and `promote`: an approved release beside the live one, for a share of the requests."""

from __future__ import annotations

import secrets
import time
from typing import TYPE_CHECKING, Any

import click

from wellspring.cli.context import CliContext
from wellspring.cli.render import progress_bar
from wellspring.cli.users import require_terminal, sign_as_user, sign_notes_as_user
from wellspring.cli.worker_client import run_worker
from wellspring.errors import NotFound, Refused, suggest_name
from wellspring.records.record import format_instant
from wellspring.runtime.simulated_clock import open_clock

if TYPE_CHECKING:
    from wellspring.project import Project
    from wellspring.records.models import Release
    from wellspring.records.user_notes import NoteKind

DEFAULT_SHARE = "0.1"
MAX_PERCENT = 100


def validate_share(_: click.Context, __: click.Parameter, text: str | None) -> str | None:
    """Accept a share as 0.1 or 10%; return it as decimal text. Raises click.BadParameter."""
    if text is None:
        return None
    try:
        number = float(text.removesuffix("%")) / (MAX_PERCENT if text.endswith("%") else 1)
    except ValueError:
        number = -1.0
    share = f"{number:.4f}".rstrip("0")
    if not 0 < number < 1 or float(share) != number:
        raise click.BadParameter(f"{text!r} is not a share between 0 and 1: write it as 0.1 or 10%")
    return share


@click.command()
@click.argument("name")
@click.option("--share", callback=validate_share, help="Share of the requests that NAME answers: 0.1 or 10%.")
@click.option("--seed", help="16 hexadecimal digits that divide the requests. Default: the present ones, or drawn.")
@click.pass_obj
def deploy(ctx: CliContext, name: str, share: str | None, seed: str | None) -> int:
    """Let the approved release NAME answer a share of the requests, as the challenger of the live one.

    For the challenger itself, change its share: a larger one adds requests, and takes none away. You log in and sign
    it. A change of the live release ends the role of the challenger.
    """
    project, release = _find_release(ctx, name)
    note = _build_deployment_note(project, release, share, seed)
    refresh_cold_release(ctx, project, name)
    print_deployment(ctx, _run(project, "deploy", name, *note))
    return 0


@click.command()
@click.argument("model")
@click.pass_obj
def undeploy(ctx: CliContext, model: str) -> int:
    """End the role of the challenger of MODEL: the live release answers every request. One user is enough."""
    from wellspring_verify.approvals import undeployment_line

    project = ctx.load_project()
    require_terminal()
    current = run_worker(project, "deployment", model, offline=True)
    challenger = current["challenger"]
    if not challenger:
        raise Refused(f"{model} has no challenger", fix="see `wellspring release list`")
    line, signed_at = undeployment_line(current["stable"], challenger), format_instant(open_clock(project).now())
    changed = _run(project, "undeploy", model, "undeployment", (model, line, signed_at))
    ctx.echo(f"{changed['user']} ended the role of release {challenger}: {model} has no challenger")
    ctx.print_result(changed, next_command=f"wellspring history {model}")
    return 0


@click.command()
@click.argument("name")
@click.pass_obj
def promote(ctx: CliContext, name: str) -> int:
    """Make the approved release NAME live, such as the challenger. You log in; its author cannot do this."""
    project, release = _find_release(ctx, name)
    listed = run_worker(project, "releases", offline=True)["releases"]
    if not any(item["id"] == name and item["approved_by"] for item in listed):
        raise Refused(
            f"release {name} is not approved", fix=f"run `wellspring release approve {name}`, which shows what changes"
        )
    note = sign_as_user(project, "release", release.model, release.id, release.digest)
    promoted = run_worker(project, "approve", name, params={"note": note.model_dump(mode="json")})
    ctx.echo(f"{release.model} serves release {release.id}, approved by {promoted['user']}")
    ctx.print_result(promoted, next_command=f"wellspring predict {release.model} --newest")
    return 0


def approve_challenger(ctx: CliContext, project: Project, release: Release, share: str) -> int:
    """Approve a release and deploy it as the challenger, in one login."""
    kind, lines = _build_deployment_note(project, release, share, None)
    approval = ("release", (release.model, release.id, release.digest))
    refresh_cold_release(ctx, project, release.id)
    approval_note, deployment_note = sign_notes_as_user(project, [approval, (kind, lines)])
    params = {"note": approval_note.model_dump(mode="json"), "challenger": True}
    run_worker(project, "approve", release.id, params=params)
    params = {"note": deployment_note.model_dump(mode="json")}
    print_deployment(ctx, run_worker(project, "deploy", release.id, params=params))
    return 0


def refresh_cold_release(ctx: CliContext, project: Project, name: str) -> None:
    """Let a job build the features of a release that is not kept fresh, and say how long it took."""
    releases = run_worker(project, "releases", offline=True)["releases"]
    if any(release["id"] == name and release["warm"] for release in releases):
        return
    started_at = time.perf_counter()
    with progress_bar(enabled=not ctx.as_json) as draw:
        refreshed = run_worker(project, "refresh", name, on_progress=draw)
    seconds = time.perf_counter() - started_at
    origin = "built by its own dbt code" if refreshed["built"] else "of the newest build"
    ctx.echo(f"the features of release {name} are online, {origin} ({seconds:.1f} s)")


def print_deployment(ctx: CliContext, changed: dict[str, Any]) -> None:
    """Print what a deployment changed, and the next command."""
    deployment = changed["deployment"]
    ctx.echo(
        f"release {deployment['challenger']} answers {float(deployment['share']) * MAX_PERCENT:g}% of the requests of "
        f"{deployment['model']} beside release {deployment['stable']}, as {changed['user']} decided"
    )
    ctx.print_result(changed, next_command=f"wellspring release promote {deployment['challenger']}")


def _find_release(ctx: CliContext, name: str) -> tuple[Project, Release]:
    from wellspring.models.releases.store import ReleaseStore

    project = ctx.load_project()
    require_terminal()
    store = ReleaseStore(project.models_dir)
    if name not in store.list_ids():
        raise NotFound(f"no release {name!r}", fix=f"{suggest_name(name, store.list_ids())}; see `release list`")
    return project, store.get(name)


def _build_deployment_note(
    project: Project, release: Release, share: str | None, seed: str | None
) -> tuple[NoteKind, tuple[str, ...]]:
    """Return kind and lines of the note of a deployment. A challenger keeps its seed, unless another is given."""
    from wellspring_verify.approvals import deployment_line

    current = run_worker(project, "deployment", release.model, offline=True)
    if current["challenger"] == release.id:
        share, seed = share or current["share"], seed or current["seed"]
    line = deployment_line(
        current["stable"] or "none", release.id, "canary", share or DEFAULT_SHARE, seed or secrets.token_hex(8)
    )
    return "deployment", (release.model, line, format_instant(open_clock(project).now()))


def _run(project: Project, job: str, subject: str, kind: NoteKind, lines: tuple[str, ...]) -> dict[str, Any]:
    note = sign_as_user(project, kind, *lines)
    result: dict[str, Any] = run_worker(project, job, subject, params={"note": note.model_dump(mode="json")})
    return result
