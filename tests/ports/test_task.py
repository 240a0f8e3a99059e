"""One suite for every registered task: labels, decoding, measurement, comparison, and what the gate may conclude."""

import numpy as np
import pyarrow as pa
import pytest
from pydantic import ValidationError

from tests.builders.task_samples import TaskSample, task_sample
from wellspring.models.evaluation.gate import find_missing_evidence
from wellspring.models.tasks.port import Task, count_class_rows, title_of
from wellspring.models.tasks.registry import find_task, list_tasks
from wellspring.records.decisions import MAX_PROBABILITIES
from wellspring.records.models import EvaluationReport
from wellspring.serving.prediction import encode_output_facts
from wellspring_verify import canonical, releases


@pytest.fixture(params=list_tasks())
def sample(request: pytest.FixtureRequest) -> TaskSample:
    return task_sample(find_task(request.param))


def test_the_registered_class_has_the_whole_port(sample: TaskSample):
    assert isinstance(sample.task, Task)
    assert sample.task.main_metric in sample.task.required_metrics
    assert title_of(sample.task, sample.task.main_metric)


def test_labels_are_encoded_and_unused_rows_may_be_missing(sample: TaskSample):
    values = pa.chunked_array([pa.array([*sample.label_values, None], sample.label_type)])
    used = np.arange(len(sample.label_values))
    encoded = sample.task.encode_labels(values, used)
    assert len(encoded.values) == len(values)
    assert sample.task.label_type_error(sample.label_type) is None
    assert sample.task.variety_error(encoded.values[used]) is None
    assert sum(count_class_rows(encoded.values[used], encoded.classes).values()) in (0, len(used))


def test_a_label_of_another_type_is_refused_in_a_sentence(sample: TaskSample):
    for label_type in (pa.binary(), pa.list_(pa.int64()), sample.other_type):
        error = sample.task.label_type_error(label_type)
        assert error is not None
        assert "label" in error


def test_labels_that_are_all_the_same_are_refused(sample: TaskSample):
    assert sample.task.variety_error(np.full(50, sample.labels[0])) is not None


def test_a_decoder_is_stored_without_floats_and_read_back(sample: TaskSample):
    decoder = sample.decoder
    stored = canonical.dumps_canonical(
        {"calibration": decoder.encode_calibration(), "rule": decoder.decision_rule.model_dump(mode="json")}
    )
    assert canonical.loads_canonical(stored)
    read = type(sample.task).load_decoder(decoder.encode_calibration(), decoder.decision_rule)
    assert read == decoder
    for row in sample.raw[:50].tolist():
        assert read.decode_row(row) == decoder.decode_row(row)


def test_a_decoder_of_another_task_is_refused(sample: TaskSample):
    with pytest.raises(ValueError):
        type(sample.task).load_decoder({"kind": "other"}, sample.decoder.decision_rule)
    with pytest.raises((ValueError, ValidationError)):
        type(sample.task).load_decoder(sample.decoder.encode_calibration(), sample.foreign_rule)


def test_one_row_and_many_give_the_same_scores(sample: TaskSample):
    many = sample.decoder.calibrate_rows(sample.raw)
    assert len(many) == len(sample.raw)
    for row, score in zip(sample.raw[:100].tolist(), many[:100], strict=True):
        assert np.isclose(np.ravel(score), sample.decoder.decode_row(row).score, rtol=1e-12, atol=1e-12).any()


def test_the_verifier_derives_the_same_decision_from_the_released_rule(sample: TaskSample):
    release = {"decision_rule": sample.decoder.decision_rule.model_dump(mode="json")}
    for row in sample.raw[:200].tolist():
        output = sample.decoder.decode_row(row)
        facts = {
            **encode_output_facts(output),
            "decision": output.decision,
        }
        assert releases.decide_label(release, facts) == output.decision
        assert releases.find_output_fault(release, facts) is None
        assert len(output.probabilities or ()) <= MAX_PROBABILITIES
        assert 0 <= output.explained_output < len(row)


def test_metrics_have_intervals_and_depend_on_the_seed_only(sample: TaskSample):
    scores = sample.decoder.calibrate_rows(sample.raw)
    metrics = sample.task.measure(scores, sample.labels, sample.decoder, seed=3)
    assert set(sample.task.required_metrics) <= metrics.keys()
    assert all(metric.low <= metric.value <= metric.high for metric in metrics.values())
    assert metrics == sample.task.measure(scores, sample.labels, sample.decoder, seed=3)


def test_the_model_beats_constant_and_shuffled_output(sample: TaskSample):
    task = sample.task
    own = task.measure_raw(sample.raw, sample.labels, seed=1).value
    constant = task.constant_output(sample.labels, len(sample.labels), sample.classes)
    assert constant.shape == sample.raw.shape
    shuffled = np.random.default_rng(2).permutation(sample.raw)
    for raw in (constant, shuffled):
        value = task.measure_raw(raw, sample.labels, seed=1).value
        assert own > value if task.higher_is_better else own < value


def test_a_heuristic_gives_raw_outputs(sample: TaskSample):
    values = sample.heuristic_values.copy()
    values[3] = np.nan
    raw = sample.task.heuristic_output(values, values, sample.heuristic_categories, sample.classes)
    assert raw.shape == sample.raw.shape
    assert np.isfinite(raw).all()


def test_a_better_model_is_better_and_a_model_equals_itself(sample: TaskSample):
    scores = sample.decoder.calibrate_rows(sample.raw)
    worse = sample.decoder.calibrate_rows(np.random.default_rng(2).permutation(sample.raw))

    def compare(first: np.ndarray, second: np.ndarray):
        return sample.task.compare_scores(
            first, sample.decoder, second, sample.decoder, sample.labels, sample.classes, seed=5
        )

    better, same = compare(scores, worse), compare(scores, scores)
    assert better.difference.low > 0
    assert better.p < 0.05
    assert (same.difference.value, same.difference.low, same.difference.high, same.p) == (0.0, 0.0, 0.0, 1.0)
    assert compare(worse, scores).difference.high < 0


def test_a_feature_that_is_the_label_is_a_leak_and_noise_is_not(sample: TaskSample):
    rng = np.random.default_rng(4)
    assert sample.task.find_target_leak(sample.labels.astype(float), sample.labels, categorical=False) is not None
    assert sample.task.find_target_leak(rng.normal(size=len(sample.labels)), sample.labels, categorical=False) is None
    codes = rng.integers(0, 900, len(sample.labels)).astype(float)
    assert sample.task.find_target_leak(codes, sample.labels, categorical=True) is None


def test_a_subgroup_is_measured_with_its_main_metric_and_figures(sample: TaskSample):
    scores = sample.decoder.calibrate_rows(sample.raw)
    subgroup = sample.task.measure_subgroup(scores[:800], sample.labels[:800], sample.decoder)
    assert (subgroup.rows, subgroup.enough_rows) == (800, True)
    assert sample.task.main_metric in subgroup.metrics
    assert set(sample.task.subgroup_figures) <= subgroup.figures.keys()
    assert [finding.outcome for finding in sample.task.check_subgroup(subgroup)] == []
    few = sample.task.measure_subgroup(scores[:1], sample.labels[:1], sample.decoder)
    assert not few.enough_rows


def test_the_gate_accepts_the_model_and_refuses_a_shuffled_one(sample: TaskSample):
    def findings(raw: np.ndarray) -> list[str]:
        scores = sample.decoder.calibrate_rows(raw)
        report = EvaluationReport(
            task=sample.task.name, main_metric=sample.task.main_metric, baselines={}, train_rows=1,
            metrics=sample.task.measure(scores, sample.labels, sample.decoder, seed=1),
            reason_microseconds=0, test_rows=len(scores), class_rows=count_class_rows(sample.labels, sample.classes),
        )  # fmt: skip
        missing = find_missing_evidence(sample.task, report.test_rows, report.class_rows)
        return [finding.outcome for finding in (*missing, *sample.task.check_metrics(report))]

    assert findings(sample.raw) == []
    assert "fail" in findings(np.random.default_rng(2).permutation(sample.raw))
    assert {item.outcome for item in find_missing_evidence(sample.task, 3, {})} == {"inconclusive"}


def test_plots_are_svg_and_the_rule_is_a_sentence(sample: TaskSample):
    plots = sample.task.draw_plots(sample.decoder.calibrate_rows(sample.raw), sample.labels, sample.decoder)
    assert plots
    assert all(plot.startswith("<svg") for plot in plots.values())
    assert sample.task.describe_rule(sample.decoder.decision_rule).endswith(".")
