"""The patches of the mutation suite: load, validate and apply them.

A patch is one file, `tests/mutation/patches/PACKAGE/SLUG.toml`. For Python it names a place by syntax tree:

    promise = "a sentence that the patch breaks"
    module = "wellspring.data.lake"
    function = "Lake.stage"          qualified name within the module; "" is the whole module
    pattern = 'known is not None'    one expression, or consecutive statements; it occurs exactly once in the function
    replacement = 'known is None'    Python; '' removes the statements
    test = "tests/data/test_lake.py::test_name"     the test that must fail

For other files, and for other languages inside Python strings, `file` and `text` stand in place of `module`,
`function` and `pattern`; the text occurs exactly once in the file.
"""

import tomllib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from tests.mutation.syntax import PatternError, apply_replacement

ROOT = Path(__file__).resolve().parents[2]
PATCHES = Path(__file__).parent / "patches"
PYTHON_KEYS = {"promise", "module", "function", "pattern", "replacement", "test"}
TEXT_KEYS = {"promise", "file", "text", "replacement", "test"}


class PatchError(Exception):
    """One or more patches that cannot be used; the text has one line for each mistake."""


@dataclass(frozen=True)
class Patch:
    """One promise and the change of the source that breaks it.

    file: relative to the repository. function and pattern are set for Python, text for other files.
    """

    package: str
    slug: str
    promise: str
    file: str
    replacement: str
    test: str
    function: str = ""
    pattern: str = ""
    text: str = ""

    @property
    def test_file(self) -> str:
        """Return the file of the test, relative to the repository."""
        return self.test.partition("::")[0]

    def apply(self, source: str) -> str:
        """Return the source with the replacement. Raises PatternError when the patch does not fit."""
        if self.pattern:
            return apply_replacement(source, self.function, self.pattern, self.replacement)
        if (count := source.count(self.text)) != 1:
            raise PatternError(f"the text occurs {count} times in the file")
        return source.replace(self.text, self.replacement)

    def needs_servers(self) -> bool:
        """Tell whether the test's file starts real servers."""
        return "mark.live" in (ROOT / self.test_file).read_text(encoding="utf-8")


def load_patches(slugs: Iterable[str] = (), *, package: str = "") -> list[Patch]:
    """Load all patches, those of one package, or the named ones.

    Raises PatchError with every mistake in them: unknown slugs, wrong keys, patterns that do not occur exactly once,
    tests that do not exist.
    """
    files = sorted(PATCHES.glob("*/*.toml"))
    paths = {path.stem: path for path in files}
    requested = list(slugs)
    mistakes = [f"no patch {slug}" for slug in requested if slug not in paths]
    mistakes += [f"{path.stem}: two patches have this name" for path in files if paths[path.stem] != path]
    if package and not (PATCHES / package).is_dir():
        mistakes.append(f"no package {package}")
    patches: list[Patch] = []
    for slug, path in paths.items():
        if (requested and slug not in requested) or (package and path.parent.name != package):
            continue
        try:
            patch = read_patch(path)
        except PatchError as exc:
            mistakes.append(f"{slug}: {exc}")
            continue
        mistakes += [f"{slug}: {mistake}" for mistake in find_mistakes(patch)]
        patches.append(patch)
    if mistakes:
        raise PatchError("\n".join(mistakes))
    return patches


def read_patch(path: Path) -> Patch:
    """Read one file. Raises PatchError when its keys or values are wrong."""
    try:
        values = tomllib.loads(path.read_text(encoding="utf-8"))
    except tomllib.TOMLDecodeError as exc:
        raise PatchError(f"is not TOML: {exc}") from None
    if set(values) not in (PYTHON_KEYS, TEXT_KEYS) or not all(isinstance(value, str) for value in values.values()):
        raise PatchError(f"its keys are {', '.join(sorted(PYTHON_KEYS))}; or {', '.join(sorted(TEXT_KEYS))}; all texts")
    if "module" in values:
        values["file"] = module_file(values.pop("module"))
        if not values["pattern"].strip():
            raise PatchError("its pattern is empty")
    return Patch(package=path.parent.name, slug=path.stem, **values)


def module_file(module: str) -> str:
    """Find the file of a dotted module below src/, relative to the repository."""
    stem = f"src/{module.replace('.', '/')}"
    for name in (f"{stem}.py", f"{stem}/__init__.py"):
        if (ROOT / name).is_file():
            return name
    raise PatchError(f"no module {module}")


def find_mistakes(patch: Patch) -> Iterator[str]:
    """List what does not fit: the file, the pattern, the replacement, the test."""
    path = ROOT / patch.file
    if not path.is_file():
        yield f"no file {patch.file}"
    else:
        try:
            patch.apply(path.read_text(encoding="utf-8"))
        except PatternError as exc:
            yield f"{patch.file}: {exc}"
    test = ROOT / patch.test_file
    name = patch.test.rpartition("::")[2].partition("[")[0]
    if not test.is_file():
        yield f"no file {patch.test_file}"
    elif f"def {name}(" not in test.read_text(encoding="utf-8"):
        yield f"no test {name} in {patch.test_file}"
