"""Naming and prose rules: standard terms, unique class names, plain English, no word of the example's domain in src/.

The rules look at identifiers by syntax tree, and at docstrings, comments and string literals as prose.
"""

import ast
import io
import re
import statistics
import tokenize
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.architecture import repository

BANNED = frozenset(
    "told tell tells said say says kept asked asks given wanted held wrong each one other others here there theirs "
    "ours mine begun trouble troubles law desk house shelf door doors doorstep pen room rooms wall stranger strangers "
    "crowd promise promises promised judge judged judging walk walking known found seen opened made who how why".split()
)
"""Names that say that something happened, or name it by a metaphor. Leading underscores do not hide them."""
FILE_METHODS = frozenset({"tell"})
"""The name that files of the standard library have for their position."""
MUTATION_TERMS = frozenset({"promise"})
"""A patch of the mutation suite breaks a promise of the product; the word is the field of its file."""
BANNED_PARTS = frozenset("house desk shelf door doorstep stranger strangers crowd told sabotage".split())
"""Words that no part of a name may be."""
VAGUE_FUNCTIONS = frozenset(
    "read load write run do make get set put compose text digest fit state key rows same line page no check handle "
    "process find list parse build create open close keep point guess draft learn start stop".split()
)
"""One word that does not say on what a public function acts."""
METAPHORS = re.compile(
    r"\b(houses?|desks?|shelf|shelves|doors?|doorsteps?|strangers?|crowds?|pens?|sabotages?)\b", re.IGNORECASE
)
METAPHOR_PHRASES = re.compile(r"\|house\|")
"""Not metaphors: `house` in a regular expression over column names."""
HABITS = re.compile(
    r"\b(is|are|was|were) no (?!longer|more\b|less\b|later\b|earlier\b|older\b|newer\b|other\b)[a-z]+"
    r"|\b(is|are|was|were) (none|told|said)\b"
    r"|\bnobody (may|can|has|is|knows)\b.{0,60}\bnobody\b",
    re.IGNORECASE,
)
"""Sentences that are not plain English: "X is no Y", "is none", "is told"."""
DOMAIN = re.compile(
    r"\b(claims?|denials?|providers?|payers?|patients?|clearinghouses?|benefits?|eligibility|remittances?"
    r"|member[ _]ids?|premiums?|copays?|deductibles?|procedure[ _]codes?|diagnos[ie]s)\b",
    re.IGNORECASE,
)
DOMAIN_ALLOWED = {
    # The demo runs the reference project, and says what it does in that project's words.
    "wellspring/cli/demo_predictions.py": "the demo of the reference project",
    "wellspring/cli/demo_changes.py": "the demo of the reference project",
    # Lists of words of many domains, matched against column names.
    "wellspring/data/contracts/inference.py": "recognizes columns with personal data by words in their names",
    "wellspring/data/contracts/personal_columns.py": "refuses columns with personal data by words in their names",
    "wellspring/trust/dlp/packs/label_words.py": "recognizes numbers of documents by the word before",
    "wellspring/data/formats/csv/sample.py": "recognizes a header line by words that are usual in column names",
}
"""Files of src/ that may use words of the example's domain, and why."""
DOMAIN_PHRASES = re.compile(r"token claims?|JWT claims?|OIDC claims?|key providers?|claims? of a token", re.IGNORECASE)


def identifiers(tree: ast.AST) -> Iterator[tuple[str, int]]:
    """List each name that a file defines, with its line."""
    for node in ast.walk(tree):
        match node:
            case ast.Name(id=name, ctx=ast.Store()) | ast.Attribute(attr=name, ctx=ast.Store()) | ast.arg(arg=name):
                yield name, node.lineno
            case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name) | ast.ClassDef(name=name):
                yield name, node.lineno
            case ast.ExceptHandler(name=str(name)) | ast.alias(asname=str(name)):
                yield name, node.lineno
            case _:
                continue


def prose(path: Path) -> Iterator[tuple[str, int]]:
    """List comments and string literals of a Python file or stub, with their lines; of other files, each line."""
    text = path.read_text(encoding="utf-8")
    if path.suffix not in {".py", ".pyi"}:
        yield from ((line, number) for number, line in enumerate(text.splitlines(), start=1))
        return
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type in (tokenize.COMMENT, tokenize.STRING):
            for offset, line in enumerate(token.string.splitlines()):
                yield line, token.start[0] + offset


def public_definitions(path: Path) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef]:
    """List the public functions and classes at module level."""
    for node in repository.tree(path).body:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef) and not node.name.startswith("_"):
            yield node


def banned_identifiers(path: Path) -> list[str]:
    """List the identifiers of a file that the naming rules forbid."""
    problems: list[str] = []
    allowed = MUTATION_TERMS if repository.named(path).startswith("tests/mutation/") else FILE_METHODS
    for name, line in identifiers(repository.tree(path)):
        words = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name).lower().strip("_").split("_")
        if "_".join(words) in BANNED - allowed or BANNED_PARTS & set(words):
            problems.append(f"{repository.named(path)}:{line}: {name}")
    return problems


def matches(path: Path, pattern: re.Pattern[str], allowed: re.Pattern[str] | None = None) -> list[str]:
    """List the places in a file's prose where a pattern occurs."""
    problems: list[str] = []
    for line, number in prose(path):
        text = allowed.sub("", line) if allowed is not None else line
        if (match := pattern.search(text)) is not None:
            problems.append(f"{repository.named(path)}:{number}: {match[0]!r} in {line.strip()[:100]!r}")
    return problems


def source_texts() -> list[Path]:
    """List the files below src/ whose prose is checked: Python and the templates."""
    return [path for path in repository.files() if path.is_relative_to(repository.SRC) and path.suffix != ".typed"]


def pages() -> list[Path]:
    """List the documentation pages."""
    return [path for path in repository.files() if path.suffix == ".md" and "tests" not in path.parts]


def test_no_identifier_is_banned():
    roots = ("src", "tests", "examples", "benchmarks")
    paths = [path for path in repository.files() if path.suffix == ".py" and repository.named(path).startswith(roots)]
    assert [problem for path in paths for problem in banned_identifiers(path)] == []


def test_no_public_class_name_occurs_twice():
    names = Counter(
        node.name
        for path in repository.sources()
        for node in public_definitions(path)
        if isinstance(node, ast.ClassDef)
    )
    assert {name: count for name, count in names.items() if count > 1} == {}


def test_no_public_function_is_one_vague_word():
    problems = [
        f"{repository.named(path)}:{node.lineno}: {node.name}"
        for path in repository.sources()
        for node in public_definitions(path)
        if not isinstance(node, ast.ClassDef) and node.name in VAGUE_FUNCTIONS
    ]
    assert problems == []


def test_median_name_lengths():
    nodes = [node for path in repository.sources() for node in public_definitions(path)]
    functions = [len(node.name) for node in nodes if not isinstance(node, ast.ClassDef)]
    classes = [len(node.name) for node in nodes if isinstance(node, ast.ClassDef)]
    assert statistics.median(functions) >= 10
    assert statistics.median(classes) >= 12


def test_prose_of_the_sources_is_plain_english():
    patterns = (METAPHORS, HABITS)
    problems = [
        place for path in source_texts() for pattern in patterns for place in matches(path, pattern, METAPHOR_PHRASES)
    ]
    assert problems == []


def test_tests_and_stubs_use_no_metaphor():
    paths = [
        path
        for path in repository.files()
        if repository.named(path).startswith(("tests/", "typings/"))
        and path.suffix in {".py", ".pyi", ".toml", ".md"}
        and path != Path(__file__)
    ]
    assert [problem for path in paths for problem in matches(path, METAPHORS)] == []


def test_prose_of_the_documentation_is_plain_english():
    problems = [place for path in pages() for pattern in (METAPHORS, HABITS) for place in matches(path, pattern)]
    assert problems == []


def test_sources_name_nothing_of_the_example_domain():
    problems: list[str] = []
    for path in source_texts():
        if path.relative_to(repository.SRC).as_posix() in DOMAIN_ALLOWED:
            continue
        problems += matches(path, DOMAIN, DOMAIN_PHRASES)
    assert problems == []


def test_each_domain_exemption_is_still_needed():
    stale = [
        name
        for name in DOMAIN_ALLOWED
        if not (repository.SRC / name).is_file() or not matches(repository.SRC / name, DOMAIN, DOMAIN_PHRASES)
    ]
    assert stale == []


@pytest.mark.parametrize("text", ["it is no file", "what was told", "a door", "a stranger", "there are no rows in it"])
def test_a_sentence_habit_would_be_seen(text: str):
    assert METAPHORS.search(text) or HABITS.search(text)


@pytest.mark.parametrize("text", ["it is no longer live", "is not a file", "an outdoor scene", "open pension"])
def test_a_plain_sentence_passes(text: str):
    assert not METAPHORS.search(text)
    assert not HABITS.search(text)
