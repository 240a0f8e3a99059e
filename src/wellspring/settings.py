"""Tables of wellspring.toml that extension points read, and the base classes of settings that extensions define."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated, Any, Literal, Self, cast
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, PlainValidator, model_validator
from pydantic_core import PydanticCustomError

from wellspring.errors import ProjectError
from wellspring.plugins import PluginRegistry

SOURCE_KINDS_GROUP = "wellspring.sources"
"""The entry point group in which packages register kinds of sources."""
SOCKET_FOLDERS = {
    **{name: name for name in ("openbao", "postgres", "valkey", "witness", "sequencer", "api")},
    "intake": "enclave",
    "vault": "enclave",
    "control": "supervisor",
    "jobs": "supervisor",
    "code": "project_code",
}
"""The folder of each Unix socket in the runtime folder: it has the name of the server that alone may write there."""


class SettingsSection(BaseModel):
    """Base of the tables of wellspring.toml; an unknown key is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class QuerySettings(SettingsSection):
    """[query]: the query engine, an entry point of `wellspring.query_engines`, and settings of its own."""

    engine: str = "duckdb"
    options: dict[str, Any] = {}


class LakeSettings(SettingsSection):
    """[lake]: the catalog of the tables, an entry point of `wellspring.catalogs`, and settings of its own."""

    catalog: str = "sqlite"
    options: dict[str, Any] = {}


class RetentionSettings(SettingsSection):
    """[retention]: how long built editions are kept, and for how long answers must be replayable.

    editions: an older one is retired, unless something names it; None: none is retired. predictions: the editions of
    answers of this time are kept; None: those of all answers.
    """

    editions: Annotated[timedelta, PlainValidator(lambda value: _validate_duration(value))] | None = None
    predictions: Annotated[timedelta, PlainValidator(lambda value: _validate_duration(value))] | None = None


class LockSettings(SettingsSection):
    """[locks]: the locks of the resources that jobs write, an entry point of `wellspring.locks`, and their settings."""

    kind: str = "file"
    options: dict[str, Any] = {}


class WorkerSettings(SettingsSection):
    """[worker]: how many jobs run at a time, and the memory that one may use, in MB (0: no limit).

    A rollback, an approval and every other act of a person may run beyond parallel_jobs, one at a time.
    """

    parallel_jobs: int = Field(default=2, ge=1, le=16)
    memory_mb: int = Field(default=0, ge=0)


class EnclaveSettings(SettingsSection):
    """[enclave]: the memory that the enclave may reserve, in MB. A drop that needs more is rejected.

    Arrow reserves 1,024 MB at its first use, if it may.
    """

    memory_mb: int = Field(default=8192, ge=1024)


class WitnessSettings(SettingsSection):
    """[witness]: folder of the witness key and of the checkpoints it signed; never inside .wellspring/."""

    folder: Path = Path("witness")


class LedgerSettings(SettingsSection):
    """[ledger]: seconds between two checkpoints of an idle log, and between two runs that pack the lines of answers.

    key_days: after how many days the key of the log is followed by a new one; 0: never.
    """

    checkpoint_seconds: float = Field(default=60.0, gt=0)
    pack_seconds: float = Field(default=3600.0, gt=0)
    key_days: int = Field(default=365, ge=0)


class FeatureSettings(SettingsSection):
    """[features]: Feast definitions, an online store of `wellspring.online_stores`, and how long a read may take."""

    definitions: Path = Path("features.py")
    online_store: str = "redis"
    read_seconds: float = Field(default=0.25, gt=0)


class DbtSettings(SettingsSection):
    """[dbt]: the dbt project of SQL transforms, relative to the project root."""

    folder: Path = Path("dbt")


class ModelSettings(SettingsSection):
    """[models]: one Python file per model; this table makes `up` start MLflow and the API. policies: *.cedar files.

    keep_warm: how many releases before the live one are kept ready for a rollback. key_days: after how many days the
    next `up` makes a new version of the key that signs models; 0: never.
    """

    folder: Path = Path("models")
    policies: Path = Path("policies")
    keep_warm: int = Field(default=1, ge=0, le=10)
    key_days: int = Field(default=365, ge=0)


class SimulationSettings(SettingsSection):
    """[simulation]: marks a project whose services read a clock that a test sets; folder: of the clock's file."""

    folder: Path = Path("simulation")


class SourceSettings(SettingsSection):
    """[sources.NAME]: the keys that each kind of source has; a kind adds its own keys in a subclass.

    settle_seconds: skip files modified less than this long ago, by the clock of the source.
    max_bytes: a larger file is not read; the other files continue.
    """

    kind: str
    settle_seconds: float = Field(default=5.0, ge=0, strict=True, allow_inf_nan=False)
    max_bytes: int = Field(default=4 << 30, gt=0, strict=True)

    @property
    def embedded_server(self) -> str | None:
        """Name of the server of `wellspring up` that serves this source; None for a server elsewhere."""
        return None

    @property
    def place(self) -> str:
        """Where a vendor puts the files, for a sentence: `outbox of sftp.example.com`."""
        return self.kind

    def drop_folder(self, root: Path) -> Path | None:  # noqa: ARG002
        """Return the local folder whose files an embedded server serves; None without one. root: of the project."""
        return None

    def readable_paths(self, root: Path) -> tuple[Path, ...]:  # noqa: ARG002
        """List the files that the enclave must be able to read for this source; it can open no others."""
        return ()

    def secret_path(self, name: str) -> str | None:
        """Return the path in OpenBao of the credentials of the source with this name; None without credentials."""
        return f"enclave/sources/{name}"


def parse_schedule(schedule: str, timezone: str, after: datetime) -> Iterator[datetime]:
    """Yield the instants (UTC) of a schedule after an instant, as Debian's cron does where clocks change.

    Raises ValueError for a schedule that is malformed or has no instant.
    """
    from cronsim import CronSim, CronSimError

    try:
        instants = CronSim(schedule, after.astimezone(ZoneInfo(timezone)))
    except CronSimError as exc:
        raise ValueError(f"the schedule is not five fields of cron: {exc}") from None
    return (instant.astimezone(UTC) for instant in instants)


def _validate_timezone(name: str) -> str:
    try:
        ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError):
        raise ValueError("no such time zone; write it as America/Chicago") from None
    return name


def _validate_duration(value: Any) -> timedelta:
    match = re.fullmatch(r"([1-9][0-9]{0,4})([smhd])", value) if isinstance(value, str) else None
    if match is None:
        raise ValueError("a duration is a number and s, m, h or d, such as 90m")
    return timedelta(seconds=int(match[1]) * {"s": 1, "m": 60, "h": 3600, "d": 86400}[match[2]])


def _validate_pattern(pattern: str) -> str:
    try:
        matches_nothing = re.compile(pattern).search("") is None
    except re.error as exc:
        raise ValueError(f"the pattern is not a regular expression: {exc}") from None
    if not matches_nothing:
        raise ValueError("the pattern matches an empty text: it would mask everything")
    return pattern


class DetectorSettings(SettingsSection):
    """[dlp.detectors.NAME]: a number of the project's own. examples: values that the detector must find.

    pattern: a regular expression without look-around; case is ignored, and no letter or digit may be next to a match.
    checksum: `luhn` or `mod97`; None: every match counts.
    """

    pattern: Annotated[str, Field(min_length=1, max_length=500), AfterValidator(_validate_pattern)]
    checksum: str | None = None
    examples: Annotated[tuple[str, ...], Field(min_length=1)]


class DlpSettings(SettingsSection):
    """[dlp]: the detectors that search for personal data. packs: names of the group `wellspring.detector_packs`."""

    packs: tuple[str, ...] = ("core", "us")
    detectors: dict[Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]{0,30}$")], DetectorSettings] = {}


class JobSettings(SettingsSection):
    """[jobs.NAME]: a job that starts by itself. kind, subject: what runs: `ingest` of a source, `train` of a model;
    `transform`, `record-outcomes` and `retain` have no subject.

    schedule: five fields of cron, in the time zone `timezone`. on_new_file: start when the source of an ingest has a
    new file. after: jobs of the plan whose success starts it. sla: how long after its start became due it may end, such
    as 90m or 2h. priority: among waiting jobs, the higher one runs first.
    """

    kind: Literal["ingest", "transform", "train", "record-outcomes", "retain"]
    subject: str = ""
    schedule: str | None = None
    timezone: Annotated[str, AfterValidator(_validate_timezone)] = "UTC"
    on_new_file: bool = False
    after: tuple[str, ...] = ()
    sla: Annotated[timedelta, PlainValidator(_validate_duration)] | None = None
    priority: int = Field(default=0, ge=-100, le=100)

    @model_validator(mode="after")
    def _check_fields(self) -> Self:
        if bool(self.subject) == (self.kind in {"transform", "record-outcomes", "retain"}):
            raise ValueError(f"{self.kind} needs a subject" if not self.subject else f"{self.kind} has no subject")
        if self.on_new_file and self.kind != "ingest":
            raise ValueError("on_new_file is for ingest")
        if self.schedule is not None:
            parse_schedule(self.schedule, self.timezone, datetime(2026, 1, 1, tzinfo=UTC))
        return self


@dataclass(frozen=True, kw_only=True)
class SettingsKind:
    """What an entry point registers for a kind of source: at least the class of its settings."""

    settings: type[SourceSettings]


def find_source_settings(kind: str) -> type[SourceSettings]:
    """Import the settings class of a kind of source, which an entry point names. Raises ProjectError."""
    return PluginRegistry(SOURCE_KINDS_GROUP, SettingsKind, noun="kind of source").load(kind).settings


def _validate_source_name(name: str) -> str:
    if not re.fullmatch(r"[a-z][a-z0-9_-]{0,39}", name):
        raise ValueError("a source's name has 1 to 40 of a-z, 0-9, - and _, and begins with a letter")
    return name


def _validate_source(values: Any) -> SourceSettings:
    """Validate the table of a source with the settings class of its kind."""
    if isinstance(values, SourceSettings):
        return values
    if not isinstance(values, dict):
        raise ValueError("a source is a table: [sources.NAME]")
    table: dict[str, Any] = {str(key): value for key, value in cast("dict[object, Any]", values).items()}
    if "kind" not in table:
        raise PydanticCustomError("missing", "missing", {"location": ["kind"]})
    try:
        settings = find_source_settings(str(table["kind"]))
    except ProjectError as exc:
        raise PydanticCustomError(
            "source_kind", "{what}; {fix}", {"what": exc.what, "fix": exc.fix, "location": ["kind"]}
        ) from None
    return settings.model_validate(table)


def _validate_job_name(name: str) -> str:
    if not re.fullmatch(r"[a-z][a-z0-9_]{0,39}", name):
        raise ValueError("a job's name has 1 to 40 of a-z, 0-9 and _, and begins with a letter")
    return name


JobsByName = dict[Annotated[str, AfterValidator(_validate_job_name)], JobSettings]
SourcesByName = dict[
    Annotated[str, AfterValidator(_validate_source_name)], Annotated[SourceSettings, PlainValidator(_validate_source)]
]
