"""Measure what the example's denials model is worth: its share of the lift that the process allows, on two processes.

`python -m benchmarks.denials`. No servers: a history of the process goes through the contracts' tokens into Parquet,
dbt builds the tables, and the model file of the example is learned and judged as `wellspring train` does it, without
MLflow. For each process and seed: AUC with its 95 % interval, the three baselines, the ceiling (the AUC of the true
probabilities, which no model can beat) on the very claims that judge, the share of lift, and a control: what ten
models are worth that learned from shuffled labels. Once for each process a leak is planted, and the gate must refuse
it by name. The goal for the share is told beside it, met or missed; it breaks nothing. Exit 1: the control does not
score 0.5, or the leak passed.
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

from benchmarks.machine import keep, machine, table
from examples.health_plan import colleague, process
from tests.builders import second_process
from wellspring.data.contracts import contract
from wellspring.data.features import views as views_module
from wellspring.data.transform import build as build_module
from wellspring.data.transform.audit_instants import RECORDING_COLUMNS
from wellspring.data.transform.dbt_process import BuildJob, SourceTable
from wellspring.data.transform.leakage import compare_past
from wellspring.models.datasets.training_set import build_training_set
from wellspring.models.evaluation import evaluate, gate
from wellspring.models.spec import definition
from wellspring.models.training import train
from wellspring.records.clock import SystemClock
from wellspring.records.data import Edition
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
"""Controls a seed. What one model learned from noise still leans one way or the other on features that matter: single
controls scatter about 0.5 by some 0.045 (standard deviation). So the mean of all of a process is judged, by its own
99 % interval, which must hold 0.5."""
LANDED = datetime(2026, 11, 1, tzinfo=UTC)
CUT = datetime(2026, 7, 1, tzinfo=UTC)
PLANTED = (600, 6_000, 8)
"""Members, lines and months of the history that holds the planted leak."""


class Built(NamedTuple):
    """What dbt made of one history. truth: the process's, with tokens; leaks: `table.column`; audited: of each table
    how many rows were compared."""

    folder: Path
    labels: pa.Table
    leaks: tuple[str, ...]
    audited: Mapping[str, int]

    def read_table(self, edition: Edition, name: str, columns: Sequence[str] | None = None) -> pa.Table:
        """Read a built table: all that is asked of a lake here."""
        import pyarrow.parquet as pq

        del edition
        return pq.read_table(self.folder / "full" / f"{name}.parquet", columns=list(columns) if columns else None)


EDITION: Any = SimpleNamespace(known_since=LANDED)
"""What `Made.table` is asked with: there is one edition only, and no question is asked after it landed."""


class Figures(NamedTuple):
    """One process and seed. share: of the lift, by the ceiling over expected labels; share_drawn: over those drawn."""

    process: str
    seed: int
    auc: float
    low: float
    high: float
    raw: float
    raw_and_provider: float
    provider_rate: float
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
    """What models score that learned from shuffled labels: the mean, its 99 % interval, the extremes, how many."""

    mean: float
    low: float
    high: float
    lowest: float
    highest: float
    count: int


def main() -> int:
    """Measure, print the tables, keep the figures."""
    requests = argparse.ArgumentParser(prog="python -m benchmarks.denials", description=(__doc__ or "").splitlines()[0])
    requests.add_argument("--seeds", type=int, default=SEEDS, help="how many, from --first on")
    requests.add_argument("--first", type=int, default=1, help="the first seed: others give other histories")
    requests.add_argument("--shuffles", type=int, default=SHUFFLES, help="controls a seed")
    requests.add_argument("--members", type=int, default=MEMBERS)
    requests.add_argument("--lines", type=int, default=LINES)
    requests.add_argument("--processes", nargs="+", choices=sorted(PROCESSES), default=list(PROCESSES))
    requests.add_argument("--jobs", type=int, default=min(4, os.cpu_count() or 1), help="seeds measured at once")
    requests.add_argument("--json", action="store_true", help="print one JSON document, and no table")
    arguments = requests.parse_args()
    described = machine(Path(tempfile.gettempdir()))
    started = time.perf_counter()
    # Spawned: a process that was forked in the midst of an import inherits its locks.
    with ProcessPoolExecutor(arguments.jobs, multiprocessing.get_context("spawn")) as pool:
        waiting = [
            pool.submit(measure, name, seed, arguments.members, arguments.lines, arguments.shuffles)
            for seed in range(arguments.first, arguments.first + arguments.seeds)
            for name in arguments.processes
        ]
        planted = [pool.submit(plant, name) for name in arguments.processes]
        figures: list[Figures] = []
        for item in as_completed(waiting):
            figures.append(item.result())
            item_value = figures[-1]
            print(
                f"  {item_value.process} {item_value.seed}: AUC {item_value.auc:.3f}, share of lift {item_value.share:.2f}, {item_value.seconds:.0f} s",
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
    passed = [name for name, output in refused.items() if not any(colleague.LEAK in line for line in output)]
    if arguments.json:
        print(json.dumps(result, indent=1, sort_keys=True))
    else:
        _record_entry(figures, result)
    size = (arguments.members, arguments.lines, arguments.seeds, arguments.shuffles, arguments.processes)
    if size == (MEMBERS, LINES, SEEDS, SHUFFLES, list(PROCESSES)):
        print(f"all figures in {keep('denials', result)}", file=sys.stderr)
    for what, matches in (("the control does not score 0.5", broken), ("the planted leak was not refused", passed)):
        if matches:
            print(f"broken: {what}: {', '.join(matches)}", file=sys.stderr)
    return 1 if broken or passed else 0


def measure(name: str, seed: int, members: int, lines: int, shuffles: int) -> Figures:
    """Learn and judge the example's model on one history of one process."""
    import numpy as np
    import pyarrow.compute as pc

    started = time.perf_counter()
    with tempfile.TemporaryDirectory(prefix="ws-bench-") as place:
        folder = Path(place)
        built = build(PROCESSES[name](members, lines, seed, months=MONTHS), folder, EXAMPLE / "dbt")
        views = views_module.load_views(EXAMPLE / "features.py", "health_plan")
        frame = build_training_set(
            definition.load_model_definition(EXAMPLE / "models", "denials"), views, built, EDITION
        )
        fitted = train.fit_model(frame, progress=lambda _what, _done, _total: None)
        validated = evaluate.evaluate_model(frame, fitted)
        learned = [
            evaluate.shuffled_label_control(frame, fitted, seed=seed * 1000 + index).value for index in range(shuffles)
        ]
        claims = frame.rows.column("claim_id").take(frame.test_rows)
        labels = built.labels.filter(pc.is_in(built.labels["claim_id"], value_set=claims.combine_chunks()))
    if labels.num_rows != len(np.unique(np.asarray(claims))):
        raise RuntimeError("the process does not know every claim that judges")
    scores = validated.report
    auc, best = scores.metrics["auc"], max(baseline.value for baseline in scores.baselines.values())
    # The very claims that judge, whatever day they were received.
    expected, drawn = (process.ceiling(labels, "1970-01-01", "2200-01-01", drawn=number) for number in (False, True))
    return Figures(
        process=name,
        seed=seed,
        auc=auc.value,
        low=auc.low,
        high=auc.high,
        raw=scores.baselines["columns"].value,
        raw_and_provider=scores.baselines["columns_plus_entity"].value,
        provider_rate=scores.baselines["heuristic"].value,
        ceiling=expected,
        ceiling_drawn=drawn,
        share=share(auc.value, best, expected),
        share_drawn=share(auc.value, best, drawn),
        controls=tuple(learned),
        train_rows=scores.train_rows,
        test_rows=scores.test_rows,
        denied=float(validated.labels.mean()),
        seconds=time.perf_counter() - started,
    )


def share(auc: float, best: float, ceiling: float) -> float:
    """Say how much of the lift that the process allows was reached; NaN where it allows none over the best baseline."""
    return (auc - best) / (ceiling - best) if ceiling > best else math.nan


def plant(name: str) -> list[str]:
    """Bring in the demo's colleague, whose column holds what was paid as if it were known; return the gate's words."""
    members, lines, months = PLANTED
    with tempfile.TemporaryDirectory(prefix="ws-bench-") as place:
        root = Path(place) / "project"
        shutil.copytree(EXAMPLE, root, ignore=shutil.ignore_patterns(".*", "__pycache__", "vendor"))
        colleague.bring(root)
        colleague.leak(root)
        built = build(PROCESSES[name](members, lines, 1, months=months), Path(place), root / "dbt", cuts=(CUT,))
        views = views_module.load_views(root / "features.py", "health_plan")
        model = definition.load_model_definition(root / "models", "denials")
        verdict = gate.check_leakage(model, views, built.leaks, built.audited)
    return [] if verdict.passed else [f"{reason.message} [{', '.join(built.leaks)}]" for reason in verdict.reasons]


def build(history: process.History, folder: Path, dbt: Path, *, cuts: tuple[datetime, ...] = ()) -> Built:
    """Let a history leave as the contracts say, and dbt build it; with cuts, also name what knew the future."""
    import pyarrow.parquet as pq

    expected = SystemClock().now()
    signed = {item.name: item for item in contract.load_all(EXAMPLE / "contracts", tenant="acme", known_since=expected)}
    domains = {column.domain for item_value in signed.values() for column in item_value.columns if column.domain}
    tokens = Tokenizer({domain: (1, hashlib.sha256(domain.encode()).digest()) for domain in domains})
    sources: dict[str, SourceTable] = {}
    for name, rows in history.tables.items():
        path = folder / f"{name}.parquet"
        pq.write_table(_remaining(rows, signed[name].columns, tokens), path)
        sources[name] = SourceTable(files=(str(path),), known_since_columns=RECORDING_COLUMNS)
    scratch = folder / "scratch"
    scratch.mkdir()
    result = tuple(map(format_instant, cuts))
    answer = build_module.run_in_child(
        BuildJob(project_dir=str(dbt), scratch_dir=str(scratch), sources=sources, audit_instants=result)
    )
    if answer.problems:
        raise RuntimeError("dbt: " + "; ".join(problem.message for problem in answer.problems))
    leaks: set[str] = set()
    audited: dict[str, int] = {}
    for number, cut in enumerate(result):
        for item in answer.tables:
            if "known_since" in item.columns:
                whole, past = (str(scratch / run / f"{item.name}.parquet") for run in ("full", f"audit-{number}"))
                compared = compare_past(whole, past, audit_instant=cut, keys=item.keys)
                leaks |= {f"{item.name}.{item_value}" for item_value in compared.leaks}
                audited[item.name] = audited.get(item.name, 0) + compared.rows
    place = history.labels.column_names.index("claim_id")
    labels = history.labels.set_column(place, "claim_id", tokens.tokenize_column("claim", history.labels["claim_id"]))
    return Built(scratch, labels, tuple(sorted(leaks)), audited)


def _remaining(rows: pa.Table, columns: Sequence[Any], tokens: Tokenizer) -> pa.Table:
    """Return what leaves of a table: without what never does, with tokens, and with the lake's own columns."""
    import pyarrow as pa

    stored: dict[str, Any] = {}
    for column in columns:
        if column.leaves == "token":
            stored[column.name] = tokens.tokenize_column(column.domain, rows[column.name])
        elif column.leaves == "plain":
            stored[column.name] = rows[column.name]
    count = rows.num_rows
    stored["row_number"] = pa.array(range(1, count + 1), pa.int64())
    stored["drop_id"] = pa.repeat("clearinghouse-000000000001", count)
    stored["replay_number"] = pa.repeat(pa.scalar(0, pa.int64()), count)
    stored["tenant"] = pa.repeat("acme", count)
    stored["known_since"] = pa.repeat(pa.scalar(LANDED, pa.timestamp("us", "UTC")), count)
    return pa.table(stored)


def summary(figures: Sequence[Figures]) -> dict[str, dict[str, Any]]:
    """Say for each process the mean and the lowest share, and whether they reach the goal."""
    matches: dict[str, dict[str, Any]] = {}
    for name in dict.fromkeys(figure.process for figure in figures):
        matches[name] = {}
        for which in ("share", "share_drawn"):
            shares = [getattr(figure, which) for figure in figures if figure.process == name]
            mean, lowest = sum(shares) / len(shares), min(shares)
            matches[name][which] = {
                "mean": mean,
                "lowest": lowest,
                "mean_meets": mean >= GOAL,
                "lowest_meets": lowest >= GOAL,
            }
    return matches


def controls(figures: Sequence[Figures]) -> dict[str, Control]:
    """Say for each process what its controls score on average, with the 99 % interval of that mean (Student's t)."""
    import numpy as np
    from scipy import stats

    matches: dict[str, Control] = {}
    for name in dict.fromkeys(figure.process for figure in figures):
        scores = np.array([score for figure in figures if figure.process == name for score in figure.controls])
        error = float(scores.std(ddof=1) / len(scores) ** 0.5)
        mean, reach = float(scores.mean()), float(stats.t.ppf(0.995, len(scores) - 1)) * error
        matches[name] = Control(mean, mean - reach, mean + reach, float(scores.min()), float(scores.max()), len(scores))
    return matches


def _record_entry(figures: Sequence[Figures], result: Mapping[str, Any]) -> None:
    head = (
        *("process, seed", "AUC", "95 %", "raw", "+ provider", "rate", "ceiling", "drawn"),
        *("share", "of drawn", "control", "learned", "judged", "denied"),
    )
    rows = [
        (
            f"{figure.process} {figure.seed}",
            f"{figure.auc:.3f}",
            f"{figure.low:.3f}-{figure.high:.3f}",
            f"{figure.raw:.3f}",
            f"{figure.raw_and_provider:.3f}",
            f"{figure.provider_rate:.3f}",
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
    print(table(head, rows))
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
    print(table(("share of lift, by ceiling", "mean", f"goal {GOAL}", "lowest", f"goal {GOAL}"), lines))
    for name, item in controls(figures).items():
        print(
            f"control, {name} process: mean {item.mean:.3f}, its 99 % interval {item.low:.3f} to {item.high:.3f}; "
            f"{item.count} models that learned from shuffled labels scored {item.lowest:.3f} to {item.highest:.3f}"
        )
    for name, output in result["planted"].items():
        print(f"planted leak, {name} process: {'; '.join(output) or 'NOT REFUSED'}")
    described = result["machine"]
    print(f"machine: {described['cores']} x {described['processor']}; {result['seconds']:.0f} s in all")


if __name__ == "__main__":
    sys.exit(main())
