"""docs/safety-claims.md and the sabotages say the same: each claim stands there once, with its test."""

import functools
import re
from typing import NamedTuple

import pytest

from tests.house import repo, sabotage

PAGE = repo.ROOT / "docs/safety-claims.md"
CLAIMS, PROMISES, ELSEWHERE = "## The claims", "## What was promised", "## Held without a sabotage"


class Row(NamedTuple):
    """One row of the claims: the sentence, the test that holds it, and the sabotage that shows it."""

    claim: str
    test: str
    slug: str


@functools.cache
def part(title: str) -> str:
    """Take one part of the page, from its title to the next of its rank."""
    return PAGE.read_text(encoding="utf-8").partition(f"{title}\n")[2].partition("\n## ")[0]


def cells(title: str) -> list[list[str]]:
    """Read the rows of a part's tables, without their heads."""
    lines = [line for line in part(title).splitlines() if line.startswith("| ")]
    rows = [[cell.strip() for cell in line.strip("|").split(" | ")] for line in lines]
    return [row for row in rows if row[-1] not in {"sabotage", "sabotages", "held by"}]


def claims() -> list[Row]:
    """Read every row of the claims."""
    return [Row(claim, test.strip("`"), slug.strip("`")) for claim, test, slug in cells(CLAIMS)]


def row(each: sabotage.Sabotage) -> Row:
    """Write a sabotage as the page has it."""
    return Row(each.claim, each.test, each.slug)


def test_each_sabotage_stands_in_the_table_once_and_word_for_word():
    told, known = claims(), [row(each) for each in sabotage.load(fitting=False)]
    missing = [f"| {each.claim} | `{each.test}` | `{each.slug}` |" for each in known if each not in told]
    assert missing == [], f"add to {repo.named(PAGE)}"
    gone = [each.slug for each in told if each not in known]
    assert gone == [], f"no sabotage says so; take the row out of {repo.named(PAGE)}, or write it"
    assert len(told) == len(set(told))


def test_each_promise_names_sabotages_that_are_there():
    known = {each.slug for each in sabotage.load(fitting=False)}
    rows = cells(PROMISES)
    assert len(rows) > 30
    for sentence, slugs in rows:
        named = re.findall(r"`([a-z0-9-]+)`", slugs)
        assert named, sentence
        assert [slug for slug in named if slug not in known] == [], sentence


def test_the_page_counts_its_claims():
    assert f"{len(claims())} claims" in PAGE.read_text(encoding="utf-8")


@pytest.mark.parametrize("words", cells(ELSEWHERE), ids=lambda words: words[0][:40])
def test_what_is_held_without_a_sabotage_names_its_test(words: list[str]):
    nodes = re.findall(r"`(tests/[\w/]+\.py)::(\w+)`", words[-1])
    assert nodes, words[0]
    for file, name in nodes:
        assert f"def {name}(" in (repo.ROOT / file).read_text(encoding="utf-8")


def test_the_hooks_are_local_ones_only():
    yaml = pytest.importorskip("yaml")
    hooks = yaml.safe_load((repo.ROOT / ".pre-commit-config.yaml").read_text(encoding="utf-8"))
    assert {each["repo"] for each in hooks["repos"]} == {"local"}
