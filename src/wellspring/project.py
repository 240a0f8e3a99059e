"""wellspring.toml and run.json -> Project: frozen, typed, complete; the only reader of file and environment."""

from __future__ import annotations

import difflib
import hashlib
import json
import os
import re
import tempfile
import tomllib
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError
from pydantic_core import PydanticCustomError

from wellspring.errors import NotFound, ProjectError, Unavailable
from wellspring.records.record import Frozen, Instant

FILE = "wellspring.toml"
HOUSE_NAMES = frozenset(
    "owner root nobody supervisor sequencer wellspring openbao "
    "keys enclave worker api witness vendor valkey mlflow postgres".split()
)
"""Who acts in the house itself; entries and policies know them as `service:NAME`, so no caller is called so."""
HOUSE_UIDS = frozenset({*range(64100, 64111), 65534})
"""Users that the services of the house run as, or may run as one day; `servers.privileges` says which is which."""


class Section(BaseModel):
    """One table of wellspring.toml; an unknown key is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Named(Section):
    """[project]: who this is. tenant: employer group or administrator, on every record."""

    name: str = Field(pattern=r"^[a-z][a-z0-9_]{1,39}$")
    tenant: str = Field(pattern=r"^[a-z0-9][a-z0-9-]{1,62}$")


def _address(text: str) -> str:
    host, colon, port = text.rpartition(":")
    # A word without a dot is hardly a host: more likely somebody meant `embedded`.
    right = bool(host) and port.isdecimal() and 0 < int(port) < 65536 if colon else "." in text
    if text != "embedded" and not right:
        raise ValueError("an address is host:port, or `embedded` for the vendor that `wellspring up` starts")
    return text


class SftpSource(Section):
    """[sources.NAME] of kind sftp. address: host:port, or `embedded` for the vendor that `wellspring up` starts.

    settle_seconds: a file modified less than this ago, by the server's clock, is left alone.
    known_hosts: the pinned host key (OpenSSH format), relative to the project.
    """

    kind: Literal["sftp"]
    address: Annotated[str, AfterValidator(_address)] = "embedded"
    user: str = "wellspring"
    folder: str = "outbox"
    known_hosts: Path = Path("vendor/known_hosts")
    settle_seconds: float = Field(default=5.0, ge=0)


class Witness(Section):
    """[witness]: where the witness keeps its key and what it has seen; never inside .wellspring/."""

    folder: Path = Path("witness")


class Servers(Section):
    """[servers]: where programs are whose package has no wheel here. openbao: the file `bao`; postgres: a folder."""

    openbao: Path | None = None
    postgres: Path | None = None


class Dbt(Section):
    """[dbt]: the project of SQL transforms, relative to the project's folder."""

    folder: Path = Path("dbt")


class Features(Section):
    """[features]: the Feast definitions, relative to the project's folder; with it `up` starts the online store."""

    definitions: Path = Path("features.py")


class Models(Section):
    """[models]: one Python file a model; with it `up` starts MLflow and the API. policies: Cedar files (*.cedar)."""

    folder: Path = Path("models")
    policies: Path = Path("policies")


class Person(Section):
    """[people.NAME]: somebody who may log in, once enrolled, with a password and a code; roles are for the policies."""

    roles: tuple[str, ...]


def _callers_name(name: str) -> str:
    if not re.fullmatch(r"[a-z][a-z0-9_-]{0,62}", name):
        raise ValueError("a caller's name has 1 to 63 of a-z, 0-9, - and _, and begins with a letter")
    if name in HOUSE_NAMES:
        raise ValueError("this name is the house's own: give the caller another")
    return name


def _callers_uid(uid: int) -> int:
    if uid in HOUSE_UIDS:
        raise ValueError("a service of the house runs as this user: give the caller a user of its own")
    return uid


class Caller(Section):
    """[callers.NAME]: a service that may call the API over its socket; the kernel says which uid is asking."""

    uid: Annotated[int, Field(ge=0), AfterValidator(_callers_uid)]


def _each_its_own(callers: dict[str, Caller]) -> dict[str, Caller]:
    held: dict[int, str] = {}
    for name, caller in callers.items():
        if (other := held.setdefault(caller.uid, name)) != name:
            raise PydanticCustomError(
                "same_uid", "callers.{other} has the same user: the kernel could not tell them apart",
                {"other": other, "at": [name, "uid"]},
            )  # fmt: skip
    return callers


Callers = Annotated[dict[Annotated[str, AfterValidator(_callers_name)], Caller], AfterValidator(_each_its_own)]


class Server(Frozen):
    """One running server. start: the kernel's start time of the pid (clock ticks since boot), so a reused pid shows."""

    pid: int
    start: int
    version: str
    socket: str | None = None
    port: int | None = None


class Running(Frozen):
    """run.json: what `wellspring up` started. separation: by user, or by process and keys only (`why` says why)."""

    supervisor: Server
    servers: dict[str, Server]
    started: Instant
    separation: Literal["user", "process"]
    why: str = ""
    uids: dict[str, int] = {}


class MlflowFiles(NamedTuple):
    """What a client of MLflow shows and trusts: PEM files that only the worker may read."""

    ca: Path
    client: Path


class Project(Section):
    """Everything that the house reads about one project; paths are absolute."""

    project: Named
    sources: dict[str, SftpSource]
    witness: Witness = Witness()
    servers: Servers = Servers()
    dbt: Dbt | None = None
    features: Features | None = None
    models: Models | None = None
    people: dict[str, Person] = {}
    callers: Callers = {}
    root: Path
    crash_at: str | None = None

    @property
    def name(self) -> str:
        return self.project.name

    @property
    def tenant(self) -> str:
        return self.project.tenant

    @property
    def state(self) -> Path:
        """`.wellspring/`: all that the house writes, but for the vendor's house and the witness."""
        return self.root / ".wellspring"

    @property
    def contracts(self) -> Path:
        return self.root / "contracts"

    @property
    def vendor(self) -> Path:
        """The embedded vendor's house: its host key, who may log in, its outbox."""
        return self.root / "vendor"

    @property
    def journals(self) -> Path:
        return self.state / "journals"

    @property
    def ledger(self) -> Path:
        return self.state / "ledger"

    @property
    def lake(self) -> Path:
        return self.state / "lake"

    @property
    def enclave(self) -> Path:
        return self.state / "enclave"

    @property
    def models_kept(self) -> Path:
        """Artefacts by content hash, and the releases: written by the worker, read by the API."""
        return self.state / "models"

    @property
    def mlflow_files(self) -> MlflowFiles:
        """Where the worker finds its certificate for MLflow; made anew at each start of the servers."""
        kept = self.state / "tmp" / "worker"
        return MlflowFiles(kept / "mlflow-ca.pem", kept / "mlflow-client.pem")

    @property
    def own(self) -> dict[str, Path]:
        """The project's own code by what it is, as far as it has any: dbt, features, models, policies."""
        parts: dict[str, Path] = {}
        if self.dbt is not None:
            parts["dbt"] = self.root / self.dbt.folder
        if self.features is not None:
            parts["features"] = self.root / self.features.definitions
        if self.models is not None:
            parts["models"] = self.root / self.models.folder
            parts["policies"] = self.root / self.models.policies
        return parts

    @cached_property
    def runtime(self) -> Path:
        """The short folder of Unix sockets (a socket path has 107 bytes): ws-<8 hex of the project path>.

        Always in /tmp, whatever TMPDIR says: two shells of one owner, and its services, must find the same sockets.
        """
        return Path("/tmp") / f"ws-{hashlib.sha256(str(self.root).encode()).hexdigest()[:8]}"

    def socket(self, name: str) -> Path:
        """The Unix socket of one server: openbao, postgres (a folder), intake, vault, witness, control, valkey, api."""
        return self.runtime / (name if name == "postgres" else f"{name}.sock")

    def source(self, name: str) -> SftpSource:
        """Raises NotFound with the nearest name."""
        if name not in self.sources:
            raise NotFound(f"no source {name!r} in {self.root / FILE}", fix=nearest(name, self.sources))
        return self.sources[name]

    def running(self) -> Running | None:
        """Read run.json; None when nothing was started (whether the pids still live is for `servers` to say)."""
        try:
            return Running.model_validate_json((self.state / "run.json").read_bytes())
        except FileNotFoundError:
            return None
        except ValidationError as wrong:
            raise ProjectError(
                f"{self.state / 'run.json'} is not readable: {wrong.error_count()} fields are wrong",
                fix="run `wellspring down`, then `wellspring up`",
            ) from None

    def port(self, server: str) -> int:
        """The loopback port of a running server. Raises Unavailable when it is not up."""
        running = self.running()
        if running is None or server not in running.servers or running.servers[server].port is None:
            raise Unavailable(f"{server} is not running for {self.root}", fix="run `wellspring up`")
        return int(running.servers[server].port or 0)


def nearest(word: str, known: Mapping[str, Any] | list[str]) -> str:
    """Say what was probably meant, or what there is."""
    close = difflib.get_close_matches(word, list(known), n=1)
    return f"did you mean {close[0]!r}?" if close else f"there is: {', '.join(sorted(known)) or 'none'}"


def find(start: Path | None = None) -> Path:
    """Return the nearest folder at or above `start` (default: here) that holds wellspring.toml. Raises NotFound."""
    here = (start or Path.cwd()).absolute()
    for folder in (here, *here.parents):
        if (folder / FILE).is_file():
            return folder
    raise NotFound(
        f"no {FILE} in {here} or above it",
        fix="go to a project, name one with --project FOLDER, or run `wellspring demo` to get one",
    )


def load(root: Path | None = None, *, environ: Mapping[str, str] = os.environ) -> Project:
    """Read a project. root: its folder, else the nearest one upwards.

    Raises ProjectError that lists every mistake at once, each with its line and its mend; NotFound without a project.
    """
    folder = root.absolute() if root is not None else find()
    path = folder / FILE
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise NotFound(f"no {FILE} in {folder}", fix="name a project's folder with --project FOLDER") from None
    except UnicodeDecodeError:
        raise ProjectError(f"{path} is not UTF-8", fix="save it as UTF-8 without a byte order mark") from None
    try:
        values = tomllib.loads(text)
    except tomllib.TOMLDecodeError as wrong:
        raise ProjectError(f"{path}: {wrong}", fix="mend the TOML there") from None
    try:
        return Project(root=folder, crash_at=environ.get("WELLSPRING_CRASH_AT"), **values)
    except ValidationError as wrong:
        problems = [_problem(path, text, error) for error in wrong.errors(include_url=False)]
        raise ProjectError("\n".join(problems), fix=f"edit {path}") from None
    except TypeError:
        # `root` and `crash_at` are ours: a file that sets them collides with the keyword.
        ours = sorted({"root", "crash_at"} & set(values))
        raise ProjectError(f"{path}: {', '.join(ours)} cannot be set there", fix=f"remove it from {path}") from None


def _problem(path: Path, text: str, error: Any) -> str:
    # Pydantic marks what is wrong with a key itself by "[key]"; what two tables do wrong together says where by itself.
    found = (*error["loc"], *error.get("ctx", {}).get("at", ()))
    where = [str(part) for part in found if part not in {"sftp", "[key]"}]
    line = _line(text, where)
    at = f"{path}:{line}" if line else str(path)
    name = ".".join(where)
    if error["type"] == "extra_forbidden":
        return f"{at}: unknown key {name!r}; {nearest(where[-1], _known(where[:-1]))}"
    if error["type"] == "missing":
        return f"{at}: {name!r} is missing"
    return f"{at}: {name!r}: {error['msg'].removeprefix('Value error, ')}"


def _known(where: list[str]) -> list[str]:
    tables: dict[str, type[Section]] = {
        "project": Named,
        "sources": SftpSource,
        "witness": Witness,
        "servers": Servers,
        "dbt": Dbt,
        "features": Features,
        "models": Models,
        "people": Person,
        "callers": Caller,
    }
    fields = (tables[where[0]] if where and where[0] in tables else Project).model_fields
    return [name for name in fields if name not in {"root", "crash_at"}]


def _line(text: str, where: list[str]) -> int | None:
    """Find the line of a key, for a message: tomllib keeps no positions."""
    table = ""
    for number, line in enumerate(text.splitlines(), start=1):
        if header := re.match(r"\s*\[([^\[\]]+)\]", line):
            table = header[1].replace('"', "").strip()
            if table == ".".join(where):
                return number
        elif key := re.match(r'\s*"?([A-Za-z0-9_-]+)"?\s*=', line):
            if [*filter(None, table.split(".")), key[1]] == where:
                return number
    return _line(text, where[:-1]) if len(where) > 1 else None


def write_json(path: Path, value: Any) -> None:
    """Write a small JSON file atomically (beside, fsync, rename), readable by all, writable by its owner."""
    handle, beside = tempfile.mkstemp(prefix=".tmp-", dir=path.parent)
    with os.fdopen(handle, "w", encoding="utf-8") as file:
        json.dump(value, file, indent=1, sort_keys=True)
        file.flush()
        os.fchmod(file.fileno(), 0o644)
        os.fsync(file.fileno())
    os.replace(beside, path)
