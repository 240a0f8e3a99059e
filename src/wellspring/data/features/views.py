"""Compilation of Feast feature definitions into `FeatureViews`, the only form that other modules read.

This is the only module that uses Feast, which takes seconds to import: definitions are compiled when they change and
stored as JSON by digest. Unsupported parts of a definition are errors.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import warnings
from collections.abc import Generator, Iterable, Mapping
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

from wellspring.errors import CorruptedError, ProjectError, suggest_name
from wellspring.observe.metrics import keep_metrics_in_memory
from wellspring.records.features import KNOWN_SINCE_COLUMN, SEQUENCE_COLUMN, FeatureSpec, FeatureViews, FeatureViewSpec
from wellspring.records.record import Digest
from wellspring.runtime import user_module
from wellspring.stores.objects.disk import DiskBlobStore
from wellspring.stores.online.feast_codec import digest_definition
from wellspring.stores.records import RecordKind, RecordStore
from wellspring_verify import canonical

if TYPE_CHECKING:
    import pyarrow as pa
    from feast import FeatureStore, FeatureView

_NAME_PATTERN = re.compile(r"[a-z][a-z0-9]*(_[a-z0-9]+)*")
_VERSION_DIGITS = 12
_FEATURE_TYPES = {"Int64": "int64", "Float64": "float64", "Bool": "bool", "String": "string"}
# The Feast objects that a definitions file may contain.
_SUPPORTED_KINDS = {"Entity", "FeatureView", "FeatureService", "FileSource", "Field"}
_ARROW_TYPES: Mapping[str, frozenset[str]] = {
    "int64": frozenset({"int64", "int32", "int16", "int8", "uint32", "uint16", "uint8"}),
    "float64": frozenset({"double", "float"}),
    "bool": frozenset({"bool"}),
    "string": frozenset({"string", "large_string"}),
}


def compile_views(path: Path, project_name: str) -> FeatureViews:
    """Compile a file of Feast definitions in this process; the file is not left in `sys.modules`, Feast is."""
    # Feast's warnings are deprecation notices; errors of the file are reported.
    with warnings.catch_warnings(), limit_type_checks():
        warnings.simplefilter("ignore")
        objects = _feast_objects(user_module.run_user_module(path))
    compiler = _ViewCompiler(path, objects)
    for kind in sorted({type(feast_object).__name__ for feast_object in objects} - _SUPPORTED_KINDS):
        compiler.add_error(f"{kind} is not supported; supported are {', '.join(sorted(_SUPPORTED_KINDS))}")
    definitions = [feast_object for feast_object in objects if type(feast_object).__name__ == "FeatureView"]
    views = [compiler.compile_view(definition) for definition in definitions]
    names = [definition.name for definition in definitions]
    for duplicate in sorted({name for name in names if names.count(name) > 1}):
        compiler.add_error(f"two views have the name {duplicate!r}; rename one")
    if not names:
        compiler.add_error("the file defines no FeatureView")
    if compiler.problems:
        raise ProjectError("\n".join(compiler.problems), fix=f"edit {path}")
    return build_views(project_name, [view for view in views if view is not None])


def build_views(project_name: str, views: Iterable[FeatureViewSpec]) -> FeatureViews:
    """Combine views, sorted by name; the digest is derived from all other fields."""
    without_digest = FeatureViews(
        project=project_name, views=tuple(sorted(views, key=lambda view: view.name)), digest=""
    )
    return without_digest.model_copy(update={"digest": hashlib.sha256(_encode_views(without_digest)).hexdigest()})


def bind_view_versions(views: FeatureViews, table_versions: Mapping[str, Digest]) -> FeatureViews:
    """Give each view its version: of its definition, and of the SQL that its table is built with.

    table_versions: of the built tables, by name (see `compute_table_versions`); a view of another table gets none.
    """
    bound = [
        view.model_copy(update={"version": _compute_version(view, table_versions[view.table])})
        if table_versions.get(view.table)
        else view
        for view in views.views
    ]
    return build_views(views.project, bound)


def _compute_version(view: FeatureViewSpec, table_version: Digest) -> str:
    content = digest_definition(view) + bytes.fromhex(table_version)
    return hashlib.sha256(content).hexdigest()[:_VERSION_DIGITS]


def _encode_views(views: FeatureViews) -> bytes:
    return canonical.dumps_canonical(views.model_dump(mode="json", exclude={"digest"}))


def _decode_views(digest: Digest, content: bytes) -> FeatureViews:
    return FeatureViews.model_validate({**json.loads(content), "digest": digest}, strict=False)


_VIEWS_KIND = RecordKind(
    "set of feature views",
    _encode_views,
    _decode_views,
    missing_fix="compile the feature definitions again with `wellspring transform`",
    id_digits=64,
)


def save_views(views: FeatureViews, folder: Path) -> None:
    """Write views to a file named by their digest, once: releases refer to them by digest."""
    RecordStore(DiskBlobStore(folder), _VIEWS_KIND).save(views)


def load_views_by_digest(folder: Path, digest: Digest) -> FeatureViews:
    """Read saved views without importing Feast. Raises NotFound, CorruptedError when the file was changed."""
    return RecordStore(DiskBlobStore(folder), _VIEWS_KIND).get(digest)


def list_saved_views(folder: Path) -> list[FeatureViews]:
    """Read all saved views whose files are unchanged, sorted by digest."""
    records = RecordStore(DiskBlobStore(folder), _VIEWS_KIND)
    saved: list[FeatureViews] = []
    for digest in records.list_ids():
        # `list_state_problems` names a changed file.
        with suppress(CorruptedError):
            saved.append(records.get(digest))
    return saved


def check_views(views: FeatureViews, schemas: Mapping[str, pa.Schema]) -> None:
    """Check views against the table schemas of a built edition.

    Raises ProjectError that lists every table, key, feature or type that differs from its declaration.
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
                    f"view {view.name}: the {role} {name!r} is {kind}, but its column is {schema.field(name).type}; "
                    "cast it in the model, or declare this type"
                )
        problems += _instant_problems(view, schema)
    if problems:
        raise ProjectError("\n".join(problems), fix="fix the feature definitions, or their dbt models")


def open_feast_store(
    views: FeatureViews, folder: Path, sources: Mapping[str, Path], connection_string: str
) -> FeatureStore:
    """Open the views as a Feast feature store in a scratch folder, for tests and comparisons with Feast.

    sources: the Parquet file of each table. connection_string: Feast's connection string of a Redis store. Feast's
    `ttl` is not set: it counts from the instant of each row, while `max_age_seconds` counts from the edition.
    Do not call it in a serving process: importing Feast redirects the process's metrics to files.
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
            name=view.online_name,
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
    """Compiles the views of one definitions file and collects its errors."""

    def __init__(self, path: Path, objects: Iterable[Any] = ()) -> None:
        self.path = path
        self.problems: list[str] = []
        self._entities = {
            feast_object.name: feast_object for feast_object in objects if type(feast_object).__name__ == "Entity"
        }

    def add_error(self, message: str, view: str = "") -> None:
        self.problems.append(f"{self.path}: {f'view {view}: ' if view else ''}{message}")

    def compile_view(self, definition: FeatureView) -> FeatureViewSpec | None:
        """Compile one view; add its errors and return None when it is invalid."""
        error_count, name = len(self.problems), definition.name
        if not _NAME_PATTERN.fullmatch(name):
            self.add_error("the name must be lower-case words joined by single underscores", name)
        source: Any = definition.batch_source
        table = self._source_table(source, name)
        keys = self._entity_keys(definition)
        if not definition.owner:
            self.add_error("the owner is missing", name)
        if not definition.online:
            self.add_error("online=False is not supported: every view is served; remove it", name)
        features = [self._compile_feature(field, name) for field in definition.features if field.name not in keys]
        field_names = [field.name for field in definition.schema or definition.features]
        for duplicate in sorted({field_name for field_name in field_names if field_names.count(field_name) > 1}):
            self.add_error(f"the feature {duplicate!r} is defined twice", name)
        if not features:
            self.add_error("the view has no feature", name)
        seconds = definition.ttl.total_seconds() if definition.ttl else 0
        if seconds != int(seconds) or seconds < 0:
            self.add_error("ttl must be the age in whole seconds after which a prediction is stale", name)
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
        """List the key columns of a view: one per entity, each a column of tokens."""
        keys: list[str] = []
        # Feast inserts a placeholder entity into a view without entities.
        for entity_name in definition.entities:
            if entity_name not in self._entities:
                self.add_error("the view has no entity of this file; add entities=[...]", definition.name)
            elif self._entities[entity_name].value_type.name != "STRING":
                self.add_error(
                    f"the entity {entity_name!r} must be a token; write value_type=ValueType.STRING", definition.name
                )
            else:
                keys.append(self._entities[entity_name].join_key)
        return keys

    def _source_table(self, source: Any, view: str) -> str:
        if type(source).__name__ != "FileSource":
            self.add_error("the source must be FileSource(path=TABLE, timestamp_field='known_since')", view)
            return ""
        if source.timestamp_field != KNOWN_SINCE_COLUMN:
            field_label = repr(source.timestamp_field) if source.timestamp_field else "missing"
            self.add_error(
                f"timestamp_field is {field_label}; it must be 'known_since', or training would use future information",
                view,
            )
        if source.created_timestamp_column:
            self.add_error("created_timestamp_column is not supported: `sequence` breaks ties; remove it", view)
        if source.field_mapping:
            self.add_error("field_mapping is not supported: use the column names of the table", view)
        if not _NAME_PATTERN.fullmatch(source.path) or source.name not in {"", source.path}:
            self.add_error(
                "path must be the name of a built table, without folder or suffix, and name must not be set", view
            )
        return source.path

    def _compile_feature(self, field: Any, view: str) -> FeatureSpec | None:
        error_count = len(self.problems)
        label = f"the feature {field.name!r}"
        if not _NAME_PATTERN.fullmatch(field.name) or field.name in {KNOWN_SINCE_COLUMN, SEQUENCE_COLUMN}:
            self.add_error(f"{label} needs another name: lower-case words joined by single underscores", view)
        if not field.description.strip():
            self.add_error(f"{label} has no description; the reasons of a prediction use it", view)
        if str(field.dtype) not in _FEATURE_TYPES:
            self.add_error(f"{label} is {field.dtype}; supported are {', '.join(_FEATURE_TYPES)}", view)
        for tag in sorted(set(field.tags) - {"categories"}):
            self.add_error(f"{label}: unknown tag {tag!r}; {suggest_name(tag, ['categories'])}", view)
        categories = [category.strip() for category in field.tags.get("categories", "").split(",")]
        if "categories" not in field.tags:
            categories = []
        elif not all(categories) or len(set(categories)) < len(categories):
            self.add_error(f"{label}: categories must be distinct words separated by commas", view)
        if categories and str(field.dtype) != "String":
            self.add_error(f"{label} has categories, so it must be a String", view)
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
    """Describe the problems of the columns known_since and sequence."""
    problems: list[str] = []
    known_since_type = str(schema.field(KNOWN_SINCE_COLUMN).type) if KNOWN_SINCE_COLUMN in schema.names else "missing"
    if known_since_type != "timestamp[us, tz=UTC]":
        problems.append(
            f"view {view.name}: {view.table}.{KNOWN_SINCE_COLUMN} is {known_since_type}; "
            "it must be timestamp[us, tz=UTC]"
        )
    sequence_type = str(schema.field(SEQUENCE_COLUMN).type) if SEQUENCE_COLUMN in schema.names else "missing"
    if sequence_type != "int64":
        problems.append(f"view {view.name}: {view.table}.{SEQUENCE_COLUMN} is {sequence_type}; it must be int64")
    return problems


@contextmanager
def limit_type_checks() -> Generator[None]:
    """Let Feast, if it is imported in this block, check the types of arguments of the supported kinds only.

    To add its checks, typeguard parses the source of each class again: more than half of the time of the import.
    """
    import typeguard

    add_checks: Any = typeguard.typechecked

    def select(target: Any = None, **options: Any) -> Any:
        if target is None:
            return partial(select, **options)
        return add_checks(target, **options) if target.__name__ in _SUPPORTED_KINDS else target

    typeguard.typechecked = select
    try:
        yield
    finally:
        typeguard.typechecked = add_checks


def _feast_objects(module: ModuleType) -> list[Any]:
    """List the Feast objects that a module defines, directly or in a list, each once."""
    objects: dict[int, Any] = {}
    for value in vars(module).values():
        for candidate in value if isinstance(value, list | tuple) else [value]:
            is_feast = type(candidate).__module__.partition(".")[0] == "feast" and hasattr(candidate, "to_proto")
            if is_feast and not isinstance(candidate, type):
                objects[id(candidate)] = candidate
    return list(objects.values())


def import_feast() -> None:
    """Import Feast, which takes seconds, so that forks of this process do not.

    The import would redirect the metrics of this process to files.
    """
    keep_metrics_in_memory()
    os.environ["PROMETHEUS_MULTIPROCESS_DIR"] = os.environ["PROMETHEUS_MULTIPROC_DIR"] = os.devnull
    with warnings.catch_warnings(), limit_type_checks(), suppress(ModuleNotFoundError):
        warnings.simplefilter("ignore")
        import feast  # noqa: F401
