"""What the supervisor and the owner's commands change in a project's folders goes through `runtime/trusted_folder.py`.

They may be root, and a service may write in those folders: a link that it lays must lead nowhere.
"""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.architecture import repository

MODULE = "wellspring/runtime/trusted_folder.py"
CHANGES_OF_OWNER = {"chown", "lchown", "fchown", "chmod", "lchmod", "rmtree", "copytree", "copyfile", "copy2", "move"}
"""Calls that no code of root makes elsewhere, the commands included."""
CHANGES = CHANGES_OF_OWNER | {
    "mkdir", "makedirs", "unlink", "rmdir", "removedirs", "rename", "renames", "symlink", "symlink_to", "link",
    "hardlink_to", "touch", "write_text", "write_bytes", "mkstemp", "mkdtemp", "NamedTemporaryFile", "truncate",
    "mkfifo", "mknod", "utime", "setxattr",
    # Of runtime/files.py, whose functions resolve a path more than once.
    "write_atomically", "open_replacement", "open_nameless", "create_once",
}  # fmt: skip
"""Calls that the supervisor does not make elsewhere."""
EXEMPTIONS = {
    "wellspring/runtime/files.py:*": "for a service in its own folders: a call of it elsewhere is a use",
    "wellspring/runtime/project_code.py:*": "a job, in its own folder for project code",
    "wellspring/stores/objects/disk.py:*": "stores of a service; root opens them for reading",
    "wellspring/observe/metrics.py:*": "in a folder of the journal alone, which only its service may write",
    "wellspring/observe/lineage.py:*": "in a folder of the journal alone, which only its service may write",
    "wellspring/trust/ledger/journal.py:*": "in a folder of the journal alone, which only its service may write",
    "wellspring/trust/ledger/journal_state.py:*": "the sequencer, in the folder of the ledger",
    "wellspring/runtime/unix_socket.py:*": "a server, in the folder of its socket",
    "wellspring/data/sources/registry.py:open": "opens a source, which is no file",
    "wellspring/embedded/control_socket.py:chmod": "a socket in the runtime folder, which only root may write",
    "wellspring/supervisor/worker_process.py:chmod": "a socket in the runtime folder, which only root may write",
    "wellspring/supervisor/worker_process.py:chown": "a new socket of root, which no other user replaces",
    "wellspring/cli/demo.py:copytree": "copies a pack within the caller's folder",
    "wellspring/cli/demo_predictions.py:copytree": "copies a pack within the caller's folder",
    "wellspring/cli/example_project.py:copytree": "copies the example of the installation to the caller's folder",
    "wellspring/embedded/sftp.py:open": "a request of a client, in the vendor's own process",
    "wellspring/supervisor/client.py:open": "a pipe that the caller opened",
}
"""Uses that stay, and why no service can lay a link there."""


def is_write(call: ast.Call, name: str) -> bool:
    """Tell whether a call of `open` opens a file for writing, or with flags or a mode that are not constants."""
    if name == "os.open":
        flags = {node.attr for node in ast.walk(call) if isinstance(node, ast.Attribute)}
        return bool(flags & {"O_WRONLY", "O_RDWR", "O_CREAT", "O_APPEND", "O_TRUNC"})
    position = 1 if name == "open" else 0
    modes = [keyword.value for keyword in call.keywords if keyword.arg == "mode"] or call.args[position : position + 1]
    return any(not isinstance(mode, ast.Constant) or set(str(mode.value)) & set("wax+") for mode in modes)


def find_changes(path: Path, changes: set[str]) -> Iterator[tuple[str, int]]:
    """Yield the calls of a file that change what is on disk, as `file:call`, each with its line."""
    place = path.relative_to(repository.SRC).as_posix()
    for line, name, call in repository.calls(path):
        last = name.rpartition(".")[2] or (call.func.attr if isinstance(call.func, ast.Attribute) else "")
        is_replace = last == "replace" and (name.startswith("os.") or len(call.args) == 1)
        is_open = last == "open" and changes is CHANGES and is_write(call, name)
        if last in changes or (changes is CHANGES and is_replace and not call.keywords) or is_open:
            yield f"{place}:{last}", line


def list_imports(path: Path) -> Iterator[Path]:
    """Yield the files of wellspring that a file imports when it is loaded."""
    for node in repository.tree(path).body:
        if isinstance(node, ast.ImportFrom) and node.module and node.module.startswith("wellspring."):
            for name in (node.module, *(f"{node.module}.{item.name}" for item in node.names)):
                place = repository.SRC / name.replace(".", "/")
                yield from (file for file in (place / "__init__.py", place.with_suffix(".py")) if file.is_file())


def list_supervisor_files() -> set[Path]:
    """List the files of the supervisor and of `embedded/`, what they import, and the recorder, imported later."""
    waiting = [
        path for name in ("supervisor", "embedded", "observe") for path in repository.sources(f"wellspring/{name}")
    ]
    waiting.append(repository.SRC / "wellspring/trust/ledger/journal.py")
    files = set(waiting)
    while waiting:
        imported = set(list_imports(waiting.pop())) - files
        files |= imported
        waiting += imported
    return files - {repository.SRC / MODULE}


def list_uses() -> list[tuple[str, int]]:
    uses = [use for path in sorted(list_supervisor_files()) for use in find_changes(path, CHANGES)]
    return uses + [use for path in repository.sources("wellspring/cli") for use in find_changes(path, CHANGES_OF_OWNER)]


def is_exempt(place: str) -> bool:
    return place in EXEMPTIONS or f"{place.partition(':')[0]}:*" in EXEMPTIONS


def test_root_changes_a_project_through_one_module():
    assert [f"{place} in line {line}" for place, line in list_uses() if not is_exempt(place)] == []


@pytest.mark.parametrize("place", EXEMPTIONS)
def test_each_exemption_is_still_needed(place: str):
    uses = {use for use, _ in list_uses()}
    assert place in uses | {f"{use.partition(':')[0]}:*" for use in uses}, f"{place}: take it off the list"


def test_what_the_supervisor_runs_is_examined():
    names = {path.relative_to(repository.SRC / "wellspring").as_posix() for path in list_supervisor_files()}
    assert {"operations/incidents.py", "runtime/privileges.py", "observe/metrics.py", "project.py"} <= names


def test_the_module_itself_would_be_found():
    assert len(list(find_changes(repository.SRC / MODULE, CHANGES))) >= 10


@pytest.mark.parametrize(
    "text",
    [
        "os.chown(a, 1, 2)", "path.chmod(0o644)", "shutil.rmtree(path)", "path.open('ab')", "open(path, 'w')",
        "(a / b).mkdir()", "open(path, mode)", "os.open(path, os.O_WRONLY | os.O_CREAT)", "os.replace(a, b)",
        "a.replace(b)", "path.open(mode='x')",
    ],
)  # fmt: skip
def test_a_use_would_be_found(text: str, monkeypatch: pytest.MonkeyPatch):
    path = repository.SRC / "wellspring" / "x.py"
    monkeypatch.setattr(repository, "tree", lambda _: ast.parse(text))
    assert len(list(find_changes(path, CHANGES))) == 1


@pytest.mark.parametrize(
    "text", ["path.open('rb')", "open(path)", "a.replace(b, c)", "os.open(path, os.O_RDONLY)", "session.open()"]
)
def test_reading_is_no_use(text: str, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(repository, "tree", lambda _: ast.parse(text))
    assert list(find_changes(repository.SRC / "wellspring" / "x.py", CHANGES)) == []
