"""The demo's second half: features as they were known, a gated model, two people, an answer, and its story."""

from __future__ import annotations

import json
import shutil
import statistics
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

from wellspring.cli.context import CliContext
from wellspring.cli.demo_harness import DemoFigure, begin_scene, check_claim, indented_context
from wellspring.cli.render import progress_bar
from wellspring.cli.worker_client import run_worker
from wellspring.errors import Refused
from wellspring.project import Project

DEMO_MODEL = "denials"
_EXPECTED_REASONS = {"leak", "worse_than_live"}
PREDICTION_COUNT = 200
"""Questions asked for the percentiles and the replay."""


def run_prediction_scenes(ctx: CliContext, project: Project, vendor: Any) -> Iterator[DemoFigure]:
    """Play them in order."""
    yield from _feature_scene(ctx, project, vendor)
    candidate, figures = _training_scene(ctx, project, vendor)
    yield from figures
    users = DemoUsers(project)
    yield from _release_scene(ctx, users, candidate)
    yield from _refused_scene(ctx, project, vendor)
    yield from _prediction_scene(ctx, project)
    yield from _story_scene(ctx, project)


def _feature_scene(ctx: CliContext, project: Project, vendor: Any) -> Iterator[DemoFigure]:
    begin_scene(ctx, "6. Features, as they were known then; a colleague's column that knew the future is named")
    vendor.colleague.bring(project.root)
    started_at = time.perf_counter()
    with progress_bar(enabled=not ctx.as_json) as draw:
        built = run_worker(project, "transform", on_progress=draw)
    seconds = time.perf_counter() - started_at
    rows = sum(item["rows"] for item in built["tables"])
    check_claim(built["newly_built"] and rows > 0, "a built edition is published")
    check_claim(built["leaks"] == [vendor.colleague.LEAK], "exactly the colleague's column is named as a leak")
    ctx.echo(f"  built edition {built['edition']['id']}: {rows:,} rows in {len(built['tables'])} tables")
    ctx.echo(f"  {built['leaks'][0]} differs once the future is taken away: no model that uses it will pass")
    online = sum(built["online_rows"].values())
    yield DemoFigure(
        "features are built", f"dbt twice, audit, publish, {online:,} rows online read back", f"{seconds:.1f} s"
    )


def _training_scene(ctx: CliContext, project: Project, vendor: Any) -> tuple[str, list[DemoFigure]]:
    begin_scene(ctx, "7. A denials model, trained on what was known, judged on what came after, beside three baselines")
    from wellspring.cli.train import print_candidate

    started_at = time.perf_counter()
    with progress_bar(enabled=not ctx.as_json) as draw:
        candidate = run_worker(project, "train", DEMO_MODEL, on_progress=draw)
    seconds = time.perf_counter() - started_at
    print_candidate(indented_context(ctx), candidate)
    scores = candidate["scores"]
    auc = scores["metrics"]["auc"]
    ceiling = vendor.process.ceiling(vendor.truth(), scores["since"], scores["until"], drawn=True)
    best = max(score["value"] for score in scores["baselines"].values())
    share = (auc["value"] - best) / (ceiling - best)
    check_claim(candidate["verdict"]["outcome"] == "pass", "the gate lets the model pass")
    figures = [
        DemoFigure(
            "denials AUC", "on claims that came after all it learned from, 95 % interval", _format_interval(auc)
        ),
        *(
            DemoFigure(f"baseline: {name}", "AUC on the same claims", _format_interval(item))
            for name, item in scores["baselines"].items()
        ),
        DemoFigure("the process's ceiling", "AUC of the true probability, which no model can beat", f"{ceiling:.3f}"),
        DemoFigure("share of lift", "(model - best baseline) / (ceiling - best baseline)", f"{share:.2f}"),
        DemoFigure("a model is learned", "joined, searched, trained, judged, recorded in MLflow", f"{seconds:.1f} s"),
    ]
    return str(candidate["id"]), figures


def _release_scene(ctx: CliContext, users: DemoUsers, candidate: str) -> Iterator[DemoFigure]:
    begin_scene(ctx, "8. Two people: ines proposes, may not approve what she proposed, and omar signs; then it is live")
    started_at = time.perf_counter()
    users.enroll("ines")
    users.enroll("omar")
    code, proposed = users.run_as("ines", -1, "release", "propose", candidate)
    check_claim(code == 0, "ines proposes")
    release = proposed["release"]["id"]
    code, refusal = users.run_as("ines", 0, "release", "approve", release)
    check_claim(
        code == 77 and refusal["verdict"]["reasons"][0]["code"] == "self_approval", "nobody approves their own proposal"
    )
    ctx.echo(f"  ines approves: refused, {refusal['what']}")
    code, _ = users.run_as("omar", 0, "release", "approve", release)
    check_claim(code == 0, "omar approves")
    ctx.echo(f"  omar approves release {release}: it answers now")
    seconds = time.perf_counter() - started_at
    yield DemoFigure(
        "two people release it", "both enrolled; three logins, each with password and code", f"{seconds:.1f} s"
    )


def _refused_scene(ctx: CliContext, project: Project, vendor: Any) -> Iterator[DemoFigure]:
    begin_scene(ctx, "9. Two candidates that must not pass: one leaks, one is worse than what is live")
    lines: list[str] = []
    for label, edit in (("leaking", vendor.colleague.leak), ("worse", vendor.colleague.forget)):
        edit(project.root)
        try:
            run_worker(project, "train", DEMO_MODEL)
        except Refused as refused:
            reasons = refused.verdict.reasons if refused.verdict is not None else ()
            lines += [f"{label}: {reason.message}" for reason in reasons if reason.code in _EXPECTED_REASONS]
    vendor.colleague.restore(project.root)
    for line in lines:
        ctx.echo(f"  {line}")
    check_claim(len(lines) >= 2, "the gate refuses a leak and a worse model, each by name")
    yield DemoFigure("bad candidates refused", "a leaking one and a worse one, in plain sentences", "2 of 2")


def _prediction_scene(ctx: CliContext, project: Project) -> Iterator[DemoFigure]:
    begin_scene(ctx, "10. Answers: each is journalled, then signed, then given; and each can be given again")
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
            check_claim(False, "a raw identifier is refused")
        except Refused as refused:
            check_claim("900-12-3456" not in f"{refused.what}{refused.fix}", "a raw identifier is not repeated")
            ctx.echo(f"  a raw social security number as a key: refused, {refused.what}")
    strongest = max(predictions, key=lambda prediction: prediction.score)
    ctx.echo(f"  {strongest.decision}, {strongest.score:.3f} (threshold {strongest.threshold}), {strongest.state}")
    for attribution in strongest.reasons:
        ctx.echo(f"    {'+' if attribution.push > 0 else '-'} {attribution.what}")
    (project.root / "answer.json").write_text(json.dumps(strongest.model_dump(mode="json"), indent=1), encoding="utf-8")
    percentiles = statistics.quantiles(latencies, n=100)
    yield DemoFigure(
        "an answer",
        f"{PREDICTION_COUNT} in a row with reasons: p50 / p95 / p99",
        f"{_format_percentiles(percentiles, 50, 95, 99)} ms",
    )
    replayed = run_worker(
        project, "replay-predictions", params={"predictions": [prediction.subject for prediction in predictions]}
    )
    equal = sum(item["equal"] for item in replayed)
    check_claim(equal == len(predictions), "every answer given again is equal to the last bit")
    yield DemoFigure("answers given again", "from the lake, equal to the last bit", f"{equal} of {len(predictions)}")


def _story_scene(ctx: CliContext, project: Project) -> Iterator[DemoFigure]:
    begin_scene(ctx, "11. The whole story of one answer, verified without the house; then one byte is flipped")
    from wellspring.cli.proof import copy_pack
    from wellspring.trust.ledger import keyring
    from wellspring_verify import pack as verifier

    answer = (project.root / "answer.json").read_bytes()
    prediction = json.loads(answer)
    written = run_worker(project, "prove", f"prediction:{prediction['id']}")
    pack_folder = project.root / "pack-of-an-answer"
    copy_pack(Path(written["folder"]), pack_folder)
    keys = keyring.read_verifier_keys(project.ledger_dir, project.root / project.witness.folder)
    started_at = time.perf_counter()
    report = verifier.verify(pack_folder, key=keys.log_key, witness=keys.witness_key, answer=answer)
    verified = time.perf_counter() - started_at
    check_claim(report.outcome == 0, "the story of the answer verifies")
    ctx.echo(f"  prediction:{prediction['id']}: {written['entries']} entries, from the vendor's files to the promise")
    forged = project.root / "pack-of-an-answer-with-one-byte-flipped"
    shutil.copytree(pack_folder, forged)
    entry = sorted((forged / "entries").iterdir())[-1]
    content = bytearray(entry.read_bytes())
    content[len(content) // 2] ^= 1
    entry.write_bytes(content)
    failed_report = verifier.verify(forged, key=keys.log_key, witness=keys.witness_key)
    check_claim(failed_report.outcome == 20, "one flipped byte is found")
    ctx.echo(f"  one byte flipped: {failed_report.findings[0]}")
    definition = f"{written['entries']} entries, approvals, gate, run, drops; offline"
    yield DemoFigure("an answer's story is verified", definition, f"{verified:.2f} s")


class DemoUsers:
    """Ines and omar at a terminal of their own, with real passwords and the codes of a real authenticator."""

    def __init__(self, project: Project) -> None:
        self._command = [sys.executable, "-m", "wellspring.cli", "--project", str(project.root), "--json"]
        self._secrets: dict[str, tuple[str, str]] = {}

    def enroll(self, name: str) -> None:
        import secrets

        from wellspring.cli.pseudo_terminal import run_in_pty

        password = secrets.token_urlsafe(18)
        inputs = [("password: ", password), ("again: ", password)]
        result = run_in_pty([*self._command, "users", "enroll", name], inputs)
        check_claim(result.exit_code == 0, f"{name} is enrolled")
        query = parse_qs(urlsplit(json.loads(result.out)["otpauth_url"]).query)
        self._secrets[name] = (password, query["secret"][0])

    def run_as(self, name: str, code_offset: int, *argv: str) -> tuple[int, Any]:
        """Do something as a person. steps: half minutes from now, since a code works once."""
        from pyotp.totp import TOTP

        from wellspring.cli.pseudo_terminal import run_in_pty

        password, secret = self._secrets[name]
        code = TOTP(secret).at(int(time.time()) + 30 * code_offset)
        inputs = [("name: ", name), ("password: ", password), ("code: ", code)]
        result = run_in_pty([*self._command, *argv], inputs)
        text = result.out if result.exit_code == 0 else result.screen[result.screen.index("{") :]
        return result.exit_code, json.loads(text)


def _format_interval(figure: dict[str, Any]) -> str:
    return f"{figure['value']:.3f} ({figure['low']:.3f} - {figure['high']:.3f})"


def _format_percentiles(cuts: list[float], *percentiles: int) -> str:
    return " / ".join(f"{cuts[percentile - 1]:.1f}" for percentile in percentiles)
