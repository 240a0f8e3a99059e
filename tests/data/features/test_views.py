"""Feast definitions -> Views: what is understood, what is refused and in which words."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pytest

from tests.builders import feast
from tests.builders.feature_views import HISTORY, TYPES, view, views
from wellspring.data.features import views as views_module
from wellspring.errors import CorruptedError, NotFound, ProjectError
from wellspring.records.features import FeatureSpec, FeatureViews

HEAD = """
from datetime import timedelta
from feast import Entity, FeatureService, FeatureView, Field, FileSource, ValueType
from feast.types import Bool, Float32, Float64, Int64, String

member = Entity(name="member", join_keys=["member_id"], value_type=ValueType.STRING)
"""
VIEW = """
history = FeatureView(
    name="member_history",
    entities=[member],
    ttl=timedelta(days=2),
    schema=[
        Field(name="denials", dtype=Int64, description="denied claims of this member"),
        Field(name="rate", dtype=Float64, description="share of them"),
        Field(name="covered", dtype=Bool, description="covered today"),
        Field(name="plan", dtype=String, description="the plan", tags={"categories": "gold, silver"}),
    ],
    source=FileSource(path="member_history", timestamp_field="known_since"),
    owner="claims@example.com",
)
"""
SERVICE = """
denials = FeatureService(name="denials", features=[history])
"""


def written(folder: Path, text: str) -> Path:
    path = folder / "features.py"
    path.write_text(text)
    return path


def compiled(folder: Path, text: str, project: str = "acme") -> FeatureViews:
    """Compile in this process: Feast is imported once for all tests."""
    feast.imported()
    return views_module.compile_views(written(folder, text), project)


def refused(folder: Path, text: str) -> str:
    """Compile what must not compile, and return what is said."""
    with pytest.raises(ProjectError) as result:
        compiled(folder, text)
    assert str(folder / "features.py") in result.value.fix
    return result.value.what


def test_a_definition_becomes_a_view(tmp_path: Path):
    built = compiled(tmp_path, HEAD + VIEW + SERVICE)
    (only,) = built.views
    assert (built.project, only.name, only.entity, only.keys) == ("acme", "member_history", "member", ("member_id",))
    assert (only.table, only.owner, only.max_age_seconds) == ("member_history", "claims@example.com", 172_800)
    assert only.features == (
        FeatureSpec(name="denials", type="int64", description="denied claims of this member"),
        FeatureSpec(name="rate", type="float64", description="share of them"),
        FeatureSpec(name="covered", type="bool", description="covered today"),
        FeatureSpec(name="plan", type="string", description="the plan", categories=("gold", "silver")),
    )
    assert built.find_view("member_history") is only
    assert built == views_module.build_views("acme", built.views)


def test_the_key_may_stand_in_the_schema_and_a_view_may_have_no_limit_of_age(tmp_path: Path):
    text = VIEW.replace("schema=[", "schema=[Field(name='member_id', dtype=String),").replace("days=2", "")
    (only,) = compiled(tmp_path, HEAD + text).views
    assert [feature.name for feature in only.features] == ["denials", "rate", "covered", "plan"]
    assert only.max_age_seconds is None


def test_a_view_of_two_entities_has_two_keys(tmp_path: Path):
    claim = 'claim = Entity(name="claim", join_keys=["claim_id"], value_type=ValueType.STRING)\n'
    text = HEAD + claim + VIEW.replace("[member]", "[member, claim]")
    (only,) = compiled(tmp_path, text).views
    assert (only.keys, only.entity) == (("member_id", "claim_id"), "member+claim")


def test_the_digest_follows_from_the_meaning_and_not_from_the_file(tmp_path: Path):
    item = compiled(tmp_path, HEAD + VIEW)
    assert compiled(tmp_path, HEAD + "# said otherwise\n" + VIEW + SERVICE) == item
    for old, new in [("denied claims", "refused claims"), ("days=2", "days=3"), ("gold, silver", "silver, gold")]:
        assert compiled(tmp_path, HEAD + VIEW.replace(old, new)).digest != item.digest
    assert compiled(tmp_path, HEAD + VIEW, "globex").digest != item.digest


def test_the_file_leaves_nothing_behind(tmp_path: Path):
    paths, modules = list(sys.path), set(sys.modules)
    compiled(tmp_path, HEAD + VIEW)
    assert sys.path == paths
    assert not any("wellspring_features" in name for name in set(sys.modules) - modules)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["features.py"]


@pytest.mark.parametrize("field", ["event_at", "recorded_at", "service_date", "known"])
def test_a_timestamp_other_than_known_since_is_refused(tmp_path: Path, field: str):
    output = refused(tmp_path, HEAD + VIEW.replace('timestamp_field="known_since"', f'timestamp_field="{field}"'))
    assert f"features.py: view member_history: timestamp_field is '{field}'; it must be 'known_since'" in output


@pytest.mark.parametrize(
    ("old", "new", "output"),
    [
        (', timestamp_field="known_since"', "", "timestamp_field is missing"),
        (', description="share of them"', "", "the feature 'rate' has no description"),
        ("dtype=Float64", "dtype=Float32", "the feature 'rate' is Float32; supported are Int64"),
        ("[member]", "[]", "the view has no entity"),
        ('owner="claims@example.com",', "", "the owner is missing"),
        ('name="rate"', 'name="known_since"', "the feature 'known_since' needs another name"),
        ('name="rate"', 'name="a__b"', "the feature 'a__b' needs another name"),
        ('name="member_history",', 'name="Members",', "view Members: the name must be lower-case words"),
        ('path="member_history"', 'path="data/member_history.parquet"', "path must be the name of a built table"),
        ('path="member_history"', 'path="member_history", name="other"', "path must be the name of a built table"),
        ('path="member_history"', 'path="member_history", created_timestamp_column="at"', "`sequence` breaks ties"),
        ('path="member_history"', 'path="member_history", field_mapping={"a": "b"}', "field_mapping"),
        ('"categories"', '"categoris"', "unknown tag 'categoris'; did you mean 'categories'?"),
        ('"gold, silver"', '"gold, gold"', "must be distinct words"),
        ('"gold, silver"', '"gold,"', "must be distinct words"),
        ('description="share of them"', 'description="x", tags={"categories": "a"}', "must be a String"),
        ("days=2", "milliseconds=1500", "whole seconds"),
        ("ttl=", "online=False, ttl=", "online=False is not supported"),
        ("timedelta(days=2)", "timedelta(seconds=-1)", "whole seconds"),
    ],
)
def test_what_is_not_understood_is_refused_by_file_and_view(tmp_path: Path, old: str, new: str, output: str):
    assert old in HEAD + VIEW
    result = refused(tmp_path, HEAD + VIEW.replace(old, new))
    assert f"{tmp_path / 'features.py'}: view " in result
    assert output in result


def test_all_definition_errors_are_reported_at_once(tmp_path: Path):
    text = VIEW.replace("share of them", "").replace('owner="claims@example.com",', "")
    assert len(refused(tmp_path, HEAD + text).splitlines()) == 2


def test_two_views_of_one_name_are_refused(tmp_path: Path):
    output = refused(tmp_path, HEAD + VIEW + VIEW.replace("history =", "again ="))
    assert "two views have the name 'member_history'" in output


def test_a_feature_named_twice_is_refused(tmp_path: Path):
    output = refused(tmp_path, HEAD + VIEW.replace('name="rate"', 'name="denials"'))
    assert "denials" in output
    assert "features.py" in output


def test_an_entity_that_is_no_token_is_refused(tmp_path: Path):
    assert "'member' must be a token" in refused(tmp_path, HEAD.replace("STRING", "INT64") + VIEW)


def test_an_unsupported_feast_object_is_refused(tmp_path: Path):
    push = 'from feast import PushSource\npushed = PushSource(name="p", batch_source=history.batch_source)\n'
    assert "PushSource is not supported" in refused(tmp_path, HEAD + VIEW + push)


def test_a_file_without_a_view_is_refused(tmp_path: Path):
    assert "the file defines no FeatureView" in refused(tmp_path, HEAD)


@pytest.mark.parametrize(
    ("text", "line", "output"),
    [
        ("x = (\n", 1, "SyntaxError"),
        ("\nimport not_there_at_all\n", 2, "ModuleNotFoundError: No module named 'not_there_at_all'"),
        ("\n\ndef make():\n    return 1 / 0\n\nmake()\n", 4, "ZeroDivisionError: division by zero"),
        ("\nraise ValueError\n", 2, "ValueError: no message"),
    ],
)
def test_an_error_in_the_file_names_its_line_without_a_traceback(tmp_path: Path, text: str, line: int, output: str):
    result = refused(tmp_path, text)
    assert result.startswith(f"{tmp_path / 'features.py'}:{line}: ")
    assert output in result
    assert len(result.splitlines()) == 1


def test_views_are_kept_by_their_digest_and_read_back_without_feast(tmp_path: Path):
    built = views_module.build_views("acme", [view(), view("member_claims", {"open": "int64"}, max_age_seconds=60)])
    views_module.save_views(built, tmp_path)
    views_module.save_views(built, tmp_path)
    program = (
        "import sys; from pathlib import Path; from wellspring.data.features import views; "
        "made = views.load_views_by_digest(Path(sys.argv[1]), sys.argv[2]); "
        "assert 'feast' not in sys.modules; print(made.model_dump_json())"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, str(tmp_path), built.digest], capture_output=True, text=True, check=True
    )
    assert FeatureViews.model_validate_json(done.stdout) == built


def test_missing_or_changed_saved_views_are_errors(tmp_path: Path):
    built = views_module.build_views("acme", [view()])
    with pytest.raises(NotFound, match=built.digest):
        views_module.load_views_by_digest(tmp_path, built.digest)
    views_module.save_views(built, tmp_path)
    path = tmp_path / f"{built.digest}.json"
    path.chmod(0o644)
    path.write_bytes(path.read_bytes().replace(b"the rate", b"the late"))
    with pytest.raises(CorruptedError):
        views_module.load_views_by_digest(tmp_path, built.digest)


def shape(**changed: pa.DataType | None) -> pa.Schema:
    kinds: dict[str, pa.DataType | None] = {
        "member_id": pa.string(),
        "known_since": pa.timestamp("us", "UTC"),
        "sequence": pa.int64(),
        **{name: TYPES[kind] for name, kind in HISTORY.items()},
        **changed,
    }
    return pa.schema([(name, kind) for name, kind in kinds.items() if kind is not None])


def test_tables_that_hold_what_the_views_declare_are_taken():
    views_module.check_views(views(view()), {"member_history": shape()})
    views_module.check_views(views(view()), {"member_history": shape(denials=pa.int32(), plan=pa.large_string())})


@pytest.mark.parametrize(
    ("changed", "output"),
    [
        ({"rate": None}, "has no column for the feature 'rate'"),
        ({"member_id": None}, "has no column for the key 'member_id'"),
        ({"member_id": pa.int64()}, "the key 'member_id' is string, but its column is int64"),
        ({"rate": pa.decimal128(12, 2)}, "the feature 'rate' is float64, but its column is decimal128(12, 2)"),
        ({"denials": pa.float64()}, "the feature 'denials' is int64, but its column is double"),
        ({"known_since": None}, "known_since is missing"),
        ({"known_since": pa.date32()}, "known_since is date32[day]"),
        ({"sequence": pa.float64()}, "sequence is double"),
    ],
)
def test_a_table_that_does_not_hold_what_a_view_declares_is_refused(
    changed: dict[str, pa.DataType | None], output: str
):
    with pytest.raises(ProjectError) as result:
        views_module.check_views(views(view()), {"member_history": shape(**changed)})
    assert "view member_history" in result.value.what
    assert output in result.value.what


def test_a_table_missing_from_the_edition_names_the_nearest():
    with pytest.raises(ProjectError, match="no table 'member_history'; did you mean 'member_histories'"):
        views_module.check_views(views(view()), {"member_histories": shape()})
