from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

from prometheus_client.parser import text_string_to_metric_families

from wellspring.observe.metrics import StepMetrics


def samples(path: Path) -> dict[tuple[str, ...], float]:
    return {
        (sample.name, *(value for _, value in sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(path.read_text())
        for sample in family.samples
    }


def test_steps_and_their_seconds_are_written_as_prometheus_text(tmp_path: Path) -> None:
    metrics = StepMetrics(tmp_path / "metrics", "worker")
    metrics.count_step("stage", "done", 0.02)
    metrics.count_step("stage", "done", 2.0)
    metrics.count_step("stage", "refused", 0.001)
    metrics.count_step("publish", "done", None)
    counts = samples(tmp_path / "metrics" / "worker.prom")
    assert counts["wellspring_steps_total", "stage", "done", "worker"] == 2
    assert counts["wellspring_steps_total", "stage", "refused", "worker"] == 1
    assert counts["wellspring_steps_total", "publish", "done", "worker"] == 1
    assert counts["wellspring_step_seconds_count", "stage", "worker"] == 3
    assert round(counts["wellspring_step_seconds_sum", "stage", "worker"], 6) == 2.021
    assert counts["wellspring_step_seconds_bucket", "stage", "0.05", "worker"] == 2
    assert ("wellspring_step_seconds_count", "publish", "worker") not in counts


def test_the_next_process_continues_the_counts_of_the_file(tmp_path: Path) -> None:
    first = StepMetrics(tmp_path, "worker")
    for seconds in (0.002, 0.3, 700.0):
        first.count_step("stage", "done", seconds)
    before = samples(tmp_path / "worker.prom")
    second = StepMetrics(tmp_path, "worker")
    second.count_step("publish", "failed", None)
    after = samples(tmp_path / "worker.prom")
    assert after == {**before, ("wellspring_steps_total", "publish", "failed", "worker"): 1.0}


def test_two_projects_count_separately(tmp_path: Path) -> None:
    first, second = StepMetrics(tmp_path / "one", "worker"), StepMetrics(tmp_path / "two", "worker")
    first.count_step("stage", "done", 0.1)
    second.count_step("stage", "failed", 0.1)
    assert ("wellspring_steps_total", "stage", "failed", "worker") not in samples(first.path)


def test_an_invalid_metrics_file_is_replaced(tmp_path: Path) -> None:
    (tmp_path / "worker.prom").write_text("{{{ not a metric\n")
    StepMetrics(tmp_path, "worker").count_step("stage", "done", 0.1)
    assert samples(tmp_path / "worker.prom")["wellspring_steps_total", "stage", "done", "worker"] == 1


def test_nothing_but_the_file_itself_is_left_in_the_folder(tmp_path: Path) -> None:
    metrics = StepMetrics(tmp_path, "worker")
    for _ in range(3):
        metrics.count_step("stage", "done", 0.1)
    assert [path.name for path in tmp_path.iterdir()] == ["worker.prom"]


def test_predictions_are_counted_in_memory_and_written_once_a_second_or_at_the_end(tmp_path: Path) -> None:
    metrics = StepMetrics(tmp_path, "api")
    instant = datetime(2026, 11, 25, 12, tzinfo=UTC)
    for n in range(200):
        metrics.count_batched("predict", "done", 0.002, counted_at=instant + timedelta(milliseconds=5 * n))
    assert samples(metrics.path)["wellspring_steps_total", "predict", "done", "api"] == 1
    metrics.count_batched("predict", "done", 0.002, counted_at=instant + timedelta(seconds=1))
    assert samples(metrics.path)["wellspring_steps_total", "predict", "done", "api"] == 201
    metrics.count_batched("predict", "done", 0.002, counted_at=instant + timedelta(seconds=1, milliseconds=1))
    metrics.flush()
    assert samples(metrics.path)["wellspring_steps_total", "predict", "done", "api"] == 202
    assert samples(metrics.path)["wellspring_step_seconds_count", "predict", "api"] == 202
    metrics.path.unlink()
    metrics.flush()
    assert not metrics.path.exists()
