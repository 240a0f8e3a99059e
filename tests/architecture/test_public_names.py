"""The names that a project may import from wellspring, and nothing else."""

import re

import wellspring
from tests.architecture import repository

PUBLIC_NAMES = {
    "Baseline",
    "Binary",
    "BinaryCriteria",
    "Clock",
    "CorruptedError",
    "DataContract",
    "Drop",
    "Edition",
    "Entry",
    "HyperparameterSearch",
    "Label",
    "LightGBM",
    "ModelDefinition",
    "Multiclass",
    "MulticlassCriteria",
    "NotFound",
    "Project",
    "ProjectError",
    "Reason",
    "Refused",
    "Regression",
    "RegressionCriteria",
    "RowAccount",
    "Subgroup",
    "Threshold",
    "TimeSplit",
    "Unavailable",
    "Verdict",
    "WellspringError",
    "load_project",
}


def test_the_public_names_are_these():
    assert set(wellspring.__all__) == PUBLIC_NAMES


def test_each_public_name_exists_and_has_a_docstring():
    silent = [name for name in sorted(PUBLIC_NAMES) if not (getattr(wellspring, name).__doc__ or "").strip()]
    assert silent == []


def test_a_misspelt_name_is_an_attribute_error():
    assert not hasattr(wellspring, "recieve")


def test_the_public_names_are_documented():
    page = (repository.ROOT / "docs/workflows.md").read_text()
    table = page.partition("## The public API")[2].partition("\n## ")[0]
    written = set(re.findall(r"\b[A-Za-z_]\w+\b", " ".join(re.findall(r"`([^`]*)`", table))))
    kinds = {"NotFound", "ProjectError", "Refused", "Unavailable", "CorruptedError"}  # "and its five kinds"
    assert written >= PUBLIC_NAMES - kinds
