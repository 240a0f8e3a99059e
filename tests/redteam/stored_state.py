"""Files and rows that readers believed: tables, pointers, pins, view definitions, models and online rows."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.redteam.catalogue import attempt
from tests.redteam.journal_lines import changed_by, rewrite_file
from tests.redteam.service_users import open_store
from tests.redteam.shop_project import MODEL
from tests.redteam.target import Target, wait_until


def _open_for_writing(target: Target, service: str, path: Path) -> str:
    def open_file() -> str:
        os.close(os.open(path, os.O_WRONLY))
        return "opened"

    return target.run_as(service, open_file)


@attempt("stored-state", "api", refused="EACCES", allowed="opened", needs="servers")
def write_pointer_of_editions(target: Target, is_twin: bool) -> str:
    """The API's uid opens the pointer to the newest edition for writing; the worker may."""
    return _open_for_writing(target, "worker" if is_twin else "api", target.project.lake_dir / "editions" / "landed")


@attempt("stored-state", "api", refused="EACCES", allowed="opened", needs="model")
def write_pointer_of_releases(target: Target, is_twin: bool) -> str:
    """The API's uid opens the pointer to the live release for writing; the worker may."""
    return _open_for_writing(target, "worker" if is_twin else "api", target.project.models_dir / "live" / MODEL)


def flip_byte(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def _rewrite_pointer(path: Path) -> None:
    path.write_bytes(b"0123456789ab\n")


def _attempt_file(target: Target, is_twin: bool, path: Path, change: Callable[[Path], None], name: str) -> str:
    with changed_by(target, "worker", path, rewrite_file if is_twin else change):
        result = target.run("doctor")
        return "named" if any(name in check["what"] for check in result.document if not check["ok"]) else "not named"


@attempt("stored-state", "worker", refused="named", allowed="not named", needs="stop")
def edit_a_table(target: Target, is_twin: bool) -> str:
    """The worker's uid changes a byte of a Parquet file of an edition; the same bytes written again are not named."""
    paths = sorted((target.project.lake_dir / "warehouse").rglob("*.parquet"))
    path = next(path for path in paths if "orders" in path.as_posix())
    return _attempt_file(target, is_twin, path, flip_byte, path.name)


@attempt("stored-state", "worker", refused="named", allowed="not named", needs="stop")
def move_pointer_of_editions(target: Target, is_twin: bool) -> str:
    """The worker's uid lets the pointer name another edition; the same name written again is not named."""
    path = target.project.lake_dir / "editions" / "built"
    return _attempt_file(target, is_twin, path, _rewrite_pointer, "editions/built")


@attempt("stored-state", "worker", refused="named", allowed="not named", needs="stop")
def move_pointer_of_releases(target: Target, is_twin: bool) -> str:
    """The worker's uid lets the pointer name another release; the same name written again is not named."""
    path = target.project.models_dir / "live" / MODEL
    return _attempt_file(target, is_twin, path, _rewrite_pointer, f"live/{MODEL}")


@attempt("stored-state", "worker", refused="named", allowed="not named", needs="stop")
def edit_a_view_definition(target: Target, is_twin: bool) -> str:
    """The worker's uid changes a feature view; the same bytes written again are not named."""
    path = next((target.project.lake_dir / "views").glob("*.json"))
    return _attempt_file(target, is_twin, path, flip_byte, path.name)


@attempt("stored-state", "worker", refused="named", allowed="not named", needs="stop")
def edit_a_list_of_pins(target: Target, is_twin: bool) -> str:
    """The worker's uid changes the list with the digests of an edition's files; the same bytes again are not named."""
    path = next(path for path in sorted((target.project.lake_dir / "pins").rglob("*")) if path.is_file())
    return _attempt_file(target, is_twin, path, flip_byte, path.name)


def _predict(target: Target) -> str:
    response = target.released.http("POST", f"/v1/models/{MODEL}/predictions", {"keys": target.key})
    is_corrupted = b"urn:wellspring:corrupted" in response.body
    return f"status {response.status}{' corrupted' if is_corrupted else ''}"


def _read_row(store: Any, key: bytes) -> dict[bytes, bytes]:
    return store.hgetall(key)


@attempt("stored-state", "worker", refused="status 500 corrupted", allowed="status 200", needs="model")
def put_the_row_of_another_key(target: Target, is_twin: bool) -> str:
    """The worker's login puts the online row of another order under a key; a row put back as it was is answered."""
    assert target.released
    token = next(iter(target.key.values())).encode()
    with open_store(target, "worker") as store:
        rows = [key for key in store.scan_iter(count=1_000) if token in key]
        original = {key: _read_row(store, key) for key in rows}
        try:
            for key in rows:
                source = key
                if not is_twin:
                    source = next(
                        item for item in store.scan_iter(count=1_000) if item[:8] == key[:8] and token not in item
                    )
                store.hset(key, mapping=_read_row(store, source))
            return _predict(target)
        finally:
            for key, fields in original.items():
                store.hset(key, mapping=fields)


@attempt("stored-state", "api", refused="NOPERM", allowed="read", needs="model")
def write_an_online_row_as_api(target: Target, is_twin: bool) -> str:
    """The API's login of the online store writes a row; it may read one."""
    from redis.exceptions import NoPermissionError

    with open_store(target, "api") as store:
        try:
            if is_twin:
                store.hmget("any row", ["x"])
                return "read"
            store.hset("any row", mapping={"x": "y"})
        except NoPermissionError:
            return "NOPERM"
        return "written"


@attempt("stored-state", "worker", refused="status 500 corrupted", allowed="status 200", needs="model")
def serve_another_release(target: Target, is_twin: bool) -> str:
    """The worker's uid lets the pointer name a release that was not approved; the approved one is answered from."""
    assert target.released
    path = target.project.models_dir / "live" / MODEL
    content, info = path.read_bytes(), path.stat()

    def rewrite() -> str:
        path.write_bytes(content if is_twin else b"0123456789ab\n")
        return "written"

    assert target.run_as("worker", rewrite) == "written"
    try:
        # For five seconds the log may still gain the switch that the pointer names.
        if not is_twin:
            wait_until(lambda: _predict(target) != "status 200", 10)
        return _predict(target)
    finally:
        path.write_bytes(content)
        os.chown(path, info.st_uid, info.st_gid)
        wait_until(lambda: _predict(target) == "status 200", 10)


@attempt("stored-state", "worker", refused="status 500 corrupted", allowed="status 200", needs="model")
def move_the_marker_of_online_rows(target: Target, is_twin: bool) -> str:
    """The worker's login lets the markers of online rows name another edition; markers as they were are accepted."""
    with open_store(target, "worker") as store:
        # One for the views of each release that is kept online.
        editions = {marker: store.hget(marker, "id") for marker in store.scan_iter(match="ws:views:*", count=1_000)}
        assert editions
        try:
            for marker, edition in editions.items():
                store.hset(marker, "id", edition if is_twin else b"0123456789ab")
            return _predict(target)
        finally:
            for marker, edition in editions.items():
                store.hset(marker, "id", edition)
