"""Reading of a model file in a process of project code, which returns the definition as plain data.

A task and an estimator become their registered name and their settings, so their classes are dataclasses or pydantic
models whose fields have a JSON form. The classes come from the installed packages, never from the file.
"""

from __future__ import annotations

import importlib
import json
from pathlib import Path
from typing import Any

from pydantic import PydanticUserError, TypeAdapter, ValidationError
from pydantic_core import PydanticSerializationError

from wellspring.errors import ProjectError, WellspringError, encode_error
from wellspring.models.estimators.port import Estimator
from wellspring.models.estimators.registry import find_estimator
from wellspring.models.spec.definition import (
    ModelDefinition,
    find_model_file,
    load_model_definition,
    open_trained_file,
)
from wellspring.models.tasks.port import Task
from wellspring.models.tasks.registry import find_task
from wellspring.runtime.project_code import ProjectCode, read_project_file, unreadable_answer

READ_TIMEOUT_SECONDS = 120


def read_model_definition(folder: Path, name: str, project_code: ProjectCode) -> ModelDefinition:
    """Run `folder/NAME.py` in a process of project code and return the model that it defines.

    Raises NotFound with the nearest name, ProjectError with file and line for an error in the file.
    """
    path = find_model_file(folder, name)
    request = {"path": str(path.absolute())}
    document = read_project_file(project_code, "model", folder, request, timeout=READ_TIMEOUT_SECONDS)
    if not _has_answer_form(document):
        raise unreadable_answer(request["path"])
    try:
        definition = decode_definition(document)
        if definition.name != name:
            raise unreadable_answer(request["path"])
        return open_trained_file(definition, path)
    except ValidationError as exc:
        fields = ", ".join(sorted({".".join(map(str, error["loc"])) for error in exc.errors()}))
        raise ProjectError(
            f"{path} is not the same after it was written as JSON: {fields}", fix=f"edit {path}"
        ) from None


def encode_definition(definition: ModelDefinition) -> dict[str, Any]:
    """Return a definition as plain data. Raises ProjectError for a task or an estimator that has no such form."""
    return {
        "definition": definition.model_dump(mode="json", exclude={"task", "estimator"}),
        "task": _encode_part(definition.task),
        "estimator": _encode_part(definition.estimator),
    }


def decode_definition(document: dict[str, Any]) -> ModelDefinition:
    """Return the definition that `encode_definition` wrote. Raises ValidationError, and ProjectError for a name."""
    task, estimator = document["task"], document["estimator"]
    return ModelDefinition(
        **document["definition"],
        task=TypeAdapter[Any](find_task(task["name"])).validate_python(task["settings"]),
        estimator=TypeAdapter[Any](find_estimator(estimator["name"])).validate_python(estimator["settings"]),
    )


def import_libraries() -> None:
    """Import what model files import, and with it the tasks and estimators of the platform."""
    importlib.import_module("wellspring.stable")


def run_request(request: bytes) -> bytes:
    """Read the model file of a request, and return its definition or its error as JSON."""
    path = Path(json.loads(request)["path"])
    try:
        definition = load_model_definition(path.parent, path.stem)
        return json.dumps(encode_definition(definition)).encode()
    except WellspringError as exc:
        return json.dumps(encode_error(exc)).encode()


def _has_answer_form(document: dict[str, Any]) -> bool:
    """Return whether an answer has the parts that `encode_definition` gives it; pydantic checks what is in them."""
    parts = [document.get("task"), document.get("estimator")]
    definition = document.get("definition")
    return (
        all(isinstance(part, dict) and isinstance(part.get("name"), str) and "settings" in part for part in parts)
        and isinstance(definition, dict)
        and not {"task", "estimator"} & definition.keys()
    )


def _encode_part(part: Task | Estimator) -> dict[str, Any]:
    try:
        # Without warnings: pydantic warns of a value that is of the second type of a union.
        settings = TypeAdapter[Any](type(part)).dump_python(part, mode="json", warnings=False)
    except (PydanticUserError, PydanticSerializationError, TypeError) as exc:
        raise ProjectError(
            f"{type(part).__name__} has no JSON form: {str(exc).splitlines()[0]}",
            fix="make it a frozen dataclass or pydantic model of plain values",
        ) from None
    return {"name": part.name, "settings": settings}
