import math
from datetime import datetime, timedelta

import numpy as np
import pyarrow as pa
import pytest

from tests.models.synthetic import START, World, model, table, token, views
from wellspring.errors import NotFound, ProjectError, Refused
from wellspring.models.artefact import Input
from wellspring.models.frame import Frame, coded, gather

DAY = 86_400_000_000


def frame(world: World | None = None, **changes) -> Frame:
    world = world or World(3000)
    return gather(model(**changes), views(), world, world.edition)


def days(at) -> np.ndarray:
    """Say when, in days since the first claim could be asked about."""
    return (at - int(START.timestamp() * 1e6)) / DAY


def test_what_is_learned_lies_before_the_gap_and_what_judges_after_it():
    made = frame()
    end = days(made.at).max() - 25
    assert days(made.at[made.train]).max() < end - 90 - 25
    assert days(made.at[made.test]).min() >= end - 90 - 1e-6
    assert days(made.at[made.test]).max() < end + 1e-6
    assert len(made.train) > 1000
    assert len(made.test) > 700
    assert made.eligible == len(made.test)


def test_a_label_known_later_never_trains():
    world = World(3000)
    late = world.tables["claim_label"]
    # Every second answer of the early claims came only after the judging window began.
    known = np.asarray(late.column("known_since").cast("int64"))
    then = np.where(np.arange(len(known)) % 2 == 0, known, known + 200 * DAY)
    moved = pa.array(then, pa.int64()).cast(pa.timestamp("us", "UTC"))
    world.tables["claim_label"] = late.set_column(late.column_names.index("known_since"), "known_since", moved)
    made = frame(world)
    whole = frame()
    rows = {row["claim_id"] for row in made.rows.take(made.train).to_pylist()}
    assert len(made.train) == pytest.approx(len(whole.train) / 2, rel=0.02)
    assert rows == {token("claim", n) for n in range(0, 3000, 2)} & {
        row["claim_id"] for row in whole.rows.take(whole.train).to_pylist()
    }


def test_a_correction_known_later_changes_only_what_judges():
    world = World(3000)
    labels = world.tables["claim_label"]
    plain = frame(world)
    flipped = table(
        {
            "claim_id": labels.column("claim_id").to_pylist(),
            "is_denied": [not each for each in labels.column("is_denied").to_pylist()],
        },
        [world.edition.known_since - timedelta(days=1)] * labels.num_rows,
    )
    world.tables["claim_label"] = pa.concat_tables([labels, flipped])
    made = frame(world)
    assert made.truth[made.train].tolist() == plain.truth[plain.train].tolist()
    assert made.truth[made.test].tolist() == (~plain.truth[plain.test]).tolist()


def test_of_equal_instants_the_higher_sequence_is_the_newer_label():
    world = World(3000)
    labels = world.tables["claim_label"]
    plain = frame(world)
    flipped = labels.set_column(1, "is_denied", pa.array([not each for each in labels.column("is_denied").to_pylist()]))
    later = pa.array(range(10_000, 10_000 + labels.num_rows), pa.int64())
    flipped = flipped.set_column(flipped.column_names.index("sequence"), "sequence", later)
    world.tables["claim_label"] = pa.concat_tables([flipped, labels])
    assert frame(world).truth[plain.train].tolist() == (~plain.truth[plain.train]).tolist()


def test_a_question_is_asked_once_as_it_was_first_known():
    world = World(3000)
    told = world.tables["claim_features"]
    corrected = told.set_column(
        told.column_names.index("charge_amount"), "charge_amount", pa.array([1e9] * told.num_rows)
    )
    later = pa.array(
        [each + timedelta(days=2) for each in told.column("known_since").to_pylist()], pa.timestamp("us", "UTC")
    )
    corrected = corrected.set_column(corrected.column_names.index("known_since"), "known_since", later)
    plain = frame(world)
    world.tables["claim_features"] = pa.concat_tables([corrected, told])
    made = frame(world)
    assert made.rows.num_rows == 3000
    assert made.rows.equals(plain.rows)


def test_the_order_of_the_tables_changes_nothing():
    world = World(2000)
    plain = frame(world)
    chance = np.random.default_rng(1)
    for name, rows in world.tables.items():
        world.tables[name] = rows.take(chance.permutation(rows.num_rows))
    made = frame(world)
    assert made.rows.equals(plain.rows)
    assert made.truth.tolist() == plain.truth.tolist()
    assert made.train.tolist() == plain.train.tolist()


def test_a_matrix_says_what_one_value_says():
    made = frame()
    inputs = made.inputs()
    rows = made.matrix(inputs, made.test)
    picked = made.rows.take(made.test).to_pylist()
    for place, each in enumerate(inputs):
        one_by_one = [each.code(row[f"{each.view}__{each.name}"]) for row in picked]
        assert np.array_equal(rows[:, place], np.array(one_by_one), equal_nan=True), each.name


def test_categories_are_the_declared_ones_or_those_of_the_train_rows_sorted():
    world = World(3000)
    told = world.tables["claim_features"]
    kinds = told.column("claim_type").to_pylist()
    # The newest claims are of a kind that nobody could know of before.
    kinds[-1000:] = ["dental"] * 1000
    world.tables["claim_features"] = told.set_column(told.column_names.index("claim_type"), "claim_type", [kinds])
    made = frame(world)
    by = {each.name: each for each in made.inputs()}
    assert by["claim_type"].categories == ("institutional", "professional")
    assert by["auth_state"].categories == ("none", "valid", "expired")
    assert np.isnan(made.matrix([by["claim_type"]], np.array([2999]))).all()


def test_a_token_is_never_a_category():
    world = World(3000)
    told = world.tables["claim_features"]
    tokens = pa.array([*told.column("billing_npi").to_pylist()[:5], *told.column("claim_type").to_pylist()[5:]])
    world.tables["claim_features"] = told.set_column(told.column_names.index("claim_type"), "claim_type", tokens)
    with pytest.raises(ProjectError, match="never keeps one"):
        frame(world).inputs()


def test_a_value_that_is_missing_is_nan_and_a_bool_is_a_number():
    column = pa.chunked_array([pa.array([True, None, False])])
    given = Input(view="v", name="n", type="bool", what="w")
    assert np.array_equal(coded(column, given), [1.0, math.nan, 0.0], equal_nan=True)
    words = pa.chunked_array([pa.array(["b", None, "x"])])
    given = Input(view="v", name="n", type="string", categories=("a", "b"), what="w")
    assert np.array_equal(coded(words, given), [1.0, math.nan, math.nan], equal_nan=True)


def test_too_little_history_is_inconclusive():
    with pytest.raises(Refused) as told:
        frame(split={"test_days": 250, "gap_days": 30, "settle_days": 25})
    assert told.value.verdict is not None
    assert told.value.verdict.outcome == "inconclusive"


def test_a_label_that_is_no_bool_and_a_feature_that_is_not_there_are_told():
    world = World(500)
    with pytest.raises(NotFound):
        frame(world, features=("claim:nothing",))
    labels = world.tables["claim_label"]
    world.tables["claim_label"] = labels.set_column(1, "is_denied", labels.column("is_denied").cast("int8"))
    with pytest.raises(ProjectError, match="a label is a bool"):
        frame(world)


def labels_from(world: World, known: list[datetime]) -> None:
    """Let each label of a world be known from another instant on."""
    told = world.tables["claim_label"]
    place = told.column_names.index("known_since")
    world.tables["claim_label"] = told.set_column(place, "known_since", pa.array(known, pa.timestamp("us", "UTC")))


def test_a_row_whose_label_was_known_when_it_was_asked_neither_teaches_nor_judges():
    world, whole = World(3000), frame()
    asked = world.tables["claim_features"].column("known_since").to_pylist()
    told = world.tables["claim_label"].column("known_since").to_pylist()
    labels_from(world, [at if n % 10 == 0 else then for n, (at, then) in enumerate(zip(asked, told, strict=True))])
    # A later correction of such a label is no answer that was waited for.
    labels = world.tables["claim_label"]
    later = labels.column("known_since").to_pylist()
    world.tables["claim_label"] = pa.concat_tables([labels, labels])
    labels_from(world, [*later, *(each + timedelta(days=1) for each in later)])
    made = frame(world)
    known = {token("claim", n) for n in range(0, 3000, 10)}
    for side in ("train", "test"):
        then, now = (
            {row["claim_id"] for row in each.rows.take(getattr(each, side)).to_pylist()} for each in (whole, made)
        )
        assert now == then - known
        assert then & known
    assert made.answered == len(whole.train) + len(whole.test) - len(made.train) - len(made.test)
    assert made.eligible == len(made.test)
    assert (whole.answered, whole.ahead) == (0, 0)


def test_when_most_labels_are_known_when_asked_nothing_is_learned():
    world = World(3000)
    labels_from(world, world.tables["claim_features"].column("known_since").to_pylist())
    with pytest.raises(Refused, match="the outcome is known when it is asked") as told:
        frame(world)
    assert told.value.verdict is not None
    assert told.value.verdict.outcome == "invalid"
    assert [each.code for each in told.value.verdict.reasons] == ["answered"]


def asked_in_2062(count: int) -> World:
    world = World(3000)
    for name in ("claim_features", "claim_label"):
        told = world.tables[name]
        at = told.column("known_since").to_pylist()
        at[-count:] = [datetime(2062, 1, 1, tzinfo=each.tzinfo) for each in at[-count:]]
        place = told.column_names.index("known_since")
        world.tables[name] = told.set_column(place, "known_since", pa.array(at, pa.timestamp("us", "UTC")))
    return world


def test_a_question_from_the_future_moves_no_window():
    made, whole = frame(asked_in_2062(1)), frame()
    assert made.ahead == 1
    assert abs(made.cut - whole.cut) < DAY
    assert abs(len(made.test) - len(whole.test)) < 20
    assert days(made.at[made.test]).max() < 300
    with pytest.raises(Refused, match=r"1,000 of its 3,000 questions are asked after 2026-\d\d-\d\dT") as told:
        frame(asked_in_2062(1000))
    assert told.value.verdict is not None
    assert [each.code for each in told.value.verdict.reasons] == ["ahead"]
