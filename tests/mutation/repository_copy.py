"""A copy of the repository with an interpreter of its own, in which patches are applied and tests run."""

import os
import shutil
import signal
import subprocess
import sys
import sysconfig
import venv
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from tests.mutation.patch import ROOT, Patch

SKIPPED = {".venv", ".venv-bench", ".uv", ".git", ".demo", "__pycache__", ".wellspring", "node_modules"}
PYTEST = ("-q", "-rf", "-p", "no:cacheprovider", "--no-header", "--durations=0", "--durations-min=60")


class Completed(NamedTuple):
    """The end of a process. code: None when it ran past its time limit and was killed."""

    code: int | None
    output: str


class RepositoryCopy:
    """A copy whose interpreter imports the copy's sources and the libraries of the running environment.

    Processes that a test starts use sys.executable, so they run the patched sources too.
    """

    def __init__(self, folder: Path) -> None:
        self.root = folder / "repository"
        for path in list_files():
            target = self.root / path.relative_to(ROOT)
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(path, target)
        self.python = self._make_interpreter(folder / "venv")

    def _make_interpreter(self, folder: Path) -> Path:
        venv.create(folder, symlinks=True, with_pip=False)
        libraries = sysconfig.get_path("purelib")
        version = f"python{sys.version_info[0]}.{sys.version_info[1]}"
        # A .pth file is read line by line: the copy's sources come before those that the environment points at.
        pth = folder / "lib" / version / "site-packages" / "repository_copy.pth"
        pth.write_text(f"{self.root / 'src'}\nimport site; site.addsitedir({libraries!r})\n")
        for tool in Path(sys.executable).parent.iterdir():
            link = folder / "bin" / tool.name
            if not link.exists() and not tool.name.startswith("activate"):
                link.symlink_to(tool)
        python = folder / "bin" / "python"
        command = folder / "bin" / "wellspring"
        command.unlink(missing_ok=True)
        command.write_text(f"#!{python}\nfrom wellspring.cli import main\nmain()\n")
        command.chmod(0o755)
        return python

    def run_python(self, *arguments: str, timeout: float) -> Completed:
        """Run the copy's interpreter in the copy; kill it and its children after `timeout` seconds."""
        environment = {
            name: value for name, value in os.environ.items() if not name.startswith(("PYTEST_", "PYTHONPATH"))
        }
        # Bytecode of a file that is patched and restored within a second, at the same size, would not be renewed.
        environment["PYTHONDONTWRITEBYTECODE"] = "1"
        process = subprocess.Popen(
            [str(self.python), *arguments],
            cwd=self.root, env=environment, text=True, errors="replace",
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, start_new_session=True,
        )  # fmt: skip
        try:
            output, _ = process.communicate(timeout=timeout)
            return Completed(process.returncode, output)
        except subprocess.TimeoutExpired:
            return Completed(None, "")
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
                process.communicate()

    def run_tests(self, nodes: Sequence[str], *, first_failure_only: bool = True, timeout: float) -> Completed:
        """Run tests by their pytest node ids, in one process."""
        options = [*PYTEST, "-x"] if first_failure_only else PYTEST
        return self.run_python("-m", "pytest", *options, *nodes, timeout=timeout)

    @contextmanager
    def patched(self, patches: Iterable[Patch]) -> Iterator[None]:
        """Apply patches, and restore the files at the end. Raises PatternError when one does not fit."""
        originals: dict[Path, str] = {}
        try:
            for patch in patches:
                path = self.root / patch.file
                source = path.read_text(encoding="utf-8")
                changed = patch.apply(source)
                originals.setdefault(path, source)
                path.write_text(changed, encoding="utf-8")
            yield
        finally:
            for path, source in originals.items():
                path.write_text(source, encoding="utf-8")


def list_files() -> list[Path]:
    """List the files that git tracks or would track; without git, all files but environments and caches."""
    if (ROOT / ".git").exists():
        listing = subprocess.run(
            ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
            cwd=ROOT, capture_output=True, check=False,
        )  # fmt: skip
        if listing.returncode == 0:
            names = sorted(set(listing.stdout.decode().split("\0")) - {""})
            return [path for name in names if (path := ROOT / name).is_file()]
    paths = (path for path in sorted(ROOT.rglob("*")) if not SKIPPED & set(path.relative_to(ROOT).parts))
    return [path for path in paths if path.is_file()]
