"""Runs the ledger's witness as a process with its own uid, key and state."""

from __future__ import annotations

from wellspring.project import load_project
from wellspring.runtime.process import build_argument_parser
from wellspring.runtime.sandbox import confine_process
from wellspring.runtime.simulated_clock import open_clock


def main() -> None:
    """Run the witness of one project."""
    from wellspring.trust.ledger.witness import serve_witness

    arguments = build_argument_parser("wellspring.embedded.witness").parse_args()
    project = load_project(arguments.project, sources=False)
    confine_process(project, role="witness")
    log_key = (project.ledger_dir / "vkey").read_text(encoding="utf-8").strip()
    serve_witness(
        project.root / project.witness.folder, project.socket_path("witness"), log_key, clock=open_clock(project)
    )


if __name__ == "__main__":
    main()
