"""The `demo` command: run the reference project on real servers, from a vendor's drops to a verified prediction."""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import click

from wellspring.cli.context import CliContext
from wellspring.cli.demo_harness import DemoFigure, begin_scene, indented_context, require_outcome
from wellspring.cli.demo_users import DemoUsers
from wellspring.cli.render import format_age
from wellspring.project import Project

DEMO_FOLDER = Path("wellspring-demo")


@click.command()
@click.option("--keep-up", is_flag=True, help="Leave the servers running at the end.")
@click.pass_obj
def demo(ctx: CliContext, keep_up: bool) -> int:
    """Run the reference project on real servers in a separate folder (default: wellspring-demo)."""
    from wellspring import project
    from wellspring.cli import example_project
    from wellspring.embedded.packages import check_installed
    from wellspring.supervisor import client

    folder = (ctx.folder or DEMO_FOLDER).absolute()
    example_project.copy_example(folder, before_removal=client.clean_project)
    demo_project = project.load_project(folder)
    check_installed(demo_project)
    started_at = time.perf_counter()
    with _demo_servers(ctx, demo_project, keep_up=keep_up) as (startup, code):
        figures = [startup, *_demo_scenes(ctx, demo_project, example_project.load_vendor_module(), code)]
    total_seconds = time.perf_counter() - started_at
    example_project.record_demo_end(folder)
    figures.append(
        DemoFigure(
            "the whole demo",
            "servers up, drops, features, a model, predictions, proofs, servers down",
            f"{total_seconds:.1f} s",
        )
    )
    ctx.echo()
    ctx.echo_table(("measured in this run", "definition", "figure"), figures)
    ctx.echo()
    pack = folder / "pack"
    ctx.echo(f"all files are in {folder}" if keep_up else f"all files are in {folder}; the servers are stopped")
    ctx.echo("next, three commands to try:")
    keys, folder_context = folder / "keys.txt", CliContext(folder=ctx.folder or DEMO_FOLDER, as_json=ctx.as_json)
    for command in (
        f"verify {pack} --key {keys} --witness {keys}", "ledger verify", "up && wellspring status",
    ):  # fmt: skip
        ctx.echo(f"  {folder_context.full_command('wellspring ' + command)}")
    ctx.print_result({"project": str(folder), "figures": [figure._asdict() for figure in figures]})
    return 0


@contextmanager
def _demo_servers(ctx: CliContext, project: Project, *, keep_up: bool) -> Iterator[tuple[DemoFigure, str]]:
    """Start the servers, and stop them at the end; yield how long it took, and the code of the first enrollment."""
    from wellspring.runtime.run_state import describe_separation
    from wellspring.supervisor import client

    ctx.echo(f"project: {project.root}")
    started_at = time.perf_counter()
    codes: list[str] = []
    running = client.start_servers(project, progress=lambda line: ctx.echo(f"  {line}"), on_code=codes.append)
    seconds = time.perf_counter() - started_at
    ctx.echo(f"  {describe_separation(running.separation, running.separation_reason)}")
    figure = DemoFigure("servers up", f"{', '.join(running.servers)}: every probe passes", f"{seconds:.1f} s")
    try:
        yield figure, codes[0] if codes else ""
    finally:
        if not keep_up:
            client.stop_servers(project)


def _demo_scenes(ctx: CliContext, project: Project, vendor: Any, code: str) -> Iterator[DemoFigure]:
    """Run the scenes in order. Each scene checks its outcome, so a demo that ends has shown every outcome."""
    from wellspring.cli import demo_predictions

    outbox = project.vendor_dir / "outbox"
    yield from _good_drop_scene(ctx, project, vendor, outbox)
    drop, repairable, figures = _bad_drop_scene(ctx, project, vendor, outbox)
    yield from figures
    yield from _broken_schema_scene(ctx, project, vendor, outbox)
    users = DemoUsers(project, code)
    yield from _repair_scene(ctx, project, users, vendor, drop, repairable)
    yield from _proof_scene(ctx, project)
    yield from demo_predictions.run_prediction_scenes(ctx, project, users, vendor)


def _good_drop_scene(ctx: CliContext, project: Project, vendor: Any, outbox: Path) -> Iterator[DemoFigure]:
    begin_scene(
        ctx,
        "1. Eighteen months of six tables: identifiers leave the enclave as tokens; one edition publishes all tables",
    )
    good = vendor.history(outbox)
    started_at = time.perf_counter()
    received = _ingest_drops(ctx, project)
    seconds = time.perf_counter() - started_at
    require_outcome(
        received["newly_published"] and _sum_accounts(received, "published") == sum(good.rows.values()),
        "every good row is published",
    )
    rows = sum(good.rows.values())
    yield DemoFigure(
        "a drop becomes an edition", f"{rows:,} rows from SFTP to readers, proof included", f"{seconds:.1f} s"
    )


def _bad_drop_scene(ctx: CliContext, project: Project, vendor: Any, outbox: Path) -> tuple[str, int, list[DemoFigure]]:
    begin_scene(
        ctx,
        "2. A bad drop: ten kinds of bad rows are quarantined inside the enclave, with reasons; the rest is published",
    )
    from wellspring.cli.worker_client import run_worker

    bad = vendor.bad(outbox)
    received = _ingest_drops(ctx, project)
    drop = received["files"][0]["drop"]
    rows = run_worker(project, "quarantined", drop)["rows"]
    found_reasons = {(row["row_number"], reason["code"]) for row in rows for reason in row["reasons"]}
    named_count = sum((flaw.row, flaw.code) in found_reasons for flaw in bad.flaws)
    flawed_rows = {flaw.row for flaw in bad.flaws}
    require_outcome({row["row_number"] for row in rows} == flawed_rows, "exactly the bad rows are quarantined")
    sample = rows[0]
    explanation = "; ".join(f"{reason['code']} in {reason['column']}" for reason in sample["reasons"])
    ctx.echo(f"  for example row {sample['row_number']}: {explanation}; its values are shown masked")
    figure = DemoFigure(
        "bad rows named",
        "planted flaws whose row is quarantined with the right reason",
        f"{named_count} of {len(bad.flaws)}",
    )
    return drop, bad.repairable, [figure]


def _broken_schema_scene(ctx: CliContext, project: Project, vendor: Any, outbox: Path) -> Iterator[DemoFigure]:
    begin_scene(
        ctx,
        "3. The vendor renames a column: the drop is stopped, the owner alerted, readers keep the last good edition",
    )
    vendor.broken_schema(outbox)
    started_at = time.perf_counter()
    received = _ingest_drops(ctx, project)
    seconds = time.perf_counter() - started_at
    stopped = received["verdict"]["outcome"] == "fail" and not received["newly_published"]
    require_outcome(stopped and received["edition"] is not None, "the last good edition is served")
    yield DemoFigure("a broken drop is stopped", "from the command to the alert record", f"{seconds:.1f} s")
    yield DemoFigure(
        "last good data",
        "age of the edition that readers see meanwhile; it is shown to them",
        format_age(received["age_seconds"]),
    )


def _repair_scene(
    ctx: CliContext, project: Project, users: DemoUsers, vendor: Any, drop: str, repairable: int
) -> Iterator[DemoFigure]:
    begin_scene(
        ctx,
        "4. Repair: the vendor sends the file again; two users release a fixed contract, and the rows are replayed",
    )
    from wellspring.cli.ingest import print_ingest_result
    from wellspring.cli.worker_client import run_worker

    vendor.corrected(project.vendor_dir / "outbox")
    received = _ingest_drops(ctx, project)
    require_outcome(received["newly_published"], "the corrected file completes the set")
    vendor.repaired_contract(project.contracts_dir)
    yield _release_contract(ctx, users)
    quarantined = run_worker(project, "quarantined", drop)["total"]
    replayed = run_worker(project, "replay", drop)
    print_ingest_result(indented_context(ctx), replayed)
    account = replayed["files"][0]["account"]
    repaired = quarantined - account["quarantined"]
    require_outcome(replayed["newly_published"] and repaired == repairable, "the repairable rows are published")
    yield DemoFigure(
        "rows repaired",
        "published from quarantine after the contract allowed their code",
        f"{repaired} of {repairable}",
    )
    accounts = run_worker(project, "accounts", params={"all": True})["accounts"]
    balanced = sum(row_account["balanced"] for row_account in accounts.values())
    require_outcome(balanced == len(accounts) and account["waiting"] == 0, "every account balances")
    received_rows = sum(row_account["received"] for row_account in accounts.values())
    yield DemoFigure(
        "accounts that balance",
        f"drops whose rows are all accounted for; {received_rows:,} rows in all",
        f"{balanced} of {len(accounts)}",
    )


def _release_contract(ctx: CliContext, users: DemoUsers) -> DemoFigure:
    """Let one user propose the contract on disk, and another approve it; its author may not."""
    started_at = time.perf_counter()
    users.enroll("ines")
    users.enroll("omar")
    code, proposed = users.run_as("ines", "release", "propose", "--kind", "contract", "medical_claim")
    require_outcome(code == 0, "ines proposes the contract")
    release = proposed["release"]["id"]
    for line in proposed["release"]["summary"]:
        ctx.echo(f"  {line}")
    code, _ = users.run_as("omar", "release", "approve", release)
    require_outcome(code == 0, "omar approves it")
    ctx.echo("  proposed by ines, approved by omar: now it is in force")
    seconds = time.perf_counter() - started_at
    return DemoFigure(
        "a contract changes", "two users enrolled; a proposal and an approval, each with a login", f"{seconds:.1f} s"
    )


def _proof_scene(ctx: CliContext, project: Project) -> Iterator[DemoFigure]:
    begin_scene(ctx, "5. Proof: the story of the current edition, verified offline; then with one byte flipped")
    from wellspring.cli.proof import copy_pack
    from wellspring.cli.worker_client import run_worker
    from wellspring.trust.ledger import keyring
    from wellspring.trust.ledger.journal_key import read_service_key_lines
    from wellspring_verify import verify_pack

    edition = run_worker(project, "accounts")["edition"]["id"]
    started_at = time.perf_counter()
    written = run_worker(project, "prove", f"edition:{edition}")
    pack_folder = project.root / "pack"
    copy_pack(Path(written["folder"]), pack_folder)
    proved = time.perf_counter() - started_at
    keys = keyring.read_verifier_keys(project.ledger_dir, project.root / project.witness.folder)
    services = read_service_key_lines(project.state_dir)
    lines = "".join(f"{line}\n" for line in (keys.log_key, keys.witness_key, *services))
    (project.root / "keys.txt").write_text(lines, encoding="utf-8")
    started_at = time.perf_counter()
    report = verify_pack(pack_folder, key=keys.log_key, witness=keys.witness_key, services=services)
    verified = time.perf_counter() - started_at
    require_outcome(report.outcome == 0, "the pack verifies")
    ctx.echo(
        f"  edition:{edition}: {written['entries']} entries, each proved to a checkpoint that log and witness signed"
    )
    forged = project.root / "pack-with-one-byte-flipped"
    shutil.copytree(pack_folder, forged)
    entry = sorted((forged / "entries").iterdir())[0]
    content = bytearray(entry.read_bytes())
    content[len(content) // 2] ^= 1
    entry.write_bytes(content)
    failed_report = verify_pack(forged, key=keys.log_key, witness=keys.witness_key, services=services)
    require_outcome(failed_report.outcome == 20, "one flipped byte is detected")
    for finding in failed_report.findings[:2]:
        ctx.echo(f"  one byte flipped: {finding}")
    yield DemoFigure(
        "a story is proved", f"{written['entries']} entries with inclusion proofs, sealed", f"{proved:.1f} s"
    )
    yield DemoFigure("a story is verified", "offline, with the keys as options", f"{verified:.2f} s")
    yield DemoFigure("one byte flipped", "exit code of verify, and the file that it names", f"20, {entry.name}")


def _ingest_drops(ctx: CliContext, project: Project) -> dict[str, Any]:
    from wellspring.cli.ingest import print_ingest_result
    from wellspring.cli.render import progress_bar
    from wellspring.cli.worker_client import run_worker

    with progress_bar(enabled=not ctx.as_json) as draw:
        received = run_worker(project, "ingest", next(iter(project.sources)), on_progress=draw)
    print_ingest_result(indented_context(ctx), received)
    return received


def _sum_accounts(received: dict[str, Any], name: str) -> int:
    return sum(outcome["account"][name] for outcome in received["files"] if outcome["account"])
