"""A model file is read in a process of project code, and comes back as plain data."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.architecture import repository
from tests.builders.project_code import PROJECT_CODE
from wellspring.errors import NotFound, ProjectError
from wellspring.models.spec import definition_process
from wellspring.models.spec.definition import load_model_definition

pytestmark = pytest.mark.slow

EXAMPLES = sorted((repository.ROOT / "examples").glob("*/models/*.py"))
HOSTILE = """
import os
opened = []
for path in ("/etc/passwd", {secret!r}):
    try:
        opened.append(open(path).read() != "")
    except OSError as error:
        opened.append(type(error).__name__)
try:
    open({secret!r} + ".new", "w")
except OSError as error:
    opened.append(type(error).__name__)
raise ValueError(f"{{opened}} {{sorted(os.environ)}}")
"""


def write(folder: Path, text: str) -> Path:
    folder.mkdir(exist_ok=True)
    (folder / "denials.py").write_text(text)
    return folder


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_a_definition_comes_back_as_it_is(path: Path):
    in_process = load_model_definition(path.parent, path.stem)
    read = definition_process.read_model_definition(path.parent, path.stem, PROJECT_CODE)
    assert json.dumps(definition_process.encode_definition(read)) == json.dumps(
        definition_process.encode_definition(in_process)
    )
    assert (type(read.task), type(read.estimator)) == (type(in_process.task), type(in_process.estimator))
    assert read.model_dump(exclude={"estimator"}) == in_process.model_dump(exclude={"estimator"})


def test_an_error_in_the_file_is_the_same_as_in_one_process(tmp_path: Path):
    text = (repository.ROOT / "examples/health_plan/models/denials.py").read_text()
    folder = write(tmp_path, text.replace('name="denials"', 'name="denial"'))
    with pytest.raises(ProjectError) as in_process:
        load_model_definition(folder, "denials")
    with pytest.raises(ProjectError) as isolated:
        definition_process.read_model_definition(folder, "denials", PROJECT_CODE)
    assert (isolated.value.what, isolated.value.fix) == (in_process.value.what, in_process.value.fix)
    with pytest.raises(NotFound, match="no model 'denial'"):
        definition_process.read_model_definition(folder, "denial", PROJECT_CODE)


def test_the_file_reads_no_other_file_and_gets_no_environment(tmp_path: Path):
    secret = tmp_path / "secret"
    secret.write_text("token")
    folder = write(tmp_path / "models", HOSTILE.format(secret=str(secret)))
    with pytest.raises(ProjectError) as caught:
        definition_process.read_model_definition(folder, "denials", PROJECT_CODE)
    assert "[True, 'PermissionError', 'PermissionError'] ['HOME', 'LANG', 'PATH', 'TMPDIR', 'TZ']" in caught.value.what


def test_an_estimator_without_a_json_form_is_named():
    class Opaque:
        name = "opaque"

        def __init__(self) -> None:
            self.value = object()

    path = EXAMPLES[0]
    definition = load_model_definition(path.parent, path.stem).model_copy(update={"estimator": Opaque()})
    with pytest.raises(ProjectError, match="Opaque has no JSON form"):
        definition_process.encode_definition(definition)
