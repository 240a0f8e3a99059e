import sys
from pathlib import Path

import pytest

from tests.builders.synthetic_world import model, views
from wellspring import project
from wellspring.errors import NotFound, ProjectError
from wellspring.models.estimators.lightgbm import LightGBM
from wellspring.models.estimators.onnx.estimator import Onnx
from wellspring.models.estimators.port import ObjectiveKind
from wellspring.models.spec import definition
from wellspring.models.spec.baselines import Baseline
from wellspring.models.spec.definition import Subgroup
from wellspring.models.tasks.binary import Binary

TEXT = """from wellspring.stable import Baseline, Binary, Label, ModelDefinition, Threshold

denials = ModelDefinition(
    name="denials",
    question="Will this claim be denied as submitted?",
    label=Label(table="claim_label", column="is_denied"),
    keys=("claim_id",),
    spine="claim_features",
    features=("claim:*",),
    baselines=(Baseline.columns("claim:claim_type"), Baseline.heuristic("provider_history:denial_rate_30d")),
    task=Binary(labels=("pays", "denies"), threshold=Threshold(recall="0.80")),
)
"""


def write(folder: Path, text: str, name: str = "denials") -> Path:
    folder.mkdir(exist_ok=True)
    (folder / f"{name}.py").write_text(text)
    return folder


def test_a_file_holds_one_model_of_its_name(tmp_path: Path):
    before = set(sys.modules)
    read = definition.load_model_definition(write(tmp_path, TEXT), "denials")
    assert isinstance(read.task, Binary)
    assert (read.name, read.subject, read.task.labels) == ("denials", "model:denials", ("pays", "denies"))
    # It left nothing behind: no module that another project would find, no bytecode in the project's folder.
    assert [name for name in set(sys.modules) - before if "denials" in name] == []
    assert [path.name for path in tmp_path.iterdir()] == ["denials.py"]


def test_a_changed_file_is_read_as_it_stands(tmp_path: Path):
    definition.load_model_definition(write(tmp_path, TEXT), "denials")
    again = definition.load_model_definition(write(tmp_path, TEXT.replace('"0.80"', '"0.81"')), "denials")
    assert isinstance(again.task, Binary)
    assert again.task.threshold.recall == "0.81"


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("ModelDefinition(\n", "ModelDefinitoin(\n", r"denials\.py:3: NameError"),
        ("import Baseline,", "import Baselin,", r"denials\.py:1: ImportError"),
        ('labels=("pays", "denies"),', 'labels=("pays", "denies",', r"denials\.py:\d+: SyntaxError"),
        ('keys=("claim_id",)', "keys=(claim_id,)", r"denials\.py:7: NameError"),
        (
            'keys=("claim_id",)',
            'key=("claim_id",)',
            r"denials\.py:3: ModelDefinition\.keys: Field required\n.*ModelDefinition\.key: Extra",
        ),
        ('recall="0.80"', 'recall="most"', r"denials\.py:11: Threshold\.recall"),
        (
            'name="denials"',
            'name="refusals"',
            r"expected one ModelDefinition\(name='denials'\); found: 'refusals'",
        ),
        (
            "denials = ModelDefinition(",
            "other = dict(",
            r"expected one ModelDefinition\(name='denials'\); found: none",
        ),
    ],
)
def test_an_error_names_file_and_line(tmp_path: Path, old: str, new: str, message: str):
    with pytest.raises(ProjectError, match=message):
        definition.load_model_definition(write(tmp_path, TEXT.replace(old, new)), "denials")


def test_an_exception_raised_by_the_file_names_file_and_line(tmp_path: Path):
    text = "class Mine(Exception): ...\n\nraise Mine('so')\n"
    with pytest.raises(ProjectError, match=r"denials\.py:3: Mine: so"):
        definition.load_model_definition(write(tmp_path, text), "denials")


def test_dependencies_include_features_of_baselines_and_subgroups():
    lean = model(features=("claim:charge_amount",), subgroups=(Subgroup(feature="claim:auth_state"),))
    assert [dependency.name for dependency in definition.resolve_feature_dependencies(lean, views())] == [
        "claim:charge_amount", "claim:claim_type", "claim:auth_state", "claim:is_replacement",
        "provider_history:denial_rate_30d",
    ]  # fmt: skip


def test_an_unknown_model_says_which_is_near(tmp_path: Path):
    with pytest.raises(NotFound) as result:
        definition.load_model_definition(write(tmp_path, TEXT), "denial")
    assert result.value.fix == "did you mean 'denials'?"


def test_features_are_found_by_name_or_all_of_a_view_each_once():
    used = definition.resolve_features(
        model(features=("provider_history:claims_30d", "claim:*", "claim:claim_type")), views()
    )
    assert [item.name for item in used] == [
        "provider_history:claims_30d", "claim:claim_type", "claim:charge_amount", "claim:auth_state",
        "claim:is_replacement",
    ]  # fmt: skip
    assert used[0].column_name == "provider_history__claims_30d"


@pytest.mark.parametrize(
    ("feature", "fix"),
    [("claim:claim_typ", "did you mean 'claim_type'?"), ("clam:*", "did you mean 'claim'?")],
)
def test_an_unknown_feature_says_which_is_near(feature: str, fix: str):
    with pytest.raises(NotFound) as result:
        definition.resolve_features(model(features=(feature,)), views())
    assert result.value.fix == fix


def test_an_estimator_must_support_the_task():
    class Narrow(LightGBM):
        def supports(self, objective: ObjectiveKind) -> bool:
            return objective == "regression"

    with pytest.raises(ValueError, match="the estimator lightgbm does not support the task binary"):
        model(estimator=Narrow())


def test_a_task_must_have_the_whole_port():
    with pytest.raises(ValueError, match="task"):
        model(task="binary")
    with pytest.raises(ValueError, match="estimator"):
        model(estimator=object())


def test_two_baselines_of_one_name_are_refused():
    with pytest.raises(ValueError, match="two baselines have the same name"):
        model(baselines=(Baseline.constant(), Baseline.heuristic("claim:charge_amount", name="constant")))
    assert model(baselines=[]).entity_columns == ()


def test_a_subgroup_is_a_feature():
    with pytest.raises(ValueError, match="Subgroup"):
        Subgroup(feature="member_id")


def test_the_code_is_the_models_file_the_features_and_dbts_and_nothing_that_dbt_wrote(tmp_path: Path):
    (tmp_path / "wellspring.toml").write_text(
        '[project]\nname = "tiny"\ntenant = "acme"\n[sources]\n[dbt]\n[features]\n[models]\n'
    )
    remaining = ("dbt/target/run.json", "dbt/logs/dbt.log", "dbt/models/__pycache__/a.pyc", "dbt/.user.yml")
    for name in ("models/denials.py", "models/other.py", "features.py", "dbt/models/a.sql", *remaining):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(name)
    code = definition.digest_training_sources(project.load_project(tmp_path, environ={}), "denials")
    assert sorted(code) == ["dbt/models/a.sql", "features.py", "models/denials.py"]
    # What dbt would build is code, whatever its folder is called.
    for name in ("dbt/models/target/label.sql", "dbt/dbt_packages/pack/models/b.sql"):
        (tmp_path / name).parent.mkdir(parents=True)
        (tmp_path / name).write_text(name)
    more = definition.digest_training_sources(project.load_project(tmp_path, environ={}), "denials")
    assert sorted(more.keys() - code.keys()) == ["dbt/dbt_packages/pack/models/b.sql", "dbt/models/target/label.sql"]
    changed = {**code, "features.py": "0" * 64}
    assert definition.combine_source_digests(code) != definition.combine_source_digests(changed)


def test_a_file_trained_elsewhere_is_read_beside_the_model_file_and_is_part_of_its_code(tmp_path: Path):
    elsewhere = TEXT.replace("import Baseline", "import Onnx, Baseline").replace(
        "    task=",
        '    estimator=Onnx(file="denials.onnx", trained_until=datetime(2026, 5, 1, tzinfo=UTC)),\n    task=',
    )
    elsewhere = f"from datetime import UTC, datetime\n{elsewhere}"
    folder = write(tmp_path / "models", elsewhere)
    with pytest.raises(ProjectError, match=r"denials\.onnx is missing, or a link"):
        definition.load_model_definition(folder, "denials")
    (folder / "denials.onnx").write_bytes(b"content")
    estimator = definition.load_model_definition(folder, "denials").estimator
    assert isinstance(estimator, Onnx)
    assert estimator.content == b"content"
    (tmp_path / "wellspring.toml").write_text('[project]\nname = "tiny"\ntenant = "acme"\n[sources]\n[models]\n')
    code = definition.digest_training_sources(project.load_project(tmp_path, environ={}), "denials")
    assert sorted(code) == ["models/denials.onnx", "models/denials.py"]
    write(folder, elsewhere.replace("denials.onnx", "other.onnx"))
    with pytest.raises(ProjectError, match=r"other\.onnx must have the name of the model"):
        definition.load_model_definition(folder, "denials")
