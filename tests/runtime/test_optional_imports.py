import importlib
import sys

import pytest

from wellspring.runtime.optional_imports import allow_imports, block_imports


@pytest.fixture(autouse=True)
def _modules(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.delitem(sys.modules, "this", raising=False)


def test_a_blocked_package_cannot_be_imported_until_it_is_allowed(monkeypatch: pytest.MonkeyPatch):
    block_imports(["antigravity_of_nobody"])
    with pytest.raises(ImportError):
        importlib.import_module("antigravity_of_nobody")
    allow_imports(["antigravity_of_nobody"])
    assert "antigravity_of_nobody" not in sys.modules


def test_a_package_that_is_imported_already_stays_imported():
    block_imports(["json"])
    allow_imports(["json"])
    assert importlib.import_module("json").loads("1") == 1
