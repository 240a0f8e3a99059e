"""Break each safety claim in a copy of the house, and see its test turn red.

`python -m tests.house.sabotage [--sample N] [--no-static] [--no-before] [SLUG ...]`. A claim is one file,
`tests/house/sabotage/SLUG.toml`:

    claim = "the sentence that is broken"
    file = "src/wellspring/..."          where
    old = "text that stands there once"
    new = "what a careless hand would write instead"; `make check` sees nothing wrong with it
    test = "tests/...::test_..."         what must turn red (with [id] if only one case should)

Exit 0 when each turned red; 1 when one stayed green, or its patch no longer fits.
"""

import argparse
import os
import re
import shutil
import subprocess
import sys
import sysconfig
import tempfile
import time
import tomllib
import venv
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from itertools import zip_longest
from pathlib import Path
from typing import NamedTuple

from tests.house import repo

FOLDER = repo.ROOT / "tests/house/sabotage"
KEYS = {"claim", "file", "old", "new", "test"}
RED = 1  # pytest: tests ran, and some failed. 2 to 5 mean that the test itself could not run.


class Sabotage(NamedTuple):
    """One claim, and how to break it."""

    slug: str
    claim: str
    file: str
    old: str
    new: str
    test: str


class Outcome(NamedTuple):
    """What one sabotage came to. red: the claim's test noticed. said: why, when it is not as it should be."""

    slug: str
    red: bool
    seconds: float
    said: str = ""


def load(slugs: Iterable[str] = (), *, fitting: bool = True) -> list[Sabotage]:
    """Read the claims, all or the named ones. Raises ValueError with every mistake in them.

    fitting: that they fit the code is looked at too.
    """
    wanted = list(slugs)
    known = {path.stem: path for path in sorted(FOLDER.glob("*.toml"))}
    mistakes = [f"no sabotage {slug!r}" for slug in wanted if slug not in known]
    found: list[Sabotage] = []
    for slug in wanted or list(known):
        if slug not in known:
            continue
        values = tomllib.loads(known[slug].read_text(encoding="utf-8"))
        if set(values) != KEYS or not all(isinstance(value, str) for value in values.values()):
            mistakes.append(f"{slug}: the keys are {', '.join(sorted(KEYS))}, each a text")
            continue
        found.append(Sabotage(slug, **values))
    for each in found if fitting else []:
        mistakes += _misfits(each)
    if mistakes:
        raise ValueError("\n".join(mistakes))
    return found


def _misfits(each: Sabotage) -> list[str]:
    said: list[str] = []
    path = repo.ROOT / each.file
    if not each.file.startswith("src/") or not path.is_file():
        said.append(f"{each.slug}: {each.file} is no file under src/")
    elif (times := path.read_text(encoding="utf-8").count(each.old)) != 1:
        said.append(f"{each.slug}: its old text stands {times} times in {each.file}")
    if each.old == each.new:
        said.append(f"{each.slug}: changes nothing")
    test, _, name = each.test.partition("::")
    if not (repo.ROOT / test).is_file():
        said.append(f"{each.slug}: no test file {test}")
    elif name and f"def {name.rpartition('::')[2].partition('[')[0]}(" not in (repo.ROOT / test).read_text("utf-8"):
        said.append(f"{each.slug}: no test {name} in {test}")
    return said


def live(each: Sabotage) -> bool:
    """Tell whether a claim's test starts the real servers."""
    return "mark.live" in (repo.ROOT / each.test.partition("::")[0]).read_text(encoding="utf-8")


def sample(claims: list[Sabotage], size: int) -> list[Sabotage]:
    """Take about `size` of the claims that need no server, spread over all of them, the same ones each time."""
    quick = [each for each in claims if not live(each)]
    return quick[:: max(1, len(quick) // size)][:size]


class House:
    """A copy of the repository with an interpreter of its own, which finds the copy's sources and our libraries.

    Children that a test starts use sys.executable, so they too run the sabotaged code.
    """

    def __init__(self, folder: Path) -> None:
        self.root = folder / "house"
        for path in repo.files():
            at = self.root / path.relative_to(repo.ROOT)
            at.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(path, at)
        self.python = self._interpreter(folder / "venv")

    def _interpreter(self, folder: Path) -> Path:
        venv.create(folder, symlinks=True, with_pip=False)
        libraries = sysconfig.get_path("purelib")
        own = folder / "lib" / f"python{sys.version_info[0]}.{sys.version_info[1]}" / "site-packages"
        # Lines of a .pth are read in order: the copy's sources stand before those that our environment points at.
        (own / "house.pth").write_text(f"{self.root / 'src'}\nimport site; site.addsitedir({libraries!r})\n")
        for tool in Path(sys.executable).parent.iterdir():
            at = folder / "bin" / tool.name
            if not at.exists() and not tool.name.startswith("activate"):
                at.symlink_to(tool)
        python = folder / "bin" / "python"
        door = folder / "bin" / "wellspring"
        door.unlink(missing_ok=True)
        door.write_text(f"#!{python}\nfrom wellspring.cli import main\nmain()\n")
        door.chmod(0o755)
        return python

    def run(self, *arguments: str, timeout: float, how: str = "-m") -> subprocess.CompletedProcess[str]:
        """Run a module of Python in the copy, or a line of it (how: -c)."""
        environ = {name: value for name, value in os.environ.items() if not name.startswith(("PYTEST_", "PYTHONPATH"))}
        # A file that is broken and mended within a second, at the same size, would be run from its old bytecode.
        environ["PYTHONDONTWRITEBYTECODE"] = "1"
        return subprocess.run(
            [str(self.python), how, *arguments],
            cwd=self.root, env=environ, capture_output=True, text=True, timeout=timeout, check=False,
        )  # fmt: skip

    def test(self, node: str) -> subprocess.CompletedProcess[str]:
        """Run one test in the copy."""
        return self.run("pytest", "-q", "-x", "-rf", "-p", "no:cacheprovider", "--no-header", node, timeout=600)

    def static(self, *files: str, rules: bool = True, but: Iterable[str] = ()) -> str:
        """Say what `make check` has against files of the copy; '' if nothing.

        rules: the house's rules too. but: rules that are the very tests which should turn red.
        """
        for tool in (
            ("ruff", "check", "--quiet", "--no-cache", *files),
            ("ruff", "format", "--check", "--quiet", "--no-cache", *files),
            ("pyright", "--pythonpath", str(self.python), *files),
        ):
            told = self.run(*tool, timeout=300)
            if told.returncode != 0:
                return f"{tool[0]} sees it: {_line(told)}"
        told = self.run("import sys, importlinter.cli as c; sys.exit(c.lint_imports_command())", timeout=300, how="-c")
        if told.returncode != 0:
            return f"the import law sees it: {_line(told)}"
        told = self.rules(but) if rules else told
        return "" if told.returncode == 0 else f"a rule of the house sees it: {_line(told)}"

    def rules(self, but: Iterable[str] = ()) -> subprocess.CompletedProcess[str]:
        """Run the house's rules as `make check` does."""
        left_out = [f"--deselect={node}" for node in but]
        return self.run(
            "pytest", "-q", "-p", "no:cacheprovider", "--no-header", "-m", "not live and not slow and not crash",
            "tests/house", "--ignore=tests/house/test_sabotage.py", *left_out, timeout=300,
        )  # fmt: skip


@contextmanager
def applied(house: House, *claims: Sabotage) -> Iterator[None]:
    """Break claims in the copy, each in a file of its own, and take that back."""
    wholes = {house.root / each.file: (house.root / each.file).read_text(encoding="utf-8") for each in claims}
    try:
        for each in claims:
            path = house.root / each.file
            path.write_text(wholes[path].replace(each.old, each.new), encoding="utf-8")
        yield
    finally:
        for path, whole in wholes.items():
            path.write_text(whole, encoding="utf-8")


def laws(house: House, claims: list[Sabotage]) -> dict[str, str]:
    """Say what `make check` sees, by slug. Its tools start slowly, so they are asked about many files at once."""
    # What is red without any sabotage says nothing about one.
    red = re.findall(r"^(?:FAILED|ERROR) (.+?)(?: - .*)?$", house.rules().stdout, re.MULTILINE)
    if red:
        print(f"red in the untouched copy, and left out: {', '.join(red)}", flush=True)
    by_file: dict[str, list[Sabotage]] = {}
    for each in claims:
        by_file.setdefault(each.file, []).append(each)
    seen: dict[str, str] = {}
    waiting = [[each for each in some if each is not None] for some in zip_longest(*by_file.values())]
    while waiting:
        some = waiting.pop()
        with applied(house, *some):
            said = house.static(*(each.file for each in some), but=[*red, *(each.test for each in some)])
        if said and len(some) == 1:
            seen[some[0].slug] = said
            print(f"seen           {some[0].slug}: {said}", flush=True)
        elif said:
            middle = len(some) // 2
            waiting += [some[:middle], some[middle:]]
    return seen


def try_one(house: House, each: Sabotage, *, static: bool) -> Outcome:
    """Apply one sabotage to the copy, look whether its test turns red, and take it back."""
    start = time.perf_counter()
    with applied(house, each):
        seen = house.static(each.file, rules=False) if static else ""
        told = house.test(each.test)
    took = time.perf_counter() - start
    if seen:
        return Outcome(each.slug, red=False, seconds=took, said=seen)
    # A fixture that could not be had is an ERROR, and tells nothing of the claim.
    if told.returncode == RED and "\nFAILED " in told.stdout:
        return Outcome(each.slug, red=True, seconds=took)
    said = "its test stayed GREEN" if told.returncode == 0 else f"its test could not run: {_line(told)}"
    return Outcome(each.slug, red=False, seconds=took, said=said)


def _line(told: subprocess.CompletedProcess[str]) -> str:
    lines = [line.strip() for line in (told.stdout + "\n" + told.stderr).splitlines() if line.strip()]
    telling = [line for line in lines if "error" in line.lower()] or lines
    return telling[0][:160] if telling else f"exit {told.returncode}"


def green_first(house: House, claims: list[Sabotage]) -> list[Outcome]:
    """Run each claim's test in the untouched copy: a test that is red anyway proves nothing."""
    told = house.run(
        "pytest", "-q", "-p", "no:cacheprovider", "--no-header", *sorted({each.test for each in claims}), timeout=1800
    )
    if told.returncode == 0:
        return []
    return [Outcome("(untouched)", red=False, seconds=0, said=f"a claim's test is red anyway: {_line(told)}")]


def run(claims: list[Sabotage], *, static: bool = True, before: bool = True) -> list[Outcome]:
    """Try each claim in one copy, one after another."""
    with tempfile.TemporaryDirectory(prefix="sabotage-") as folder:
        house = House(Path(folder))
        outcomes = green_first(house, claims) if before else []
        seen = laws(house, claims) if static else {}
        for each in claims:
            outcome = try_one(house, each, static=False)
            if each.slug in seen:
                outcome = outcome._replace(red=False, said=seen[each.slug])
            outcomes.append(outcome)
            print(
                f"{'red  ' if outcome.red else 'GREEN'} {outcome.seconds:6.1f} s  {each.slug}: {each.claim}", flush=True
            )
            if outcome.said:
                print(f"               {outcome.said}", flush=True)
    return outcomes


def main(argv: list[str] | None = None) -> int:
    """Run the command line of this file."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.house.sabotage", description="Break each safety claim in a copy."
    )
    parser.add_argument("slugs", nargs="*", metavar="SLUG")
    parser.add_argument("--sample", type=int, metavar="N", help="try N of them, without servers")
    parser.add_argument("--no-static", action="store_true", help="do not look whether `make check` sees them")
    parser.add_argument("--no-before", action="store_true", help="do not run the tests in the untouched copy first")
    options = parser.parse_args(argv)
    try:
        claims = load(options.slugs)
    except ValueError as wrong:
        print(wrong, file=sys.stderr)
        return 1
    claims = sample(claims, options.sample) if options.sample else claims
    if not claims:
        print("no sabotage is written yet", file=sys.stderr)
        return 1
    outcomes = run(claims, static=not options.no_static, before=not options.no_before)
    bad = [each for each in outcomes if not each.red]
    print(f"{len(outcomes) - len(bad)} of {len(claims)} claims are held by their tests")
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
