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

from wellspring.data import module
from wellspring.errors import BY_SLUG, Broken, NotFound, ProjectError, Unavailable, WellspringError
from wellspring.project import nearest
from wellspring.records.data import Feature, View, Views
from wellspring.records.record import Digest
from wellspring.stores.objects.disk import DiskPaths
from wellspring_verify import canonical

if TYPE_CHECKING:
    import pyarrow as pa
    from feast import FeatureStore, FeatureView

KNOWN = "known_since"
SEQUENCE = "sequence"
_SECONDS = 120
_NAME = re.compile(r"[a-z][a-z0-9]*(_[a-z0-9]+)*")
_TYPES = {"Int64": "int64", "Float64": "float64", "Bool": "bool", "String": "string"}
# Of Feast's own objects: what the house serves, and what a definition only needs on the way.
_HELD = {"Entity", "FeatureView", "FeatureService", "FileSource", "Field"}
_ARROW: Mapping[str, frozenset[str]] = {
    "int64": frozenset({"int64", "int32", "int16", "int8", "uint32", "uint16", "uint8"}),
    "float64": frozenset({"double", "float"}),
    "bool": frozenset({"bool"}),
    "string": frozenset({"string", "large_string"}),
}


def load(path: Path, project: str) -> Views:
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
            "PYTHONPATH": str(Path(__file__).parents[2]), "PYTHONDONTWRITEBYTECODE": "1",
        }  # fmt: skip
        try:
            done = subprocess.run(
                [sys.executable, "-P", "-m", __name__, str(path.absolute()), project],
                stdin=subprocess.DEVNULL, capture_output=True, cwd=scratch, env=environment, timeout=_SECONDS,
                check=False,
            )  # fmt: skip
        except subprocess.TimeoutExpired:
            raise ProjectError(f"{path} did not come to its end within {_SECONDS} s", fix=f"edit {path}") from None
    lines = done.stdout.splitlines()
    if done.returncode or not lines:
        what = f"{path} ended the process that read it (exit code {done.returncode})"
        raise ProjectError(what, fix=f"edit {path}: it only defines things")
    told = json.loads(lines[-1])
    if "slug" in told:
        raise BY_SLUG[told["slug"]](told["what"], fix=told["fix"])
    return Views.model_validate(told, strict=False)


def compiled(path: Path, project: str) -> Views:
    """Compile a file of Feast definitions in this process: nothing of the file stays imported, but Feast does."""
    # Feast warns of its own plans; a mistake of the file's is an error, and errors are told.
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        objects = _objects(module.run(path))
    page = _Page(path, objects)
    for kind in sorted({type(each).__name__ for each in objects} - _HELD):
        page.wrong(f"a {kind} is not served by the house; it knows {', '.join(sorted(_HELD))}")
    defined = [each for each in objects if type(each).__name__ == "FeatureView"]
    views = [page.view(each) for each in defined]
    names = [each.name for each in defined]
    for name in sorted({each for each in names if names.count(each) > 1}):
        page.wrong(f"two views are called {name!r}; call one otherwise")
    if not names:
        page.wrong("it defines no FeatureView")
    if page.problems:
        raise ProjectError("\n".join(page.problems), fix=f"edit {path}")
    return compose(project, [each for each in views if each is not None])


def compose(project: str, views: Iterable[View]) -> Views:
    """Put views together, by name; their digest follows from all the rest."""
    unnamed = Views(project=project, views=tuple(sorted(views, key=lambda each: each.name)), digest="")
    return unnamed.model_copy(update={"digest": hashlib.sha256(_encode(unnamed)).hexdigest()})


def keep(views: Views, folder: Path) -> None:
    """Keep views under their digest, write once: a release names them for years to come."""
    DiskPaths(folder).write_once(f"{views.digest}.json", _encode(views))


def load_kept(folder: Path, digest: Digest) -> Views:
    """Read views as they were kept, without Feast. Raises NotFound, Broken when their bytes are others."""
    try:
        content = DiskPaths(folder).read(f"{digest}.json")
    except NotFound:
        fix = "compile the feature definitions again with `wellspring transform`"
        raise NotFound(f"no feature views of digest {digest} are kept", fix=fix) from None
    if hashlib.sha256(content).hexdigest() != digest:
        raise Broken(f"the views {digest} no longer hash to their name", fix="restore the file; do not retry")
    return Views.model_validate({**json.loads(content), "digest": digest}, strict=False)


def check(views: Views, shapes: Mapping[str, pa.Schema]) -> None:
    """Hold views against the tables of a built edition. shapes: the columns of each table, by its name.

    Raises ProjectError that lists every table, key, feature or type that is not there as declared.
    """
    problems: list[str] = []
    for view in views.views:
        if view.table not in shapes:
            near = nearest(view.table, list(shapes))
            problems.append(f"view {view.name}: the edition has no table {view.table!r}; {near}")
            continue
        shape = shapes[view.table]
        wanted = [(each, "string", "key") for each in view.keys]
        wanted += [(each.name, each.type, "feature") for each in view.features]
        for name, kind, role in wanted:
            if name not in shape.names:
                near = nearest(name, shape.names)
                problems.append(f"view {view.name}: table {view.table} has no column for the {role} {name!r}; {near}")
            elif str(shape.field(name).type) not in _ARROW[kind]:
                problems.append(
                    f"view {view.name}: the {role} {name!r} is {kind}, and its column is {shape.field(name).type}; "
                    "cast it in the model, or declare what it is"
                )
        problems += _told_when(view, shape)
    if problems:
        raise ProjectError("\n".join(problems), fix="mend the feature definitions, or the dbt models under them")


def feast_repo(views: Views, folder: Path, sources: Mapping[str, Path], online: str) -> FeatureStore:
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
            online_store=RedisOnlineStoreConfig(connection_string=online),
            offline_store={"type": "file"},
            entity_key_serialization_version=3,
        )
    )
    entities = {
        key: Entity(name=key, join_keys=[key], value_type=ValueType.STRING) for v in views.views for key in v.keys
    }
    made = [
        FeatureView(
            name=view.name,
            entities=[entities[key] for key in view.keys],
            ttl=timedelta(0),
            schema=[
                *(Field(name=key, dtype=String) for key in view.keys),
                *(Field(name=each.name, dtype=types[each.type], description=each.what) for each in view.features),
            ],
            source=FileSource(name=view.table, path=str(sources[view.table]), timestamp_field=KNOWN),
            owner=view.owner,
        )
        for view in views.views
    ]
    store.apply([*entities.values(), *made])
    return store


class _Page:
    """One file of definitions under judgement."""

    def __init__(self, path: Path, objects: Iterable[Any] = ()) -> None:
        self.path = path
        self.problems: list[str] = []
        self._entities = {each.name: each for each in objects if type(each).__name__ == "Entity"}

    def wrong(self, what: str, view: str = "") -> None:
        self.problems.append(f"{self.path}: {f'view {view}: ' if view else ''}{what}")

    def view(self, defined: FeatureView) -> View | None:
        """Compile one view, or note what is wrong with it."""
        before, name = len(self.problems), defined.name
        if not _NAME.fullmatch(name):
            self.wrong("a name is lower-case words joined by single underscores", name)
        source: Any = defined.batch_source
        table = self._table(source, name)
        keys = self._keys(defined)
        if not defined.owner:
            self.wrong("it has no owner; name who answers for it", name)
        if not defined.online:
            self.wrong("online=False is not understood: every view is served; take it out", name)
        features = [self._feature(each, name) for each in defined.features if each.name not in keys]
        said = [each.name for each in defined.schema or defined.features]
        for twice in sorted({each for each in said if said.count(each) > 1}):
            self.wrong(f"the feature {twice!r} is defined twice", name)
        if not features:
            self.wrong("it has no feature", name)
        seconds = defined.ttl.total_seconds() if defined.ttl else 0
        if seconds != int(seconds) or seconds < 0:
            self.wrong("ttl is the age in whole seconds after which an answer is stale", name)
        if len(self.problems) > before:
            return None
        return View(
            name=name,
            entity="+".join(defined.entities),
            keys=tuple(keys),
            table=table,
            features=tuple(each for each in features if each is not None),
            owner=defined.owner,
            max_age_seconds=int(seconds) or None,
        )

    def _keys(self, defined: FeatureView) -> list[str]:
        """List the columns that say whose features these are: one an entity, each a token."""
        keys: list[str] = []
        # Feast puts a stand-in where a view names no entity.
        for each in defined.entities:
            if each not in self._entities:
                self.wrong("it has no entity of this file; say whose features these are", defined.name)
            elif self._entities[each].value_type.name != "STRING":
                self.wrong(f"the entity {each!r} is no token; write value_type=ValueType.STRING", defined.name)
            else:
                keys.append(self._entities[each].join_key)
        return keys

    def _table(self, source: Any, view: str) -> str:
        if type(source).__name__ != "FileSource":
            self.wrong("its source is no FileSource; write FileSource(path=TABLE, timestamp_field='known_since')", view)
            return ""
        if source.timestamp_field != KNOWN:
            said = repr(source.timestamp_field) if source.timestamp_field else "nothing"
            self.wrong(
                f"timestamp_field is {said}, and must be 'known_since': by any other instant a model would learn from "
                "what was not known yet",
                view,
            )
        if source.created_timestamp_column:
            self.wrong("created_timestamp_column is not used: `sequence` breaks ties; take it out", view)
        if source.field_mapping:
            self.wrong("field_mapping is not understood: name the columns as the table does", view)
        if not _NAME.fullmatch(source.path) or source.name not in {"", source.path}:
            self.wrong(
                "path is the name of a built table, with no folder or ending; a name of its own is refused", view
            )
        return source.path

    def _feature(self, field: Any, view: str) -> Feature | None:
        before = len(self.problems)
        where = f"the feature {field.name!r}"
        if not _NAME.fullmatch(field.name) or field.name in {KNOWN, SEQUENCE}:
            self.wrong(f"{where} needs another name: lower-case words joined by single underscores", view)
        if not field.description.strip():
            self.wrong(f"{where} has no description; an answer's reasons are told in its words", view)
        if str(field.dtype) not in _TYPES:
            self.wrong(f"{where} is {field.dtype}; the house knows {', '.join(_TYPES)}", view)
        for tag in sorted(set(field.tags) - {"categories"}):
            self.wrong(f"{where}: unknown tag {tag!r}; {nearest(tag, ['categories'])}", view)
        categories = [each.strip() for each in field.tags.get("categories", "").split(",")]
        if "categories" not in field.tags:
            categories = []
        elif not all(categories) or len(set(categories)) < len(categories):
            self.wrong(f"{where}: categories are words with a comma between, each once", view)
        if categories and str(field.dtype) != "String":
            self.wrong(f"{where} has categories and is no String", view)
        if len(self.problems) > before:
            return None
        kind = _TYPES[str(field.dtype)]
        return Feature.model_validate(
            {"name": field.name, "type": kind, "what": field.description.strip(), "categories": tuple(categories)}
        )


def _told_when(view: View, shape: pa.Schema) -> list[str]:
    """Say what is wrong with the two columns that say when a row was known."""
    problems: list[str] = []
    known = str(shape.field(KNOWN).type) if KNOWN in shape.names else "missing"
    if known != "timestamp[us, tz=UTC]":
        problems.append(f"view {view.name}: {view.table}.{KNOWN} is {known}, and must be timestamp[us, tz=UTC]")
    sequence = str(shape.field(SEQUENCE).type) if SEQUENCE in shape.names else "missing"
    if sequence != "int64":
        problems.append(f"view {view.name}: {view.table}.{SEQUENCE} is {sequence}, and must be int64")
    return problems


def _encode(views: Views) -> bytes:
    return canonical.dumps(views.model_dump(mode="json", exclude={"digest"}))


def _objects(module: ModuleType) -> list[Any]:
    """List the objects of Feast that a module defines, each once: on their own, or in a list."""
    found: dict[int, Any] = {}
    for value in vars(module).values():
        for each in value if isinstance(value, list | tuple) else [value]:
            ours = type(each).__module__.partition(".")[0] == "feast" and hasattr(each, "to_proto")
            if ours and not isinstance(each, type):
                found[id(each)] = each
    return list(found.values())


def _answer(path: Path, project: str) -> None:
    """Compile a file and print the views, or what is wrong, as the last line; what the file prints is no answer."""
    with redirect_stdout(sys.stderr):
        try:
            said = compiled(path, project).model_dump_json()
        except WellspringError as wrong:
            said = json.dumps({"slug": wrong.slug, "what": wrong.what, "fix": wrong.fix})
    print(said)


if __name__ == "__main__":
    _answer(Path(sys.argv[1]), sys.argv[2])
