import math
from datetime import datetime, timedelta

import numpy as np
import pyarrow as pa
import pytest

from tests.builders.synthetic_world import START, World, model, table, token, views
from wellspring.errors import NotFound, ProjectError, Refused
from wellspring.models.datasets.training_set import TrainingSet, build_training_set, encode_column
from wellspring.models.spec.inference_spec import FeatureInput

DAY = 86_400_000_000


def build(world: World | None = None, **changes) -> TrainingSet:
    world = world or World(3000)
    return build_training_set(model(**changes), views(), world.source, world.edition)


def days(instant) -> np.ndarray:
    """Say when, in days since the first claim could be asked about."""
    return (instant - int(START.timestamp() * 1e6)) / DAY


def test_train_rows_lie_before_the_gap_and_test_rows_after_it():
    built = build()
    end = days(built.asked_at).max() - 25
    assert days(built.asked_at[built.train_rows]).max() < end - 90 - 25
    assert days(built.asked_at[built.test_rows]).min() >= end - 90 - 1e-6
    assert days(built.asked_at[built.test_rows]).max() < end + 1e-6
    assert len(built.train_rows) > 1000
    assert len(built.test_rows) > 700
    assert built.eligible_rows == len(built.test_rows)


def test_a_label_known_later_never_trains():
    world = World(3000)
    late = world.tables["claim_label"]
    # Every second answer of the early claims came only after the judging window began.
    expected = np.asarray(late.column("known_since").cast("int64"))
    then = np.where(np.arange(len(expected)) % 2 == 0, expected, expected + 200 * DAY)
    moved = pa.array(then, pa.int64()).cast(pa.timestamp("us", "UTC"))
    world.tables["claim_label"] = late.set_column(late.column_names.index("known_since"), "known_since", moved)
    built = build(world)
    whole = build()
    rows = {row["claim_id"] for row in built.rows.take(built.train_rows).to_pylist()}
    assert len(built.train_rows) == pytest.approx(len(whole.train_rows) / 2, rel=0.02)
    assert rows == {token("claim", n) for n in range(0, 3000, 2)} & {
        row["claim_id"] for row in whole.rows.take(whole.train_rows).to_pylist()
    }


def test_a_label_corrected_later_changes_only_test_rows():
    world = World(3000)
    labels = world.tables["claim_label"]
    plain = build(world)
    flipped = table(
        {
            "claim_id": labels.column("claim_id").to_pylist(),
            "is_denied": [not value for value in labels.column("is_denied").to_pylist()],
        },
        [world.edition.known_since - timedelta(days=1)] * labels.num_rows,
    )
    world.tables["claim_label"] = pa.concat_tables([labels, flipped])
    built = build(world)
    assert built.labels[built.train_rows].tolist() == plain.labels[plain.train_rows].tolist()
    assert built.labels[built.test_rows].tolist() == (~plain.labels[plain.test_rows]).tolist()


def test_of_equal_instants_the_higher_sequence_is_the_newer_label():
    world = World(3000)
    labels = world.tables["claim_label"]
    plain = build(world)
    flipped = labels.set_column(
        1, "is_denied", pa.array([not value for value in labels.column("is_denied").to_pylist()])
    )
    later = pa.array(range(10_000, 10_000 + labels.num_rows), pa.int64())
    flipped = flipped.set_column(flipped.column_names.index("sequence"), "sequence", later)
    world.tables["claim_label"] = pa.concat_tables([flipped, labels])
    assert build(world).labels[plain.train_rows].tolist() == (~plain.labels[plain.train_rows]).tolist()


def test_the_spine_has_one_row_per_key_the_first_known():
    world = World(3000)
    result = world.tables["claim_features"]
    corrected = result.set_column(
        result.column_names.index("charge_amount"), "charge_amount", pa.array([1e9] * result.num_rows)
    )
    later = pa.array(
        [value + timedelta(days=2) for value in result.column("known_since").to_pylist()], pa.timestamp("us", "UTC")
    )
    corrected = corrected.set_column(corrected.column_names.index("known_since"), "known_since", later)
    plain = build(world)
    world.tables["claim_features"] = pa.concat_tables([corrected, result])
    built = build(world)
    assert built.rows.num_rows == 3000
    assert built.rows.equals(plain.rows)


def test_the_order_of_the_tables_changes_nothing():
    world = World(2000)
    plain = build(world)
    chance = np.random.default_rng(1)
    for name, rows in world.tables.items():
        world.tables[name] = rows.take(chance.permutation(rows.num_rows))
    built = build(world)
    assert built.rows.equals(plain.rows)
    assert built.labels.tolist() == plain.labels.tolist()
    assert built.train_rows.tolist() == plain.train_rows.tolist()


def test_matrix_equals_encoding_of_single_values():
    built = build()
    inputs = built.inputs()
    rows = built.matrix(inputs, built.test_rows)
    picked = built.rows.take(built.test_rows).to_pylist()
    for place, item in enumerate(inputs):
        one_by_one = [item.encode_value(row[f"{item.view}__{item.name}"]) for row in picked]
        assert np.array_equal(rows[:, place], np.array(one_by_one), equal_nan=True), item.name


def test_categories_are_the_declared_ones_or_those_of_the_train_rows_sorted():
    world = World(3000)
    result = world.tables["claim_features"]
    kinds = result.column("claim_type").to_pylist()
    # The newest claims are of a kind that nobody could know of before.
    kinds[-1000:] = ["dental"] * 1000
    world.tables["claim_features"] = result.set_column(result.column_names.index("claim_type"), "claim_type", [kinds])
    built = build(world)
    by = {item.name: item for item in built.inputs()}
    assert by["claim_type"].categories == ("institutional", "professional")
    assert by["auth_state"].categories == ("none", "valid", "expired")
    assert np.isnan(built.matrix([by["claim_type"]], np.array([2999]))).all()


def test_a_token_is_never_a_category():
    world = World(3000)
    result = world.tables["claim_features"]
    tokens = pa.array([*result.column("billing_npi").to_pylist()[:5], *result.column("claim_type").to_pylist()[5:]])
    world.tables["claim_features"] = result.set_column(result.column_names.index("claim_type"), "claim_type", tokens)
    with pytest.raises(ProjectError, match="must not store tokens"):
        build(world).inputs()


def test_a_value_that_is_missing_is_nan_and_a_bool_is_a_number():
    column = pa.chunked_array([pa.array([True, None, False])])
    arguments = FeatureInput(view="v", name="n", type="bool", description="w")
    assert np.array_equal(encode_column(column, arguments), [1.0, math.nan, 0.0], equal_nan=True)
    words = pa.chunked_array([pa.array(["b", None, "x"])])
    arguments = FeatureInput(view="v", name="n", type="string", categories=("a", "b"), description="w")
    assert np.array_equal(encode_column(words, arguments), [1.0, math.nan, math.nan], equal_nan=True)


def test_too_little_history_is_inconclusive():
    with pytest.raises(Refused) as result:
        build(split={"test_days": 250, "gap_days": 30, "label_maturity_days": 25})
    assert result.value.verdict is not None
    assert result.value.verdict.outcome == "inconclusive"


def test_a_label_must_be_a_bool_and_a_missing_feature_is_an_error():
    world = World(500)
    with pytest.raises(NotFound):
        build(world, features=("claim:nothing",))
    labels = world.tables["claim_label"]
    world.tables["claim_label"] = labels.set_column(1, "is_denied", labels.column("is_denied").cast("int8"))
    with pytest.raises(ProjectError, match="a label must be a bool"):
        build(world)


def labels_from(world: World, expected: list[datetime]) -> None:
    """Let each label of a world be known from another instant on."""
    result = world.tables["claim_label"]
    place = result.column_names.index("known_since")
    world.tables["claim_label"] = result.set_column(place, "known_since", pa.array(expected, pa.timestamp("us", "UTC")))


def test_rows_with_a_label_known_at_prediction_time_are_excluded():
    world, whole = World(3000), build()
    requests = world.tables["claim_features"].column("known_since").to_pylist()
    result = world.tables["claim_label"].column("known_since").to_pylist()
    labels_from(
        world,
        [instant if n % 10 == 0 else then for n, (instant, then) in enumerate(zip(requests, result, strict=True))],
    )
    # A later correction of such a label is no answer that was waited for.
    labels = world.tables["claim_label"]
    later = labels.column("known_since").to_pylist()
    world.tables["claim_label"] = pa.concat_tables([labels, labels])
    labels_from(world, [*later, *(item + timedelta(days=1) for item in later)])
    built = build(world)
    expected = {token("claim", n) for n in range(0, 3000, 10)}
    for side in ("train_rows", "test_rows"):
        then, now = (
            {row["claim_id"] for row in item.rows.take(getattr(item, side)).to_pylist()} for item in (whole, built)
        )
        assert now == then - expected
        assert then & expected
    assert built.excluded_label_known == len(whole.train_rows) + len(whole.test_rows) - len(built.train_rows) - len(
        built.test_rows
    )
    assert built.eligible_rows == len(built.test_rows)
    assert (whole.excluded_label_known, whole.excluded_after_build) == (0, 0)


def test_training_is_refused_when_most_labels_are_known_at_prediction_time():
    world = World(3000)
    labels_from(world, world.tables["claim_features"].column("known_since").to_pylist())
    with pytest.raises(Refused, match="the label was already known at prediction time") as result:
        build(world)
    assert result.value.verdict is not None
    assert result.value.verdict.outcome == "invalid"
    assert [reason.code for reason in result.value.verdict.reasons] == ["label_known"]


def asked_in_2062(count: int) -> World:
    world = World(3000)
    for name in ("claim_features", "claim_label"):
        result = world.tables[name]
        instant = result.column("known_since").to_pylist()
        instant[-count:] = [datetime(2062, 1, 1, tzinfo=item.tzinfo) for item in instant[-count:]]
        place = result.column_names.index("known_since")
        world.tables[name] = result.set_column(place, "known_since", pa.array(instant, pa.timestamp("us", "UTC")))
    return world


def test_a_spine_row_from_the_future_does_not_move_the_window():
    built, whole = build(asked_in_2062(1)), build()
    assert built.excluded_after_build == 1
    assert abs(built.split_at - whole.split_at) < DAY
    assert abs(len(built.test_rows) - len(whole.test_rows)) < 20
    assert days(built.asked_at[built.test_rows]).max() < 300
    with pytest.raises(Refused, match=r"1,000 of 3,000 spine rows are later than 2026-\d\d-\d\dT") as result:
        build(asked_in_2062(1000))
    assert result.value.verdict is not None
    assert [reason.code for reason in result.value.verdict.reasons] == ["after_build"]
