"""The online store that wellspring.toml names is found by entry point."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.builders.plugins import write_package
from tests.builders.projects import minimal_config
from wellspring.errors import ProjectError
from wellspring.project import Project, load_project
from wellspring.stores.online.redis.adapter import REDIS
from wellspring.stores.online.registry import ENTRY_POINT_GROUP, load_online_store, needs_embedded_server


def project(folder: Path, features: str = "[features]\n") -> Project:
    (folder / "wellspring.toml").write_text(minimal_config() + features)
    return load_project(folder)


def test_without_a_word_the_online_store_is_redis(tmp_path: Path):
    assert load_online_store(project(tmp_path)) is REDIS
    assert needs_embedded_server(project(tmp_path), "valkey")


def test_without_features_no_server_is_needed(tmp_path: Path):
    assert not needs_embedded_server(project(tmp_path, ""), "valkey")


def test_an_unknown_store_suggests_the_nearest_name(tmp_path: Path):
    with pytest.raises(ProjectError, match="unknown online store 'rediss'") as error:
        load_online_store(project(tmp_path, '[features]\nonline_store = "rediss"\n'))
    assert error.value.fix == "did you mean 'redis'?"


def test_an_adapter_of_another_package_is_found_and_needs_no_embedded_server(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    source = (
        "from wellspring.stores.online.port import OnlineStoreAdapter\n"
        "ADAPTER = OnlineStoreAdapter(print, print, secret='dynamo')\n"
    )
    installed = write_package(
        tmp_path / "site", "a-store", {ENTRY_POINT_GROUP: {"dynamo": "a_store_adapter:ADAPTER"}},
        modules={"a_store_adapter": source},
    )  # fmt: skip
    monkeypatch.syspath_prepend(str(installed))
    configured = project(tmp_path, '[features]\nonline_store = "dynamo"\n')
    assert load_online_store(configured).secret == "dynamo"
    assert not needs_embedded_server(configured, "valkey")
