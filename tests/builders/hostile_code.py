"""The four places of a project that run code, each with code that tries what `hostile_attempts` lists.

The code raises an error that names what succeeded; if nothing did, it goes on and defines what the place must define.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from tests.builders import dbt_projects, hostile_attempts

_REPORT = """
_succeeded = run_attempts(json.loads({targets!r}))
if _succeeded:
    raise RuntimeError(json.dumps(_succeeded))
"""
_MATERIALIZATION = """
{% materialization hostile, adapter='duckdb' %}
  {% call statement('main', language='python') %}
{% raw %}
CODE
class dbtObj:
    def __init__(self, load):
        pass
def model(dbt, session):
    pass
def materialize(rows, connection):
    pass
{% endraw %}
  {% endcall %}
  {{ return({'relations': []}) }}
{% endmaterialization %}
"""
_MODEL = """
from wellspring.stable import Binary, Label, LightGBM, ModelDefinition, Threshold

class Hostile(LightGBM):
    def supports(self, objective_kind):
        exec(CODE, {"__name__": "hostile"})
        return True

denials = ModelDefinition(
    name="denials", question="Will this claim be denied?", label=Label(table="labels", column="denied"),
    keys=("claim",), spine="claims", features=("claims:*",),
    task=Binary(labels=("pays", "denies"), threshold=Threshold(recall="0.80")),
    estimator=ESTIMATOR,
)
"""


def attempt_text(targets: dict[str, Any]) -> str:
    """Return Python code that tries everything and raises an error if anything succeeds."""
    source = Path(hostile_attempts.__file__).read_text(encoding="utf-8")
    return f"{source}\nimport json\n{_REPORT.format(targets=json.dumps(targets))}"


def write_model(folder: Path, code: str) -> Path:
    """Write a valid model file, `denials`, that runs the code."""
    return _write_file(folder / "denials.py", f"{code}\n{_MODEL.replace('ESTIMATOR', 'LightGBM()')}")


def write_estimator(folder: Path, code: str) -> Path:
    """Write a model file, `denials`, with an estimator of its own, which runs the code. No such class is registered."""
    text = _MODEL.replace("ESTIMATOR", "Hostile()").replace("CODE", repr(code))
    return _write_file(folder / "denials.py", text)


def write_features(path: Path, code: str, definitions: str) -> Path:
    """Write feature definitions that run the code first."""
    return _write_file(path, f"{code}\n{definitions}")


def write_dbt_project(folder: Path, code: str, files: dict[str, str]) -> Path:
    """Write a dbt project with a materialization of its own, which runs the code as dbt runs a model in Python."""
    text = _MATERIALIZATION.replace("CODE", code)
    attack = "{{ config(materialized='hostile') }} select 1 as x"
    return dbt_projects.project(folder, {**files, "../macros/hostile.sql": text, "attack.sql": attack})


def _write_file(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    return path
