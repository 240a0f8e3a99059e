"""The public face: what a project may import from wellspring, and nothing else."""

import re

import wellspring
from tests.architecture import repository

FACE = {
    "Account", "Bars", "Baselines", "Broken", "Clock", "Contract", "Drop", "Edition", "Entry", "Label", "Model",
    "NotFound", "Project", "ProjectError", "Reason", "Refused", "Search", "Subgroup", "Threshold", "TimeSplit",
    "Unavailable", "Verdict", "WellspringError", "load",
}  # fmt: skip


def test_the_public_names_are_these():
    assert set(wellspring.__all__) == FACE


def test_each_public_name_is_there_and_says_what_it_is():
    silent = [name for name in sorted(FACE) if not (getattr(wellspring, name).__doc__ or "").strip()]
    assert silent == []


def test_a_misspelt_name_is_an_attribute_error():
    assert not hasattr(wellspring, "recieve")


def test_the_face_is_written_on_paper():
    page = (repository.ROOT / "docs/journey.md").read_text()
    table = page.partition("## The public face")[2].partition("\n## ")[0]
    written = set(re.findall(r"\b[A-Za-z_]\w+\b", " ".join(re.findall(r"`([^`]*)`", table))))
    kinds = {"NotFound", "ProjectError", "Refused", "Unavailable", "Broken"}  # "and its five kinds"
    assert written >= FACE - kinds
