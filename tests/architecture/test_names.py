"""Names: no drawer without a noun, and nothing that is true on one machine only."""

import re

import pytest

from tests.architecture import repository

DRAWERS = {"utils", "util", "helpers", "helper", "common", "core", "base", "manager", "misc", "shared"}
# Written in pieces, so that this file does not hold what it looks for.
MACHINE = re.compile(
    rb"(?<![\w.$~{/-])/(?:" + b"|".join([b"wo" + b"rk", b"ro" + b"ot", b"ho" + b"me/[a-z]+"]) + rb")(?:/|\b)"
)
TEXT = {".py", ".md", ".toml", ".yaml", ".yml", ".txt", ".json", ".cfg", ".sh", ".pyi", ""}
OUTSIDE = re.compile(r"^(tests/schemas/|uv\.lock$)")


def test_no_file_or_folder_is_a_drawer():
    names = {
        part.removesuffix(".py") for path in repository.sources() for part in path.relative_to(repository.SRC).parts
    }
    assert names & DRAWERS == set()


def test_no_class_is_a_manager():
    drawers = re.compile(r"^class \w*(Manager|Helper|Utils|Util|Base)\b", re.MULTILINE)
    assert [repository.named(path) for path in repository.sources() if drawers.search(path.read_text())] == []


def test_no_file_names_a_place_on_one_machine():
    matches = [
        f"{repository.named(path)}: {match[0].decode()}"
        for path in repository.files()
        if path.suffix in TEXT and not OUTSIDE.match(repository.named(path))
        for match in MACHINE.finditer(path.read_bytes())
    ]
    assert matches == []


@pytest.mark.parametrize("text", [b"see /wo" + b"rk/main", b'"/ro' + b'ot/x"', b"in /ho" + b"me/ann/x"])
def test_a_place_on_one_machine_would_be_seen(text: bytes):
    assert MACHINE.search(text)


@pytest.mark.parametrize("text", [b"https://example.com/ro" + b"ot", b"docs/wo" + b"rk/x", b"$HOME/ro" + b"ot"])
def test_an_address_is_not_taken_for_a_place(text: bytes):
    assert not MACHINE.search(text)


def test_every_lock_address_is_the_public_registry():
    lock = (repository.ROOT / "uv.lock").read_text()
    hosts = set(re.findall(r"https?://([^/\"]+)", lock))
    assert hosts == {"pypi.org", "files.pythonhosted.org"}
