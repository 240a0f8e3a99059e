"""Register the Redis protocol as an online store; `wellspring up` starts a Valkey for it."""

from __future__ import annotations

from wellspring.project import Project
from wellspring.records.features import FeatureViews
from wellspring.runtime.server_sockets import find_server_socket
from wellspring.settings import FeatureSettings
from wellspring.stores.online.port import OnlineStoreAdapter, StoreLogin, online_namespace
from wellspring.stores.online.redis.reader import RedisReader
from wellspring.stores.online.redis.writer import RedisWriter

_SERVER = "valkey"


def _open_writer(project: Project, login: StoreLogin) -> RedisWriter:
    return RedisWriter(find_server_socket(project, _SERVER), online_namespace(project.name), login=login)


def _open_reader(project: Project, views: FeatureViews, login: StoreLogin) -> RedisReader:
    deadline = (project.features or FeatureSettings()).read_seconds
    return RedisReader(find_server_socket(project, _SERVER), views, login=login, deadline=deadline)


REDIS = OnlineStoreAdapter(
    _open_writer,
    _open_reader,
    secret=_SERVER,
    packages=("hiredis", "redis"),
    embedded_server=_SERVER,
    open_checker=_open_writer,
)
"""The adapter that `online_store = "redis"` names."""
