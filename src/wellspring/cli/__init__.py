"""The command line interface. Each command prints the next command to type as its last line."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from wellspring.cli.context import CliContext, LazyGroup


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.option(
    "--project",
    "folder",
    type=click.Path(path_type=Path, file_okay=False),
    help="The project folder. Default: the nearest parent folder that holds wellspring.toml.",
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document instead of text.")
@click.version_option(package_name="wellspring", message="wellspring %(version)s")
@click.pass_context
def cli(context: click.Context, folder: Path | None, as_json: bool) -> None:
    """Ingest drops, build features, train and release models, serve predictions, and prove every step."""
    context.obj = CliContext(folder=folder, as_json=as_json)


def main(argv: list[str] | None = None) -> None:
    """Run the command line and exit with its code. An expected error is printed in a few lines, without a traceback."""
    from wellspring.cli.context import run_command

    sys.exit(run_command(cli, argv))


cli.register_lazy(
    {
        "demo": "wellspring.cli.demo:demo",
        "new": "wellspring.cli.new:new",
        "up": "wellspring.cli.servers:up",
        "down": "wellspring.cli.servers:down",
        "restart": "wellspring.cli.servers:restart",
        "status": "wellspring.cli.servers:status",
        "incident": "wellspring.cli.incident:incident",
        "doctor": "wellspring.cli.servers:doctor",
        "backup": "wellspring.cli.backup:backup",
        "clean": "wellspring.cli.servers:clean",
        "job": "wellspring.cli.job:job",
        "run": "wellspring.cli.job:run_job_command",
        "source": "wellspring.cli.source:source",
        "ingest": "wellspring.cli.ingest:ingest",
        "drop": "wellspring.cli.drop:drop",
        "finding": "wellspring.cli.finding:finding",
        "quarantine": "wellspring.cli.quarantine:quarantine",
        "vault": "wellspring.cli.vault:vault",
        "transform": "wellspring.cli.transform:transform",
        "retain": "wellspring.cli.retention:retain",
        "hold": "wellspring.cli.retention:hold",
        "train": "wellspring.cli.train:train",
        "plan": "wellspring.cli.plan:plan",
        "users": "wellspring.cli.users:users",
        "release": "wellspring.cli.release:release",
        "predict": "wellspring.cli.predict:predict",
        "replay": "wellspring.cli.replay:replay",
        "outcome": "wellspring.cli.outcome:outcome",
        "history": "wellspring.cli.release:history",
        "prove": "wellspring.cli.proof:prove",
        "verify": "wellspring.cli.proof:verify",
        "ledger": "wellspring.cli.proof:ledger",
    }
)
