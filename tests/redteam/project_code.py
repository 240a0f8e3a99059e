"""Code that an author puts into a model file, feature definitions or the dbt project."""

from __future__ import annotations

import contextlib
import json
import shutil
import socket
from collections.abc import Generator
from pathlib import Path
from typing import Any

from tests.builders import hostile_attempts
from tests.redteam.catalogue import attempt
from tests.redteam.service_users import find_pid
from tests.redteam.shop_project import MODEL
from tests.redteam.target import Target

# Runs each attempt and reports the outcomes in the text of an error, which the command of the owner shows.
_REPORT = """
import errno as _errno, json as _json
_outcomes = {{}}
for _label, (_name, _aim) in _json.loads({plan!r}).items():
    try:
        ATTEMPTS[_name](_aim)
        _outcomes[_label] = "done"
    except OSError as _error:
        _outcomes[_label] = _errno.errorcode.get(_error.errno, "OSError")
raise RuntimeError("report " + _json.dumps(_outcomes))
"""
_reports: dict[int, dict[str, str]] = {}


def _report_text(plan: dict[str, tuple[str, Any]]) -> str:
    source = Path(hostile_attempts.__file__).read_text(encoding="utf-8")
    return f"{source}\n{_REPORT.format(plan=json.dumps(plan))}"


@contextlib.contextmanager
def _replaced_file(path: Path, text: str) -> Generator[None]:
    content = path.read_bytes()
    path.write_text(text, encoding="utf-8")
    try:
        yield
    finally:
        path.write_bytes(content)


def _read_report(error: str) -> dict[str, str]:
    start = error.find("report {")
    if start < 0:
        return {"": error[-500:]}
    text = error[start + len("report ") :].replace('\\"', '"')
    return json.JSONDecoder().raw_decode(text)[0]


def _run_model_file(target: Target, label: str) -> str:
    """Return the outcome of one attempt of the model file, which makes all of them in one training."""
    if id(target) not in _reports:
        project, state = target.project, target.project.state_dir
        neighbor = target.create_folder() / "wellspring.toml"
        neighbor.touch(0o644)
        with socket.create_server(("127.0.0.1", 0)) as server:
            plan: dict[str, tuple[str, Any]] = {
                "socket": ("Unix socket", str(project.socket_path("intake"))),
                "network": ("TCP connection", server.getsockname()[1]),
                "key": ("key", str(state / "seal.key")),
                "passwords": ("key", "/etc/shadow"),
                "own file": ("key", str(project.root / "models" / f"{MODEL}.py")),
                "memory": ("memory of a process", find_pid(target, "worker")),
                "own memory": ("memory of a process", "self"),
                "fork": ("fork", str(state / "tmp/code/survived")),
                "program": ("program", "x"),
                "lake": ("write outside", str(state / "lake/warehouse/laid")),
                "scratch": ("write outside", "laid"),
                "signal": ("signal", find_pid(target, "worker")),
                "survive": ("life without the server", 0),
                "neighbor": ("another project", str(neighbor)),
                "table": ("unnamed lake file", str(next((state / "lake/warehouse").rglob("*.parquet")))),
                "pointer": ("release pointer", str(project.models_dir / "live" / MODEL)),
            }
            with _replaced_file(project.root / "models" / f"{MODEL}.py", _report_text(plan)):
                _reports[id(target)] = _read_report(target.run("train", MODEL).error)
    return _reports[id(target)].get(label, str(_reports[id(target)]))


def _act_as_code(target: Target, name: str, aim: Any, service: str = "code") -> str:
    """Make an attempt as a service without the filters of project code."""

    def act() -> str:
        hostile_attempts.ATTEMPTS[name](aim)
        return "done"

    return target.run_as(service, act)


@attempt("project-code", "author", refused="EPERM", allowed="done", needs="model")
def connect_from_a_model_file(target: Target, is_twin: bool) -> str:
    """A model file connects to the enclave, which refuses but answers every user; the worker's process may connect."""
    if is_twin:
        return _act_as_code(target, "Unix socket", str(target.project.socket_path("intake")), "worker")
    return _run_model_file(target, "socket")


@attempt("project-code", "author", refused="EPERM", allowed="done", needs="model")
def send_over_the_network(target: Target, is_twin: bool) -> str:
    """A model file connects to a TCP port; the same uid without the filter may."""
    if is_twin:
        with socket.create_server(("127.0.0.1", 0)) as server:
            return _act_as_code(target, "TCP connection", server.getsockname()[1])
    return _run_model_file(target, "network")


@attempt("project-code", "author", refused="EACCES", allowed="done", needs="model")
def read_the_seal_key(target: Target, is_twin: bool) -> str:
    """A model file reads the seal key; itself it may read."""
    return _run_model_file(target, "own file" if is_twin else "key")


@attempt("project-code", "author", refused="EACCES", allowed="done", needs="model")
def read_passwords_from_a_model_file(target: Target, is_twin: bool) -> str:
    """A model file reads the machine's file of passwords; itself it may read."""
    return _run_model_file(target, "own file" if is_twin else "passwords")


@attempt("project-code", "author", refused="EACCES", allowed="done", needs="model")
def read_memory_of_the_worker(target: Target, is_twin: bool) -> str:
    """A model file reads the memory of the worker; its own it may."""
    return _run_model_file(target, "own memory" if is_twin else "memory")


@attempt("project-code", "author", refused="EPERM", allowed="done", needs="model")
def leave_a_process_behind(target: Target, is_twin: bool) -> str:
    """A model file forks a process that outlives the job; the same uid without the filter may."""
    if is_twin:
        folder = target.create_folder(target.identity("code"))
        return _act_as_code(target, "fork", str(folder / "survived"))
    return _run_model_file(target, "fork")


@attempt("project-code", "author", refused="EPERM", allowed="done", needs="model")
def start_a_program(target: Target, is_twin: bool) -> str:
    """A model file starts a program; the same uid without the filter may."""
    return _act_as_code(target, "program", "x") if is_twin else _run_model_file(target, "program")


@attempt("project-code", "author", refused="EACCES", allowed="done", needs="model")
def write_into_the_lake(target: Target, is_twin: bool) -> str:
    """A model file writes a file in the lake; in its scratch folder it may."""
    return _run_model_file(target, "scratch" if is_twin else "lake")


@attempt("project-code", "author", refused="EPERM", allowed="done", needs="model")
def signal_the_worker(target: Target, is_twin: bool) -> str:
    """A model file signals the worker; the worker's own process may."""
    if is_twin:
        return _act_as_code(target, "signal", find_pid(target, "worker"), "worker")
    return _run_model_file(target, "signal")


@attempt("project-code", "author", refused="OSError", allowed="done", needs="model")
def outlive_the_server(target: Target, is_twin: bool) -> str:
    """A model file clears the signal that ends it with its server; the same uid without the filter may."""
    return _act_as_code(target, "life without the server", 0) if is_twin else _run_model_file(target, "survive")


@attempt("project-code", "author", refused="EACCES", allowed="done", needs="model")
def read_another_project(target: Target, is_twin: bool) -> str:
    """A model file reads a file of another project that every user may read; itself it may read."""
    return _run_model_file(target, "own file" if is_twin else "neighbor")


@attempt("project-code", "author", refused="EACCES", allowed="done", needs="model")
def read_a_table_without_a_job(target: Target, is_twin: bool) -> str:
    """A model file reads a table of the lake, which its uid may; its job does not name it. Without the rules it may."""
    if is_twin:
        path = next((target.project.lake_dir / "warehouse").rglob("*.parquet"))
        return _act_as_code(target, "unnamed lake file", str(path))
    return _run_model_file(target, "table")


@attempt(
    "project-code", "author", refused="no key", allowed="no key", needs="model",
)  # fmt: skip
def read_through_a_link_of_the_folder(target: Target, is_twin: bool) -> str:
    """An author replaces the folder of models by a link to the project, which opens the keys; a folder does not."""
    root = target.project.root
    plan: dict[str, tuple[str, Any]] = {
        name: ("key", str(target.project.state_dir / name))
        for name in ("seal.key", "supervisor.key", "run.json", "jobs/queue.sqlite")
    }
    plan |= {"originals": ("key", str(next(path for path in target.project.enclave_dir.rglob("*") if path.is_file())))}
    folder, aside = root / "models", root / "models-aside"
    folder.rename(aside)
    try:
        if is_twin:
            shutil.copytree(aside, folder)
        else:
            folder.symlink_to(root, target_is_directory=True)
        (folder / f"{MODEL}.py").write_text(_report_text(plan), encoding="utf-8")
        outcomes = _read_report(target.run("train", MODEL).error)
    finally:
        folder.unlink() if folder.is_symlink() else shutil.rmtree(folder)
        with contextlib.suppress(FileNotFoundError):
            (root / f"{MODEL}.py").unlink()
        aside.rename(folder)
    target.notes.append(f"through a {'folder' if is_twin else 'link'}: {outcomes}")
    read = sorted(name for name, outcome in outcomes.items() if outcome == "done")
    return f"read {', '.join(read)}" if read else "no key"


def _transform_with(target: Target, query: str) -> str:
    """Build with one more dbt model, which holds a query; return the exit code and what the error tells."""
    folder = target.project.root / "dbt" / "models" / "laid"
    folder.mkdir()
    (folder / "laid.sql").write_text(query, encoding="utf-8")
    (folder / "laid.yml").write_text(
        "models:\n  - name: laid\n    config: {contract: {enforced: true}, meta: {keys: [order_id]}}\n"
        "    columns: [{name: order_id, data_type: varchar}]\n",
        encoding="utf-8",
    )
    try:
        result = target.run("run", "draft-change", "transform:project")
    finally:
        shutil.rmtree(folder)
    return f"exit {result.code}"


@attempt("project-code", "author", refused="exit 78", allowed="exit 0", needs="model")
def read_the_seal_key_by_sql(target: Target, is_twin: bool) -> str:
    """A dbt model selects the content of the seal key; a table of the edition it may select."""
    key = target.project.state_dir / "seal.key"
    if is_twin:
        return _transform_with(target, "select distinct order_id from {{ source('landed', 'orders') }}")
    return _transform_with(target, f"select hex(content) as order_id from read_blob('{key}')")
