"""The registry of catalogs: found by name, with options of their own."""

from pathlib import Path

import pytest

from wellspring.errors import ProjectError
from wellspring.lake.iceberg.catalog import IcebergCatalog
from wellspring.lake.port import LANDED_NAMESPACE
from wellspring.lake.registry import list_catalogs, open_catalog


def test_the_catalog_of_the_project_file_is_found_by_its_name(tmp_path: Path):
    assert "sqlite" in list_catalogs()
    catalog = open_catalog("sqlite", {}, tmp_path, LANDED_NAMESPACE)
    assert isinstance(catalog, IcebergCatalog)
    assert catalog.namespace == LANDED_NAMESPACE


def test_an_unknown_catalog_or_option_is_refused(tmp_path: Path):
    with pytest.raises(ProjectError, match="unknown catalog 'sqllite'") as refused:
        open_catalog("sqllite", {}, tmp_path, LANDED_NAMESPACE)
    assert "'sqlite'" in refused.value.fix
    with pytest.raises(ProjectError, match=r"unknown key 'folder' in \[lake.options\]"):
        open_catalog("sqlite", {"folder": "x"}, tmp_path, LANDED_NAMESPACE)
