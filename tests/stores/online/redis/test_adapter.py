"""The adapter opens the socket of the embedded server, and names the packages that it imports."""

import asyncio
import socket
from importlib.util import find_spec
from pathlib import Path

import pytest

from tests.builders import sockets
from tests.builders.feature_views import view, views
from tests.builders.projects import minimal_config
from wellspring.errors import Unavailable
from wellspring.project import load_project
from wellspring.stores.online.port import StoreLogin
from wellspring.stores.online.redis.adapter import REDIS


def test_it_opens_the_socket_of_the_project(tmp_path: Path):
    (tmp_path / "wellspring.toml").write_text(minimal_config())
    project = load_project(tmp_path)
    writer = REDIS.open_writer(project, StoreLogin("worker", "x", b"k"))
    with pytest.raises(Unavailable, match=str(project.socket_path("valkey"))):
        writer.get_live()
    writer.close()
    assert REDIS.open_reader(project, views(view()), StoreLogin("api", "x", b"k")) is not None


def test_the_reader_waits_as_long_as_the_project_says(tmp_path: Path):
    (tmp_path / "wellspring.toml").write_text(f"{minimal_config()}\n[features]\nread_seconds = 0.05\n")
    project = load_project(tmp_path)
    path = project.socket_path("valkey")

    async def ask() -> None:
        reader = REDIS.open_reader(project, views(view()), StoreLogin("api", "x", b"k"))
        with pytest.raises(Unavailable, match=r"within 0\.05 s"):
            await reader.get_live()
        await reader.close()

    sockets.create_socket_folders(project)
    try:
        with socket.socket(socket.AF_UNIX) as silent:
            silent.bind(str(path))
            silent.listen()
            asyncio.run(ask())
    finally:
        sockets.remove_socket_folders(project)


def test_it_names_the_packages_that_it_imports():
    assert [name for name in REDIS.packages if find_spec(name) is None] == []
