"""The witness's process: its own uid, its own key, its own memory of the log."""

from __future__ import annotations

import argparse
from pathlib import Path

from wellspring.project import load
from wellspring.records.clock import SystemClock
from wellspring.servers.confine import confine


def main() -> None:
    """Run the witness of one project."""
    from wellspring.trust.ledger.witness import serve

    parser = argparse.ArgumentParser(prog="python -m wellspring.servers.witness")
    parser.add_argument("--project", type=Path, required=True)
    project = load(parser.parse_args().project)
    confine(project, role="witness")
    log = (project.ledger / "vkey").read_text(encoding="utf-8").strip()
    serve(project.root / project.witness.folder, project.socket("witness"), log, clock=SystemClock())


if __name__ == "__main__":
    main()
