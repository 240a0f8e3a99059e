"""Measure the example's denials model on two processes: its share of the lift that the process allows.

`python -m benchmarks.denials`. No servers: a history of the process is tokenized by its contracts and written to
Parquet, dbt builds the tables, and the model file of the example is trained and evaluated as `wellspring train` does,
without MLflow. For each process and seed: AUC with its 95 % interval, the three baselines, the ceiling (the AUC of the
true probabilities, which no model can beat) on the test claims, the share of lift, and a control: the AUC of ten models
that were trained on shuffled labels. Once per process a leak is planted, and the gate must refuse it by name. The goal
for the share is reported as met or missed, and does not change the exit code. Exit 1: the control does not score 0.5,
or the leak passed.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import math
import multiprocessing
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, NamedTuple

from benchmarks.machine import describe_machine, render_table, write_result
from examples.health_plan import colleague, process
from tests.builders import dbt_builds, second_process
from tests.builders.project_code import PROJECT_CODE
from wellspring.data.contracts import contract
from wellspring.data.features import view_process
from wellspring.data.transform.leakage import RECORDING_COLUMNS
from wellspring.models.datasets.training_set import TrainingSource, build_training_set
from wellspring.models.evaluation import evaluate, gate
from wellspring.models.spec import definition
from wellspring.models.training import fit
from wellspring.query.port import DbtSource
from wellspring.records.clock import SystemClock
from wellspring.records.lake import Edition
from wellspring.records.record import format_instant
from wellspring.trust.tokenization import Tokenizer

if TYPE_CHECKING:
    import pyarrow as pa

EXAMPLE = Path(__file__).parents[1] / "examples" / "health_plan"
PROCESSES: Mapping[str, Callable[..., process.History]] = {
    "first": process.history,
    "second": second_process.history,
}
MEMBERS, LINES, MONTHS = 12_000, 100_000, 18
SEEDS = 5
GOAL = 0.7
SHUFFLES = 10
"""Controls per seed. Single controls scatter about 0.5 with a standard deviation of 0.045, so the mean of all controls
of a process is checked: its 99 % interval must contain 0.5."""
LANDED = datetime(2026, 11, 1, tzinfo=UTC)
CUT = datetime(2026, 7, 1, tzinfo=UTC)
PLANTED = (600, 6_000, 8)
"""Members, lines and months of the history that holds the planted leak."""


class BuiltHistory(NamedTuple):
    """The tables that dbt built from one history.

    truth: of the process, tokenized. leaks: `table.column`. audited: rows compared, by table.
    """

    folder: Path
    truth: pa.Table
    leaks: tuple[str, ...]
    audited: Mapping[str, int]

    def read_table(self, edition: Edition, name: str, columns: Sequence[str] | None = None) -> pa.Table:
        """Read a built table, as the lake does."""
        import pyarrow.parquet as pq

        del edition
        return pq.read_table(self.folder / "full" / f"{name}.parquet", columns=list(columns) if columns else None)


EDITION: Any = SimpleNamespace(known_since=LANDED)
"""The only edition; no spine row is later than it."""


class Figures(NamedTuple):
    """One process and seed. share: of the lift, by the ceiling over expected labels; share_drawn: over those drawn."""

    process: str
    seed: int
    auc: float
    low: float
    high: float
    columns: float
    columns_plus_entity: float
    heuristic: float
    ceiling: float
    ceiling_drawn: float
    share: float
    share_drawn: float
    controls: tuple[float, ...]
    train_rows: int
    test_rows: int
    denied: float
    seconds: float


class Control(NamedTuple):
    """The AUC of models trained on shuffled labels: mean, its 99 % interval, extremes and count."""

    mean: float
    low: float
    high: float
    lowest: float
    highest: float
    count: int


def main() -> int:
    """Measure, print the tables, and store the figures."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.denials", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--seeds", type=int, default=SEEDS, help="number of seeds, from --first on")
    parser.add_argument("--first", type=int, default=1, help="the first seed: others give other histories")
    parser.add_argument("--shuffles", type=int, default=SHUFFLES, help="controls per seed")
    parser.add_argument("--members", type=int, default=MEMBERS)
    parser.add_argument("--lines", type=int, default=LINES)
    parser.add_argument("--processes", nargs="+", choices=sorted(PROCESSES), default=list(PROCESSES))
    parser.add_argument("--jobs", type=int, default=min(4, os.cpu_count() or 1), help="seeds measured at once")
    parser.add_argument("--json", action="store_true", help="print one JSON document, and no table")
    arguments = parser.parse_args()
    described = describe_machine(Path(tempfile.gettempdir()))
    started = time.perf_counter()
    # Spawned, because a process forked during an import inherits its locks.
    with ProcessPoolExecutor(arguments.jobs, multiprocessing.get_context("spawn")) as pool:
        waiting = [
            pool.submit(measure, name, seed, arguments.members, arguments.lines, arguments.shuffles)
            for seed in range(arguments.first, arguments.first + arguments.seeds)
            for name in arguments.processes
        ]
        planted = [pool.submit(plant, name) for name in arguments.processes]
        figures: list[Figures] = []
        for future in as_completed(waiting):
            figures.append(future.result())
            figure = figures[-1]
            print(
                f"  {figure.process} {figure.seed}: AUC {figure.auc:.3f}, share of lift {figure.share:.2f}, "
                f"{figure.seconds:.0f} s",
                file=sys.stderr,
            )
        refused = {name: item.result() for name, item in zip(arguments.processes, planted, strict=True)}
    figures.sort(key=lambda item: (item.process, item.seed))
    result = {
        "machine": described,
        "members": arguments.members,
        "lines": arguments.lines,
        "goal": GOAL,
        "figures": [figure._asdict() for figure in figures],
        "processes": summary(figures),
        "controls": {name: item._asdict() for name, item in controls(figures).items()},
        "planted": refused,
        "seconds": round(time.perf_counter() - started, 1),
    }
    broken = [
        f"{name}: {item.low:.3f} to {item.high:.3f}"
        for name, item in controls(figures).items()
        if not item.low <= 0.5 <= item.high
    ]
    passed = [name for name, messages in refused.items() if not any(colleague.LEAK in line for line in messages)]
    if arguments.json:
        print(json.dumps(result, indent=1, sort_keys=True))
    else:
        _print_figures(figures, result)
    size = (arguments.members, arguments.lines, arguments.seeds, arguments.shuffles, arguments.processes)
    if size == (MEMBERS, LINES, SEEDS, SHUFFLES, list(PROCESSES)):
        print(f"all figures in {write_result('denials', result)}", file=sys.stderr)
    for what, summaries in (("the control does not score 0.5", broken), ("the planted leak was not refused", passed)):
        if summaries:
            print(f"broken: {what}: {', '.join(summaries)}", file=sys.stderr)
    return 1 if broken or passed else 0


def measure(name: str, seed: int, members: int, lines: int, shuffles: int) -> Figures:
    """Train and evaluate the example's model on one history of one process."""
    import numpy as np
    import pyarrow.compute as pc

    started = time.perf_counter()
    with tempfile.TemporaryDirectory(prefix="ws-bench-") as place:
        folder = Path(place)
        built = build(PROCESSES[name](members, lines, seed, months=MONTHS), folder, EXAMPLE / "dbt")
        views = view_process.load_views(EXAMPLE / "features.py", "health_plan", PROJECT_CODE)
        training_set = build_training_set(
            definition.load_model_definition(EXAMPLE / "models", "denials"),
            views,
            TrainingSource(built, dbt_builds.ENGINE),
            EDITION,
        )
        trained_model = fit.fit_model(training_set, progress=lambda _what, _done, _total: None)
        evaluation = evaluate.evaluate_model(training_set, trained_model)
        control_scores = [
            evaluate.shuffled_label_control(training_set, trained_model, seed=seed * 1000 + index).value
            for index in range(shuffles)
        ]
        claims = training_set.rows.column("claim_id").take(training_set.test_rows)
        labels = built.truth.filter(pc.is_in(built.truth["claim_id"], value_set=claims.combine_chunks()))
    if labels.num_rows != len(np.unique(np.asarray(claims))):
        raise RuntimeError("the process does not know every test claim")
    scores = evaluation.report
    auc, best = scores.metrics["auc"], max(baseline.value for baseline in scores.baselines.values())
    # All test claims, whatever day they were received.
    expected, drawn = (process.ceiling(labels, "1970-01-01", "2200-01-01", drawn=number) for number in (False, True))
    return Figures(
        process=name,
        seed=seed,
        auc=auc.value,
        low=auc.low,
        high=auc.high,
        columns=scores.baselines["columns"].value,
        columns_plus_entity=scores.baselines["columns_plus_entity"].value,
        heuristic=scores.baselines["heuristic"].value,
        ceiling=expected,
        ceiling_drawn=drawn,
        share=share(auc.value, best, expected),
        share_drawn=share(auc.value, best, drawn),
        controls=tuple(control_scores),
        train_rows=scores.train_rows,
        test_rows=scores.test_rows,
        denied=float(evaluation.labels.mean()),
        seconds=time.perf_counter() - started,
    )


def share(auc: float, best: float, ceiling: float) -> float:
    """Return the share of the possible lift over the best baseline; NaN where no lift is possible."""
    return (auc - best) / (ceiling - best) if ceiling > best else math.nan


def plant(name: str) -> list[str]:
    """Plant the demo's leaking column, which holds the paid amount as if it were known; return the gate's messages."""
    members, lines, months = PLANTED
    with tempfile.TemporaryDirectory(prefix="ws-bench-") as place:
        root = Path(place) / "project"
        shutil.copytree(EXAMPLE, root, ignore=shutil.ignore_patterns(".*", "__pycache__", "vendor"))
        colleague.bring(root)
        colleague.leak(root)
        built = build(PROCESSES[name](members, lines, 1, months=months), Path(place), root / "dbt", cuts=(CUT,))
        views = view_process.load_views(root / "features.py", "health_plan", PROJECT_CODE)
        model = definition.load_model_definition(root / "models", "denials")
        verdict = gate.check_leakage(model, views, built.leaks, built.audited)
    return [] if verdict.passed else [f"{reason.message} [{', '.join(built.leaks)}]" for reason in verdict.reasons]


def build(history: process.History, folder: Path, dbt: Path, *, cuts: tuple[datetime, ...] = ()) -> BuiltHistory:
    """Tokenize a history by its contracts and build it with dbt; with cuts, also run the leakage audit."""
    import pyarrow.parquet as pq

    expected = SystemClock().now()
    every = contract.load_all(EXAMPLE / "contracts", tenant="acme", known_since=expected)
    contracts = {loaded.name: loaded for loaded in every}
    domains = {column.domain for column in contracts.values() for column in column.columns if column.domain}
    tokens = Tokenizer({domain: (1, hashlib.sha256(domain.encode()).digest()) for domain in domains})
    sources: dict[str, DbtSource] = {}
    for name, rows in history.tables.items():
        path = folder / f"{name}.parquet"
        pq.write_table(_tokenize_table(rows, contracts[name].columns, tokens), path)
        sources[name] = dbt_builds.source(path, *RECORDING_COLUMNS)
    scratch = folder / "scratch"
    instants = tuple(map(format_instant, cuts))
    build_result = dbt_builds.run_build(dbt, scratch, sources, audit_instants=instants)
    if build_result.problems:
        raise RuntimeError("dbt: " + "; ".join(problem.message for problem in build_result.problems))
    report = dbt_builds.audit(build_result, scratch, instants)
    place = history.truth.column_names.index("claim_id")
    labels = history.truth.set_column(place, "claim_id", tokens.tokenize_column("claim", history.truth["claim_id"]))
    return BuiltHistory(scratch, labels, report.leaks, report.audited_rows)


def _tokenize_table(rows: pa.Table, columns: Sequence[Any], tokens: Tokenizer) -> pa.Table:
    """Return the egress of a table: tokenized, without columns that never leave, and with the lake's system columns."""
    import pyarrow as pa

    columns_out: dict[str, Any] = {}
    for column in columns:
        if column.egress == "token":
            columns_out[column.name] = tokens.tokenize_column(column.domain, rows[column.name])
        elif column.egress == "plain":
            columns_out[column.name] = rows[column.name]
    count = rows.num_rows
    columns_out["row_number"] = pa.array(range(1, count + 1), pa.int64())
    columns_out["drop_id"] = pa.repeat("clearinghouse-000000000001", count)
    columns_out["replay_number"] = pa.repeat(pa.scalar(0, pa.int64()), count)
    columns_out["tenant"] = pa.repeat("acme", count)
    columns_out["known_since"] = pa.repeat(pa.scalar(LANDED, pa.timestamp("us", "UTC")), count)
    return pa.table(columns_out)


def summary(figures: Sequence[Figures]) -> dict[str, dict[str, Any]]:
    """Return the mean and the lowest share of each process, and whether they meet the goal."""
    summaries: dict[str, dict[str, Any]] = {}
    for name in dict.fromkeys(figure.process for figure in figures):
        summaries[name] = {}
        for which in ("share", "share_drawn"):
            shares = [getattr(figure, which) for figure in figures if figure.process == name]
            mean, lowest = sum(shares) / len(shares), min(shares)
            summaries[name][which] = {
                "mean": mean,
                "lowest": lowest,
                "mean_meets": mean >= GOAL,
                "lowest_meets": lowest >= GOAL,
            }
    return summaries


def controls(figures: Sequence[Figures]) -> dict[str, Control]:
    """Return the mean AUC of each process's controls, with its 99 % interval (Student's t)."""
    import numpy as np
    from scipy import stats

    summaries: dict[str, Control] = {}
    for name in dict.fromkeys(figure.process for figure in figures):
        scores = np.array([score for figure in figures if figure.process == name for score in figure.controls])
        error = float(scores.std(ddof=1) / len(scores) ** 0.5)
        mean, reach = float(scores.mean()), float(stats.t.ppf(0.995, len(scores) - 1)) * error
        low, high = float(scores.min()), float(scores.max())
        summaries[name] = Control(mean, mean - reach, mean + reach, low, high, len(scores))
    return summaries


def _print_figures(figures: Sequence[Figures], result: Mapping[str, Any]) -> None:
    head = (
        *("process, seed", "AUC", "95 %", "columns", "+ entity", "heuristic", "ceiling", "drawn"),
        *("share", "of drawn", "control", "train rows", "test rows", "denied"),
    )
    rows = [
        (
            f"{figure.process} {figure.seed}",
            f"{figure.auc:.3f}",
            f"{figure.low:.3f}-{figure.high:.3f}",
            f"{figure.columns:.3f}",
            f"{figure.columns_plus_entity:.3f}",
            f"{figure.heuristic:.3f}",
            f"{figure.ceiling:.3f}",
            f"{figure.ceiling_drawn:.3f}",
            f"{figure.share:.2f}",
            f"{figure.share_drawn:.2f}",
            f"{sum(figure.controls) / len(figure.controls):.3f}",
            f"{figure.train_rows:,}",
            f"{figure.test_rows:,}",
            f"{figure.denied:.3f}",
        )
        for figure in figures
    ]
    print(f"denials: {result['members']:,} members, about {result['lines']:,} lines, {MONTHS} months a seed")
    print(render_table(head, rows))
    print("share: (model - best baseline) / (ceiling - best baseline); drawn: by labels as they fell, else as expected")
    if any(math.isnan(figure.share + figure.share_drawn) for figure in figures):
        print("nan: on rows so few the best baseline reaches the ceiling by chance, and there is no lift to share")

    def met(yes: bool) -> str:
        return "met" if yes else "MISSED"

    lines = [
        (
            f"{name}, {'expected' if which == 'share' else 'drawn'}",
            f"{item['mean']:.2f}",
            met(item["mean_meets"]),
            f"{item['lowest']:.2f}",
            met(item["lowest_meets"]),
        )
        for name, both in result["processes"].items()
        for which, item in both.items()
    ]
    print(render_table(("share of lift, by ceiling", "mean", f"goal {GOAL}", "lowest", f"goal {GOAL}"), lines))
    for name, item in controls(figures).items():
        print(
            f"control, {name} process: mean {item.mean:.3f}, its 99 % interval {item.low:.3f} to {item.high:.3f}; "
            f"{item.count} models trained on shuffled labels scored {item.lowest:.3f} to {item.highest:.3f}"
        )
    for name, messages in result["planted"].items():
        print(f"planted leak, {name} process: {'; '.join(messages) or 'NOT REFUSED'}")
    described = result["machine"]
    print(f"machine: {described['cores']} x {described['processor']}; {result['seconds']:.0f} s in all")


if __name__ == "__main__":
    sys.exit(main())
