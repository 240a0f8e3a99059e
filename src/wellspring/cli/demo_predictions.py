"""The second half of the demo: features, a gated model, its release by two users, predictions and a proof."""

from __future__ import annotations

import json
import shutil
import statistics
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from wellspring.cli.context import CliContext
from wellspring.cli.demo_changes import DEMO_MODEL, run_change_scene
from wellspring.cli.demo_harness import DemoFigure, begin_scene, indented_context, require_outcome
from wellspring.cli.demo_users import DemoUsers
from wellspring.cli.predict import format_output
from wellspring.cli.render import progress_bar
from wellspring.cli.worker_client import run_worker
from wellspring.errors import Refused
from wellspring.project import Project

_EXPECTED_REASONS = {"leak", "worse_than_live"}
PREDICTION_COUNT = 200
"""Predictions requested for the latency percentiles and the replay."""


def run_prediction_scenes(ctx: CliContext, project: Project, users: DemoUsers, vendor: Any) -> Iterator[DemoFigure]:
    """Run the scenes in order. users: enrolled."""
    yield from _feature_scene(ctx, project, vendor)
    candidate, figures = _training_scene(ctx, project, vendor)
    yield from figures
    yield from _release_scene(ctx, users, candidate)
    yield from _refused_scene(ctx, project, vendor)
    yield from _prediction_scene(ctx, project)
    yield from _story_scene(ctx, project)
    yield from run_change_scene(ctx, project, users, vendor)


def _feature_scene(ctx: CliContext, project: Project, vendor: Any) -> Iterator[DemoFigure]:
    begin_scene(
        ctx, "6. Features, as known at each instant; the audit names a colleague's column that uses future data"
    )
    vendor.colleague.bring(project.root)
    started_at = time.perf_counter()
    with progress_bar(enabled=not ctx.as_json) as draw:
        built = run_worker(project, "transform", on_progress=draw)
    seconds = time.perf_counter() - started_at
    rows = sum(table["rows"] for table in built["tables"])
    require_outcome(built["newly_built"] and rows > 0, "a built edition is published")
    require_outcome(built["leaks"] == [vendor.colleague.LEAK], "exactly the colleague's column is named as a leak")
    ctx.echo(f"  built edition {built['edition']['id']}: {rows:,} rows in {len(built['tables'])} tables")
    ctx.echo(f"  {built['leaks'][0]} changes when future data is removed: the gate refuses each model that uses it")
    online = sum(built["online_rows"].values())
    yield DemoFigure(
        "features are built", f"dbt twice, audit, publish, {online:,} rows online read back", f"{seconds:.1f} s"
    )


def _training_scene(ctx: CliContext, project: Project, vendor: Any) -> tuple[str, list[DemoFigure]]:
    begin_scene(ctx, "7. A denials model, trained on past claims and evaluated on later claims, beside three baselines")
    from wellspring.cli.train import print_candidate, run_training

    started_at = time.perf_counter()
    with progress_bar(enabled=not ctx.as_json) as draw:
        candidate = run_training(project, DEMO_MODEL, on_progress=draw)
    seconds = time.perf_counter() - started_at
    print_candidate(indented_context(ctx), candidate)
    scores = candidate["scores"]
    auc = scores["metrics"]["auc"]
    ceiling = vendor.process.ceiling(vendor.truth(), scores["since"], scores["until"], drawn=True)
    best = max(score["value"] for score in scores["baselines"].values())
    share = (auc["value"] - best) / (ceiling - best)
    require_outcome(candidate["verdict"]["outcome"] == "pass", "the gate passes the model")
    reproduced_at = time.perf_counter()
    reproduced = run_worker(project, "reproduce", DEMO_MODEL, params={"run": candidate["run"]})
    reproduce_seconds = time.perf_counter() - reproduced_at
    figures = [
        DemoFigure("denials AUC", "on claims later than all training claims, 95 % interval", _format_interval(auc)),
        *(
            DemoFigure(f"baseline: {name}", "AUC on the same claims", _format_interval(estimate))
            for name, estimate in scores["baselines"].items()
        ),
        DemoFigure("upper limit", "AUC of the true probability, which no model can exceed", f"{ceiling:.3f}"),
        DemoFigure("share of lift", "(model - best baseline) / (upper limit - best baseline)", f"{share:.2f}"),
        DemoFigure("a model is trained", "join, search, training, evaluation, record in MLflow", f"{seconds:.1f} s"),
        DemoFigure(
            "the run is reproduced",
            f"trained again from its edition: {len(reproduced['files'])} files with the same bytes",
            f"{reproduce_seconds:.1f} s",
        ),
    ]
    return str(candidate["id"]), figures


def _release_scene(ctx: CliContext, users: DemoUsers, candidate: str) -> Iterator[DemoFigure]:
    begin_scene(
        ctx, "8. Two users: ines proposes and may not approve her own proposal; omar signs, and the release is live"
    )
    started_at = time.perf_counter()
    code, proposed = users.run_as("ines", "release", "propose", candidate)
    require_outcome(code == 0, "ines proposes")
    release = proposed["release"]["id"]
    code, refusal = users.run_as("ines", "release", "approve", release)
    require_outcome(
        code == 77 and refusal["verdict"]["reasons"][0]["code"] == "self_approval",
        "the proposer cannot approve the proposal",
    )
    ctx.echo(f"  ines approves: refused, {refusal['what']}")
    code, _ = users.run_as("omar", "release", "approve", release)
    require_outcome(code == 0, "omar approves")
    ctx.echo(f"  omar approves release {release}: it is live")
    seconds = time.perf_counter() - started_at
    yield DemoFigure("release by two users", "three logins, each with password and code", f"{seconds:.1f} s")


def _refused_scene(ctx: CliContext, project: Project, vendor: Any) -> Iterator[DemoFigure]:
    from wellspring.cli.train import run_training

    begin_scene(ctx, "9. Two candidates that must not pass: one uses a leak, one is worse than the live release")
    lines: list[str] = []
    for label, edit in (("leaking", vendor.colleague.leak), ("worse", vendor.colleague.forget)):
        edit(project.root)
        try:
            run_training(project, DEMO_MODEL)
        except Refused as refused:
            reasons = refused.verdict.reasons if refused.verdict is not None else ()
            lines += [f"{label}: {reason.message}" for reason in reasons if reason.code in _EXPECTED_REASONS]
    vendor.colleague.restore(project.root)
    for line in lines:
        ctx.echo(f"  {line}")
    require_outcome(len(lines) >= 2, "the gate refuses a leak and a worse model")
    yield DemoFigure("bad candidates refused", "a leaking one and a worse one, each with its reason", "2 of 2")


def _prediction_scene(ctx: CliContext, project: Project) -> Iterator[DemoFigure]:
    begin_scene(ctx, "10. Predictions: each is journaled, signed and returned; a replay gives the same bits")
    from wellspring.client import Client

    entity_keys = run_worker(project, "latest-keys", DEMO_MODEL, params={"count": PREDICTION_COUNT})
    latencies: list[float] = []
    with Client(project) as client:
        predictions = []
        for keys in entity_keys:
            started_at = time.perf_counter()
            predictions.append(client.predict(DEMO_MODEL, keys))
            latencies.append((time.perf_counter() - started_at) * 1000)
        try:
            client.predict(DEMO_MODEL, {**entity_keys[0], next(iter(entity_keys[0])): "900-12-3456"})
            require_outcome(False, "a raw identifier is refused")
        except Refused as refused:
            require_outcome("900-12-3456" not in f"{refused.what}{refused.fix}", "a raw identifier is not repeated")
            ctx.echo(f"  a raw social security number as a key: refused, {refused.what}")
    strongest = max(predictions, key=lambda prediction: prediction.score)
    ctx.echo(f"  {format_output(strongest)}, {strongest.freshness}")
    for attribution in strongest.reasons:
        ctx.echo(f"    {'+' if attribution.contribution > 0 else '-'} {attribution.description}")
    (project.root / "prediction.json").write_text(
        json.dumps(strongest.model_dump(mode="json"), indent=1), encoding="utf-8"
    )
    percentiles = statistics.quantiles(latencies, n=100)
    yield DemoFigure(
        "a prediction",
        f"{PREDICTION_COUNT} in a row with reasons: p50 / p95 / p99",
        f"{_format_percentiles(percentiles, 50, 95, 99)} ms",
    )
    replayed = run_worker(
        project, "replay-predictions", params={"predictions": [prediction.subject for prediction in predictions]}
    )
    equal = sum(replay["equal"] for replay in replayed)
    require_outcome(equal == len(predictions), "every replayed prediction is equal to the last bit")
    yield DemoFigure("predictions replayed", "from the lake, equal to the last bit", f"{equal} of {len(predictions)}")


def _story_scene(ctx: CliContext, project: Project) -> Iterator[DemoFigure]:
    begin_scene(ctx, "11. The story of one prediction, verified offline; then with one byte flipped")
    from wellspring.cli.proof import copy_pack
    from wellspring.trust.ledger import keyring
    from wellspring.trust.ledger.journal_key import read_service_key_lines
    from wellspring_verify import verify_pack

    answer = (project.root / "prediction.json").read_bytes()
    prediction = json.loads(answer)
    written = run_worker(project, "prove", f"prediction:{prediction['id']}")
    pack_folder = project.root / "prediction-pack"
    copy_pack(Path(written["folder"]), pack_folder)
    keys = keyring.read_verifier_keys(project.ledger_dir, project.root / project.witness.folder)
    services = read_service_key_lines(project.state_dir)
    started_at = time.perf_counter()
    report = verify_pack(pack_folder, key=keys.log_key, witness=keys.witness_key, services=services, answer=answer)
    verified = time.perf_counter() - started_at
    require_outcome(report.outcome == 0, "the story of the prediction verifies")
    ctx.echo(f"  prediction:{prediction['id']}: {written['entries']} entries, from the vendor's files to the signature")
    forged = project.root / "prediction-pack-with-one-byte-flipped"
    shutil.copytree(pack_folder, forged)
    entry = sorted((forged / "entries").iterdir())[-1]
    content = bytearray(entry.read_bytes())
    content[len(content) // 2] ^= 1
    entry.write_bytes(content)
    failed_report = verify_pack(forged, key=keys.log_key, witness=keys.witness_key, services=services)
    require_outcome(failed_report.outcome == 20, "one flipped byte is detected")
    ctx.echo(f"  one byte flipped: {failed_report.findings[0]}")
    definition = f"{written['entries']} entries, approvals, gate, run, drops; offline"
    yield DemoFigure("a prediction is verified", definition, f"{verified:.2f} s")


def _format_interval(figure: dict[str, Any]) -> str:
    return f"{figure['value']:.3f} ({figure['low']:.3f} - {figure['high']:.3f})"


def _format_percentiles(cuts: list[float], *percentiles: int) -> str:
    return " / ".join(f"{cuts[percentile - 1]:.1f}" for percentile in percentiles)
