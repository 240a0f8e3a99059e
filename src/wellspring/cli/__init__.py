"""The command line: one door, and the last line of each command is the next one to type."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from wellspring.cli.door import Door, WellspringGroup


@click.group(cls=WellspringGroup, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.option(
    "--project",
    "folder",
    type=click.Path(path_type=Path, file_okay=False),
    help="The project's folder; else the nearest wellspring.toml upwards.",
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document instead of text.")
@click.version_option(package_name="wellspring", message="wellspring %(version)s")
@click.pass_context
def cli(context: click.Context, folder: Path | None, as_json: bool) -> None:
    """A record walks from a vendor's drop to a decision, and every step it takes leaves proof."""
    context.obj = Door(folder=folder, as_json=as_json)


def main(argv: list[str] | None = None) -> None:
    """Run the command line and exit with its code; a mistake is one to three lines, never a traceback."""
    from wellspring.cli.door import carry_out

    sys.exit(carry_out(cli, argv))


cli.lazily(
    {
        "demo": "wellspring.cli.demo:demo",
        "new": "wellspring.cli.new:new",
        "up": "wellspring.cli.house:up",
        "down": "wellspring.cli.house:down",
        "restart": "wellspring.cli.house:restart",
        "status": "wellspring.cli.house:status",
        "doctor": "wellspring.cli.house:doctor",
        "clean": "wellspring.cli.house:clean",
        "receive": "wellspring.cli.receive:receive",
        "quarantine": "wellspring.cli.receive:quarantine",
        "transform": "wellspring.cli.learn:transform",
        "learn": "wellspring.cli.learn:learn",
        "people": "wellspring.cli.people:people",
        "release": "wellspring.cli.release:release",
        "ask": "wellspring.cli.learn:ask",
        "replay": "wellspring.cli.learn:replay",
        "history": "wellspring.cli.release:history",
        "prove": "wellspring.cli.proof:prove",
        "verify": "wellspring.cli.proof:verify",
        "ledger": "wellspring.cli.proof:ledger",
    }
)
