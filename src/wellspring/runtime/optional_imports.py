"""Block heavy packages that a process needs only for some models, and allow them when such a model is loaded."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from typing import Any, cast


def block_imports(packages: Iterable[str]) -> None:
    """Make the import of packages fail, unless they are imported already. Libraries then do without them."""
    for name in packages:
        # None makes the import fail; typeshed declares modules only.
        sys.modules.setdefault(name, cast("Any", None))


def allow_imports(packages: Iterable[str]) -> None:
    """Allow the import of packages again; nothing is imported."""
    for name in packages:
        if name in sys.modules and cast("Any", sys.modules[name]) is None:
            del sys.modules[name]
