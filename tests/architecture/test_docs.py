"""Documentation and code agree: code blocks run; keys, commands, codes and make targets are documented."""

import ast
import json
import re
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import NamedTuple, get_args, get_origin

import click
import pytest
import yaml

from tests.architecture import repository
from wellspring import errors, project
from wellspring.cli import cli
from wellspring.data.sources import registry
from wellspring.settings import EnclaveSettings, FeatureSettings, LakeSettings, QuerySettings, SourceSettings

PAGES = [path for path in repository.files() if path.suffix == ".md" and "schemas" not in path.parts]


class Block(NamedTuple):
    """One fenced block. line: where its text begins."""

    page: str
    line: int
    language: str
    text: str


@cache
def blocks() -> tuple[Block, ...]:
    """List the fenced blocks of all pages."""
    matches: list[Block] = []
    for page in PAGES:
        lines = page.read_text(encoding="utf-8").splitlines()
        start: int | None = None
        for number, line in enumerate(lines):
            if start is None and line.startswith("```"):
                start = number
            elif start is not None and line.rstrip() == "```":
                language = lines[start].removeprefix("```").strip()
                matches.append(
                    Block(repository.named(page), start + 2, language, "\n".join(lines[start + 1 : number]) + "\n")
                )
                start = None
        assert start is None, f"{page}:{start}: a block that does not end"
    return tuple(matches)


def blocks_of(*languages: str) -> list[object]:
    """List the blocks of some languages, named for pytest."""
    return [pytest.param(block, id=f"{block.page}:{block.line}") for block in blocks() if block.language in languages]


@cache
def prose() -> str:
    """Read README and docs, as one text."""
    return "\n".join(page.read_text(encoding="utf-8") for page in PAGES)


@pytest.fixture
def example(tmp_path: Path) -> Path:
    """Copy the files of the reference project, which the pages use."""
    shutil.copytree(
        repository.ROOT / "examples/health_plan", tmp_path / "plan", ignore=shutil.ignore_patterns(".*", "vendor")
    )
    return tmp_path / "plan"


def test_every_block_says_its_language():
    expected = {"python", "toml", "yaml", "json", "sh", "text", "mermaid"}
    assert [f"{block.page}:{block.line}" for block in blocks() if block.language not in expected] == []


@pytest.mark.parametrize("block", blocks_of("python"))
def test_python_in_the_docs_runs(block: Block, example: Path):
    result = subprocess.run(
        [sys.executable, "-W", "error", "-c", block.text],
        cwd=example, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert result.returncode == 0, result.stderr


@pytest.mark.parametrize("block", blocks_of("toml"))
def test_toml_in_the_docs_is_a_project(block: Block, tmp_path: Path):
    assert tomllib.loads(block.text)
    if "[project]" in block.text:
        (tmp_path / project.PROJECT_FILE).write_text(block.text)
        assert project.load_project(tmp_path, environ={}).sources


@pytest.mark.parametrize("block", blocks_of("yaml"))
def test_yaml_in_the_docs_is_a_contract(block: Block, tmp_path: Path):
    from wellspring.data.contracts import contract
    from wellspring.records.clock import SystemClock

    assert yaml.safe_load(block.text)["kind"] == "DataContract"
    instant = tmp_path / "block.odcs.yaml"
    instant.write_text(block.text)
    assert contract.load_contract(instant, tenant="t", known_since=SystemClock().now()).columns


def test_json_in_the_docs_can_be_read():
    for block in blocks():
        if block.language == "json":
            assert json.loads(block.text), f"{block.page}:{block.line}"


@cache
def commands() -> dict[str, click.Command]:
    """List each command with its full name: `quarantine show`."""

    def collected(group: click.Group, words: tuple[str, ...]) -> Iterator[tuple[str, click.Command]]:
        context = click.Context(group)
        for name in group.list_commands(context):
            command = group.get_command(context, name)
            assert command is not None
            if isinstance(command, click.Group):
                yield from collected(command, (*words, name))
            else:
                yield " ".join((*words, name)), command

    return dict(collected(cli, ()))


EVERYWHERE = {"--help", "-h", "--json", "--project", "--version"}


def documented_commands() -> list[tuple[str, str]]:
    """List the commands that pages and messages of the code name: the place, and the command."""
    matches: list[tuple[str, str]] = []
    for page in PAGES:
        text = page.read_text(encoding="utf-8")
        matches += [(repository.named(page), item) for item in re.findall(r"`(wellspring [a-z][^`\n]*)`", text)]
    for block in blocks():
        if block.language == "sh":
            lines = [line.partition("#")[0].strip() for line in block.text.splitlines()]
            matches += [(f"{block.page}:{block.line}", line) for line in lines if line.startswith("wellspring ")]
    for path in repository.sources("wellspring"):
        for node in ast.walk(repository.tree(path)):
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                spans = re.findall(r"`(wellspring [a-z][^`\n]*)`", node.value)
                matches += [(f"{repository.named(path)}:{node.lineno}", span) for span in spans]
    return matches


def test_documented_commands_exist_with_their_options():
    mistakes: list[str] = []
    for where, line in documented_commands():
        for command in re.split(r"\s*(?:;|&&|\|)\s*", line):
            words = command.split()
            if not words or words[0] != "wellspring":
                continue
            del words[0]
            while words and words[0] in {"--json", "--project"}:
                words = words[2:] if words[0] == "--project" else words[1:]
            if not words or words[0] in {"--version", "--help"}:
                continue
            name = " ".join(words[:2]) if " ".join(words[:2]) in commands() else words[0]
            options = {word.partition("=")[0] for word in words if word.startswith("-")} - EVERYWHERE
            if name not in commands():
                group = any(item.startswith(f"{name} ") for item in commands())
                if not (group and len(words) == 1):
                    mistakes.append(f"{where}: there is no `wellspring {name}`")
                continue
            expected = {option for parameter in commands()[name].params for option in parameter.opts}
            mistakes += [f"{where}: `wellspring {name}` has no {option}" for option in options - expected]
    assert mistakes == []


def test_every_command_is_documented_and_says_what_it_does():
    assert [name for name in commands() if f"wellspring {name}" not in prose()] == []
    assert [name for name, command in commands().items() if not (command.help or "").strip()] == []


def test_every_option_says_what_it_does():
    silent = [
        f"{name} {parameter.opts[0]}"
        for name, command in commands().items()
        for parameter in command.params
        if isinstance(parameter, click.Option) and not parameter.help
    ]
    assert silent == []


def keys() -> list[str]:
    """List each key of wellspring.toml, as the page writes it."""
    tables: dict[str, type[project.SettingsSection]] = {}
    for name, field in project.Project.model_fields.items():
        for kind in (field.annotation, *get_args(field.annotation)):
            if isinstance(kind, type) and issubclass(kind, project.SettingsSection):
                tables[f"{name}.NAME" if get_origin(field.annotation) is dict else name] = kind
    assert {"project", "models", "users.NAME"} <= set(tables)
    names = [f"{table}.{name}" for table, kind in tables.items() for name in kind.model_fields]
    return names + [f"sources.NAME.{name}" for kind in source_settings() for name in kind.model_fields]


def source_settings() -> list[type[SourceSettings]]:
    """List the settings class of each kind of source."""
    return [registry.load_source_kind(name).settings for name in registry.list_source_kinds()]


def test_every_key_of_the_project_file_is_documented():
    page = (repository.ROOT / "docs/project-file.md").read_text()
    assert [key for key in keys() if f"| `{key}` |" not in page] == []
    assert [key for key in re.findall(r"^\| `([a-zA-Z.]+_?[a-z]*)` \|", page, re.MULTILINE) if key not in keys()] == []


def test_the_defaults_of_the_project_file_are_the_documented_ones():
    page = (repository.ROOT / "docs/project-file.md").read_text()
    tables = [
        *(("sources.NAME", kind) for kind in source_settings()),
        ("witness", project.WitnessSettings),
        ("ledger", project.LedgerSettings),
        ("lake", LakeSettings),
        ("query", QuerySettings),
        ("dbt", project.DbtSettings),
        ("enclave", EnclaveSettings),
        ("features", FeatureSettings),
        ("models", project.ModelSettings),
        ("dlp", project.DlpSettings),
        ("users.NAME", project.UserSettings),
        ("callers.NAME", project.CallerSettings),
    ]
    for key, field in [(f"{table}.{name}", f) for table, kind in tables for name, f in kind.model_fields.items()]:
        default = field.default
        result = (
            "must be set" if field.is_required() else f"`{default:g}`" if isinstance(default, float) else f"`{default}`"
        )
        if not field.is_required() and (default is None or default == ""):
            result = "not set" if default is None else "empty"
        assert f"| `{key}` | {result} |" in page


def test_every_exit_code_is_documented():
    page = (repository.ROOT / "docs/exit-codes.md").read_text()
    rows = dict(re.findall(r"^\| (\d+) \| (?:`([a-z-]+)`)? *\|", page, re.MULTILINE))
    for kind in (errors.WellspringError, *errors.WellspringError.__subclasses__()):
        assert rows.get(str(kind.exit_code)) == kind.slug
    assert {"0", "3", "10", "20", "64", "75", "130"} <= set(rows)


def test_no_command_ends_with_a_code_that_is_not_documented():
    page = (repository.ROOT / "docs/exit-codes.md").read_text()
    documented = {int(code) for code in re.findall(r"^\| (\d+) \|", page, re.MULTILINE)}
    returned: dict[int, str] = {}
    for path in repository.sources("wellspring/cli"):
        for node in ast.walk(repository.tree(path)):
            if isinstance(node, ast.Return) and node.value is not None and path.stem != "render":
                for item in ast.walk(node.value):
                    if isinstance(item, ast.Constant) and type(item.value) is int and item.value > 2:
                        returned[item.value] = repository.named(path)
    assert {code: where for code, where in returned.items() if code not in documented} == {}


def test_every_code_of_a_reason_is_documented():
    page = (repository.ROOT / "docs/bad-input.md").read_text()
    codes: set[str] = set()
    for path in repository.sources("wellspring"):
        for _, name, call in repository.calls(path):
            arguments = call.args[1:2] if name == "Refused.because" else []
            if name.rpartition(".")[2] in {"failed_finding", "inconclusive_finding", "record_finding", "UnusableName"}:
                arguments = call.args[:1]
            if name == "Reason":
                arguments = [word.value for word in call.keywords if word.arg == "code"]
            codes |= {
                item.value for item in arguments if isinstance(item, ast.Constant) and isinstance(item.value, str)
            }
    assert codes >= {"bom", "missing_column", "set_incomplete", "unsafe_name", "auc", "margin"}
    assert sorted(code for code in codes if f"`{code}`" not in page) == []


def test_every_make_target_is_documented():
    makefile = (repository.ROOT / "Makefile").read_text()
    words = set(re.findall(r"^([a-z-]+):.*## ", makefile, re.MULTILINE))
    page = (repository.ROOT / "CONTRIBUTING.md").read_text() + (repository.ROOT / "README.md").read_text()
    assert [word for word in sorted(words - {"help"}) if f"make {word}" not in page] == []
    assert set(re.findall(r"`make ([a-z-]+)`", prose())) <= words
    phony = re.search(r"^\.PHONY: (.*)$", makefile, re.MULTILINE)
    assert phony is not None
    assert set(phony[1].split()) == words


def test_every_link_to_a_file_leads_there():
    lost: list[str] = []
    for page in PAGES:
        for target in re.findall(r"\]\(([^)#\s]+)(?:#[^)]*)?\)", page.read_text(encoding="utf-8")):
            if not re.match(r"[a-z]+:", target) and not (page.parent / target).exists():
                lost.append(f"{repository.named(page)}: {target}")
    assert lost == []


def test_every_file_that_a_page_names_is_there():
    lost: list[str] = []
    for page in PAGES:
        for name in re.findall(r"`((?:src|tests|docs|benchmarks)/[\w./-]+)`", page.read_text(encoding="utf-8")):
            if not re.search(r"[A-Z]{3}", name) and not (repository.ROOT / name).exists():
                lost.append(f"{repository.named(page)}: {name}")
    assert lost == []


def test_every_test_that_a_page_names_is_there():
    pattern = re.compile(r"`(tests/[\w/]+\.py)::(?:Test\w+::)?(test_\w+)")
    missing = [
        f"{path.name}: {file}::{name}"
        for path in PAGES
        for file, name in pattern.findall(path.read_text(encoding="utf-8"))
        if not re.search(rf"\bdef {name}\(", (repository.ROOT / file).read_text(encoding="utf-8"))
    ]
    assert missing == []


def test_every_module_that_a_page_names_is_there():
    roots = (repository.SRC, repository.SRC / "wellspring", repository.ROOT, repository.ROOT / "examples/health_plan")
    lost: list[str] = []
    for page in PAGES:
        for name in re.findall(r"`((?:[a-z_]+/)+[a-z_]+\.py)`", page.read_text(encoding="utf-8")):
            if not any((root / name).exists() for root in (*roots, page.parent)):
                lost.append(f"{repository.named(page)}: {name}")
    assert lost == []


def test_every_decision_has_its_parts_and_its_place():
    records = sorted((repository.ROOT / "docs/decisions").glob("0*.md"))
    numbers = [int(path.name[:4]) for path in records]
    assert numbers == list(range(1, len(records) + 1))
    index = (repository.ROOT / "docs/decisions/README.md").read_text()
    for path in records:
        text = path.read_text()
        heads = re.findall(r"^## (.*)$", text, re.MULTILINE)
        assert heads == ["Status", "Context", "Decision", "Consequences", "References"], path.name
        assert "\nGood:\n" in text, path.name
        assert "\nBad:\n" in text, path.name
        assert f"({path.name})" in index


def test_mail_addresses_use_the_reserved_domain():
    mails = set(re.findall(r"[\w.+-]+@([\w-]+(?:\.[\w-]+)+)", prose()))
    assert {host for host in mails if not host.endswith("example.com")} == set()
