"""Compilation of feature definitions in a process of project code: the file is code of the project."""

from __future__ import annotations

import json
from importlib.util import find_spec
from pathlib import Path

from pydantic import ValidationError

from wellspring.data.features import views
from wellspring.errors import NotFound, WellspringError, encode_error, package_missing
from wellspring.records.features import FeatureViews
from wellspring.runtime.project_code import ProjectCode, read_project_file, unreadable_answer

COMPILE_TIMEOUT_SECONDS = 120


def load_views(path: Path, project_name: str, project_code: ProjectCode) -> FeatureViews:
    """Compile a file of Feast definitions. project_name: part of each online row's key.

    Raises ProjectError that lists every error with its file and view, NotFound without the file, Unavailable without
    Feast.
    """
    if not path.is_file():
        raise NotFound(f"no feature definitions at {path}", fix="create the file, or fix `[features] definitions`")
    if find_spec("feast") is None:
        raise package_missing("feast", extra="demo")
    request = {"path": str(path.absolute()), "project": project_name}
    document = read_project_file(project_code, "features", path, request, timeout=COMPILE_TIMEOUT_SECONDS)
    try:
        feature_views = FeatureViews.model_validate(document, strict=False)
    except ValidationError:
        raise unreadable_answer(request["path"]) from None
    if feature_views.project != project_name:
        raise unreadable_answer(request["path"])
    return feature_views


def import_libraries() -> None:
    """Import Feast, so that forks of this process do not."""
    views.import_feast()


def run_request(request: bytes) -> bytes:
    """Compile the file of a request, and return its views or its error as JSON."""
    document = json.loads(request)
    try:
        return views.compile_views(Path(document["path"]), document["project"]).model_dump_json().encode()
    except WellspringError as exc:
        return json.dumps(encode_error(exc)).encode()
