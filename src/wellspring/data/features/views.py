"""A feature has one definition, in Feast's words: compiled here into `Views`, which all the house reads.

The only file that knows Feast, which takes five seconds to import: definitions are compiled when they change, kept as
JSON by their digest, and read from there. What is not understood in a definition is an error, never ignored.
"""

from __future__ import annotations

import hashlib
import json
import re
import subprocess
import sys
import tempfile
import warnings
from collections.abc import Iterable, Mapping
from contextlib import redirect_stdout
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

from wellspring.errors import ERRORS_BY_SLUG, CorruptedError, NotFound, ProjectError, Unavailable, WellspringError
from wellspring.project import suggest_name
from wellspring.records.data import FeatureSpec, FeatureViews, FeatureViewSpec
from wellspring.records.record import Digest
from wellspring.runtime import user_module
from wellspring.stores.objects.disk import DiskBlobStore
from wellspring_verify import canonical

if TYPE_CHECKING:
    import pyarrow as pa
    from feast import FeatureStore, FeatureView

KNOWN_SINCE_COLUMN = "known_since"
SEQUENCE_COLUMN = "sequence"
_COMPILE_TIMEOUT_SECONDS = 120
_NAME_PATTERN = re.compile(r"[a-z][a-z0-9]*(_[a-z0-9]+)*")
_FEATURE_TYPES = {"Int64": "int64", "Float64": "float64", "Bool": "bool", "String": "string"}
# Of Feast's own objects: what the house serves, and what a definition only needs on the way.
_SUPPORTED_KINDS = {"Entity", "FeatureView", "FeatureService", "FileSource", "Field"}
_ARROW_TYPES: Mapping[str, frozenset[str]] = {
    "int64": frozenset({"int64", "int32", "int16", "int8", "uint32", "uint16", "uint8"}),
    "float64": frozenset({"double", "float"}),
    "bool": frozenset({"bool"}),
    "string": frozenset({"string", "large_string"}),
}


def load_views(path: Path, project_name: str) -> FeatureViews:
    """Compile a file of Feast definitions, in a process of its own. project: part of each online row's name.

    Feast takes five seconds and 250 MB, and by its import alone it moves every metric of a process into files of its
    own; the file itself is somebody's program. Neither belongs into a process of the house.
    Raises ProjectError that lists every mistake, each with the file and the view; NotFound without the file.
    """
    if not path.is_file():
        raise NotFound(f"no feature definitions at {path}", fix="write them there, or mend `[features] definitions`")
    if find_spec("feast") is None:
        raise Unavailable("feast is not installed", fix="install it with `pip install 'wellspring[demo]'`")
    with tempfile.TemporaryDirectory(prefix="features-") as scratch:
        # Nothing is inherited: no token, no proxy, no settings of another Feast.
        environment = {
            "PATH": "/usr/bin:/bin", "LANG": "C.UTF-8", "TZ": "UTC", "HOME": scratch, "TMPDIR": scratch,
            "PYTHONPATH": str(Path(__file__).parents[3]), "PYTHONDONTWRITEBYTECODE": "1",
        }  # fmt: skip
        try:
            process = subprocess.run(
                [sys.executable, "-P", "-m", __name__, str(path.absolute()), project_name],
                stdin=subprocess.DEVNULL, capture_output=True, cwd=scratch, env=environment, timeout=_COMPILE_TIMEOUT_SECONDS,
                check=False,
            )  # fmt: skip
        except subprocess.TimeoutExpired:
            raise ProjectError(
                f"{path} did not come to its end within {_COMPILE_TIMEOUT_SECONDS} s", fix=f"edit {path}"
            ) from None
    lines = process.stdout.splitlines()
    if process.returncode or not lines:
        message = f"{path} ended the process that read it (exit code {process.returncode})"
        raise ProjectError(message, fix=f"edit {path}: it only defines things")
    response = json.loads(lines[-1])
    if "slug" in response:
        raise ERRORS_BY_SLUG[response["slug"]](response["what"], fix=response["fix"])
    return FeatureViews.model_validate(response, strict=False)


def compile_views(path: Path, project_name: str) -> FeatureViews:
    """Compile a file of Feast definitions in this process: nothing of the file stays imported, but Feast does."""
    # Feast warns of its own plans; a mistake of the file's is an error, and errors are told.
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        objects = _feast_objects(user_module.run_user_module(path))
    compiler = _ViewCompiler(path, objects)
    for kind in sorted({type(element).__name__ for element in objects} - _SUPPORTED_KINDS):
        compiler.add_error(f"a {kind} is not served by the house; it knows {', '.join(sorted(_SUPPORTED_KINDS))}")
    definitions = [item for item in objects if type(item).__name__ == "FeatureView"]
    views = [compiler.compile_view(definition) for definition in definitions]
    names = [definition.name for definition in definitions]
    for name in sorted({element for element in names if names.count(element) > 1}):
        compiler.add_error(f"two views are called {name!r}; call one otherwise")
    if not names:
        compiler.add_error("it defines no FeatureView")
    if compiler.problems:
        raise ProjectError("\n".join(compiler.problems), fix=f"edit {path}")
    return build_views(project_name, [view for view in views if view is not None])


def build_views(project_name: str, views: Iterable[FeatureViewSpec]) -> FeatureViews:
    """Put views together, by name; their digest follows from all the rest."""
    without_digest = FeatureViews(
        project=project_name, views=tuple(sorted(views, key=lambda view: view.name)), digest=""
    )
    return without_digest.model_copy(update={"digest": hashlib.sha256(_encode_views(without_digest)).hexdigest()})


def save_views(views: FeatureViews, folder: Path) -> None:
    """Keep views under their digest, write once: a release names them for years to come."""
    DiskBlobStore(folder).write_once(f"{views.digest}.json", _encode_views(views))


def load_views_by_digest(folder: Path, digest: Digest) -> FeatureViews:
    """Read views as they were kept, without Feast. Raises NotFound, Broken when their bytes are others."""
    try:
        content = DiskBlobStore(folder).read(f"{digest}.json")
    except NotFound:
        fix = "compile the feature definitions again with `wellspring transform`"
        raise NotFound(f"no feature views of digest {digest} are kept", fix=fix) from None
    if hashlib.sha256(content).hexdigest() != digest:
        raise CorruptedError(f"the views {digest} no longer hash to their name", fix="restore the file; do not retry")
    return FeatureViews.model_validate({**json.loads(content), "digest": digest}, strict=False)


def check_views(views: FeatureViews, schemas: Mapping[str, pa.Schema]) -> None:
    """Hold views against the tables of a built edition. shapes: the columns of each table, by its name.

    Raises ProjectError that lists every table, key, feature or type that is not there as declared.
    """
    problems: list[str] = []
    for view in views.views:
        if view.table not in schemas:
            suggestion = suggest_name(view.table, list(schemas))
            problems.append(f"view {view.name}: the edition has no table {view.table!r}; {suggestion}")
            continue
        schema = schemas[view.table]
        required_columns = [(key, "string", "key") for key in view.keys]
        required_columns += [(feature.name, feature.type, "feature") for feature in view.features]
        for name, kind, role in required_columns:
            if name not in schema.names:
                suggestion = suggest_name(name, schema.names)
                problems.append(
                    f"view {view.name}: table {view.table} has no column for the {role} {name!r}; {suggestion}"
                )
            elif str(schema.field(name).type) not in _ARROW_TYPES[kind]:
                problems.append(
                    f"view {view.name}: the {role} {name!r} is {kind}, and its column is {schema.field(name).type}; "
                    "cast it in the model, or declare what it is"
                )
        problems += _instant_problems(view, schema)
    if problems:
        raise ProjectError("\n".join(problems), fix="mend the feature definitions, or the dbt models under them")


def open_feast_store(
    views: FeatureViews, folder: Path, sources: Mapping[str, Path], connection_string: str
) -> FeatureStore:
    """Open the views in Feast itself, in a scratch folder: for tests, and for comparisons with Feast.

    sources: the Parquet file of each table. online: Feast's connection string of a Redis store. Feast's `ttl` is left
    open: it would count from each row's own instant and hide a true row, while `max_age_seconds` is of the edition.
    For a process that serves nothing: Feast's import moves the process's metrics into files.
    """
    from datetime import timedelta

    from feast import Entity, FeatureStore, FeatureView, Field, FileSource, RepoConfig, ValueType
    from feast.infra.online_stores.redis import RedisOnlineStoreConfig
    from feast.repo_config import RegistryConfig
    from feast.types import Bool, Float64, Int64, String

    types = {"int64": Int64, "float64": Float64, "bool": Bool, "string": String}
    store = FeatureStore(
        config=RepoConfig(
            project=views.project,
            provider="local",
            registry=RegistryConfig(path=str(folder / "registry.db")),
            online_store=RedisOnlineStoreConfig(connection_string=connection_string),
            offline_store={"type": "file"},
            entity_key_serialization_version=3,
        )
    )
    entities = {
        key: Entity(name=key, join_keys=[key], value_type=ValueType.STRING) for v in views.views for key in v.keys
    }
    feast_views = [
        FeatureView(
            name=view.name,
            entities=[entities[key] for key in view.keys],
            ttl=timedelta(0),
            schema=[
                *(Field(name=key, dtype=String) for key in view.keys),
                *(
                    Field(name=feature.name, dtype=types[feature.type], description=feature.description)
                    for feature in view.features
                ),
            ],
            source=FileSource(name=view.table, path=str(sources[view.table]), timestamp_field=KNOWN_SINCE_COLUMN),
            owner=view.owner,
        )
        for view in views.views
    ]
    store.apply([*entities.values(), *feast_views])
    return store


class _ViewCompiler:
    """One file of definitions under judgement."""

    def __init__(self, path: Path, objects: Iterable[Any] = ()) -> None:
        self.path = path
        self.problems: list[str] = []
        self._entities = {
            feast_object.name: feast_object for feast_object in objects if type(feast_object).__name__ == "Entity"
        }

    def add_error(self, message: str, view: str = "") -> None:
        self.problems.append(f"{self.path}: {f'view {view}: ' if view else ''}{message}")

    def compile_view(self, definition: FeatureView) -> FeatureViewSpec | None:
        """Compile one view, or note what is wrong with it."""
        error_count, name = len(self.problems), definition.name
        if not _NAME_PATTERN.fullmatch(name):
            self.add_error("a name is lower-case words joined by single underscores", name)
        source: Any = definition.batch_source
        table = self._source_table(source, name)
        keys = self._entity_keys(definition)
        if not definition.owner:
            self.add_error("it has no owner; name who answers for it", name)
        if not definition.online:
            self.add_error("online=False is not understood: every view is served; take it out", name)
        features = [self._compile_feature(field, name) for field in definition.features if field.name not in keys]
        field_names = [item.name for item in definition.schema or definition.features]
        for duplicate in sorted({field_name for field_name in field_names if field_names.count(field_name) > 1}):
            self.add_error(f"the feature {duplicate!r} is defined twice", name)
        if not features:
            self.add_error("it has no feature", name)
        seconds = definition.ttl.total_seconds() if definition.ttl else 0
        if seconds != int(seconds) or seconds < 0:
            self.add_error("ttl is the age in whole seconds after which an answer is stale", name)
        if len(self.problems) > error_count:
            return None
        return FeatureViewSpec(
            name=name,
            entity="+".join(definition.entities),
            keys=tuple(keys),
            table=table,
            features=tuple(feature for feature in features if feature is not None),
            owner=definition.owner,
            max_age_seconds=int(seconds) or None,
        )

    def _entity_keys(self, definition: FeatureView) -> list[str]:
        """List the columns that say whose features these are: one an entity, each a token."""
        keys: list[str] = []
        # Feast puts a stand-in where a view names no entity.
        for entity_name in definition.entities:
            if entity_name not in self._entities:
                self.add_error("it has no entity of this file; say whose features these are", definition.name)
            elif self._entities[entity_name].value_type.name != "STRING":
                self.add_error(
                    f"the entity {entity_name!r} is no token; write value_type=ValueType.STRING", definition.name
                )
            else:
                keys.append(self._entities[entity_name].join_key)
        return keys

    def _source_table(self, source: Any, view: str) -> str:
        if type(source).__name__ != "FileSource":
            self.add_error(
                "its source is no FileSource; write FileSource(path=TABLE, timestamp_field='known_since')", view
            )
            return ""
        if source.timestamp_field != KNOWN_SINCE_COLUMN:
            field_label = repr(source.timestamp_field) if source.timestamp_field else "nothing"
            self.add_error(
                f"timestamp_field is {field_label}, and must be 'known_since': by any other instant a model would learn from "
                "what was not known yet",
                view,
            )
        if source.created_timestamp_column:
            self.add_error("created_timestamp_column is not used: `sequence` breaks ties; take it out", view)
        if source.field_mapping:
            self.add_error("field_mapping is not understood: name the columns as the table does", view)
        if not _NAME_PATTERN.fullmatch(source.path) or source.name not in {"", source.path}:
            self.add_error(
                "path is the name of a built table, with no folder or ending; a name of its own is refused", view
            )
        return source.path

    def _compile_feature(self, field: Any, view: str) -> FeatureSpec | None:
        error_count = len(self.problems)
        label = f"the feature {field.name!r}"
        if not _NAME_PATTERN.fullmatch(field.name) or field.name in {KNOWN_SINCE_COLUMN, SEQUENCE_COLUMN}:
            self.add_error(f"{label} needs another name: lower-case words joined by single underscores", view)
        if not field.description.strip():
            self.add_error(f"{label} has no description; an answer's reasons are told in its words", view)
        if str(field.dtype) not in _FEATURE_TYPES:
            self.add_error(f"{label} is {field.dtype}; the house knows {', '.join(_FEATURE_TYPES)}", view)
        for tag in sorted(set(field.tags) - {"categories"}):
            self.add_error(f"{label}: unknown tag {tag!r}; {suggest_name(tag, ['categories'])}", view)
        categories = [category.strip() for category in field.tags.get("categories", "").split(",")]
        if "categories" not in field.tags:
            categories = []
        elif not all(categories) or len(set(categories)) < len(categories):
            self.add_error(f"{label}: categories are words with a comma between, each once", view)
        if categories and str(field.dtype) != "String":
            self.add_error(f"{label} has categories and is no String", view)
        if len(self.problems) > error_count:
            return None
        kind = _FEATURE_TYPES[str(field.dtype)]
        return FeatureSpec.model_validate(
            {
                "name": field.name,
                "type": kind,
                "description": field.description.strip(),
                "categories": tuple(categories),
            }
        )


def _instant_problems(view: FeatureViewSpec, schema: pa.Schema) -> list[str]:
    """Say what is wrong with the two columns that say when a row was known."""
    problems: list[str] = []
    known_since_type = str(schema.field(KNOWN_SINCE_COLUMN).type) if KNOWN_SINCE_COLUMN in schema.names else "missing"
    if known_since_type != "timestamp[us, tz=UTC]":
        problems.append(
            f"view {view.name}: {view.table}.{KNOWN_SINCE_COLUMN} is {known_since_type}, and must be timestamp[us, tz=UTC]"
        )
    sequence_type = str(schema.field(SEQUENCE_COLUMN).type) if SEQUENCE_COLUMN in schema.names else "missing"
    if sequence_type != "int64":
        problems.append(f"view {view.name}: {view.table}.{SEQUENCE_COLUMN} is {sequence_type}, and must be int64")
    return problems


def _encode_views(views: FeatureViews) -> bytes:
    return canonical.dumps_canonical(views.model_dump(mode="json", exclude={"digest"}))


def _feast_objects(module: ModuleType) -> list[Any]:
    """List the objects of Feast that a module defines, each once: on their own, or in a list."""
    objects: dict[int, Any] = {}
    for value in vars(module).values():
        for candidate in value if isinstance(value, list | tuple) else [value]:
            is_feast = type(candidate).__module__.partition(".")[0] == "feast" and hasattr(candidate, "to_proto")
            if is_feast and not isinstance(candidate, type):
                objects[id(candidate)] = candidate
    return list(objects.values())


def _print_compiled(path: Path, project_name: str) -> None:
    """Compile a file and print the views, or what is wrong, as the last line; what the file prints is no answer."""
    with redirect_stdout(sys.stderr):
        try:
            output = compile_views(path, project_name).model_dump_json()
        except WellspringError as exc:
            output = json.dumps({"slug": exc.slug, "what": exc.what, "fix": exc.fix})
    print(output)


if __name__ == "__main__":
    _print_compiled(Path(sys.argv[1]), sys.argv[2])
