"""wellspring: a record walks from a vendor's drop to a decision, and every step it takes leaves proof.

These are the names that a project may import; everything else is the house's own (docs/journey.md).
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from wellspring.errors import (
        Broken as Broken,
    )
    from wellspring.errors import (
        NotFound as NotFound,
    )
    from wellspring.errors import (
        ProjectError as ProjectError,
    )
    from wellspring.errors import (
        Refused as Refused,
    )
    from wellspring.errors import (
        Unavailable as Unavailable,
    )
    from wellspring.errors import (
        WellspringError as WellspringError,
    )
    from wellspring.models.definition import Bars as Bars
    from wellspring.models.definition import Baselines as Baselines
    from wellspring.models.definition import Label as Label
    from wellspring.models.definition import Model as Model
    from wellspring.models.definition import Search as Search
    from wellspring.models.definition import Subgroup as Subgroup
    from wellspring.models.definition import Threshold as Threshold
    from wellspring.models.definition import TimeSplit as TimeSplit
    from wellspring.project import Project as Project
    from wellspring.project import load as load
    from wellspring.records.clock import Clock as Clock
    from wellspring.records.data import Account as Account
    from wellspring.records.data import Contract as Contract
    from wellspring.records.data import Drop as Drop
    from wellspring.records.data import Edition as Edition
    from wellspring.records.trust import Entry as Entry
    from wellspring.records.verdict import Reason as Reason
    from wellspring.records.verdict import Verdict as Verdict

_HOMES = {
    "wellspring.models.definition": (
        "Bars",
        "Baselines",
        "Label",
        "Model",
        "Search",
        "Subgroup",
        "Threshold",
        "TimeSplit",
    ),
    "wellspring.project": ("load", "Project"),
    "wellspring.records.data": ("Account", "Contract", "Drop", "Edition"),
    "wellspring.records.trust": ("Entry",),
    "wellspring.records.verdict": ("Reason", "Verdict"),
    "wellspring.records.clock": ("Clock",),
    "wellspring.errors": ("WellspringError", "ProjectError", "Refused", "NotFound", "Unavailable", "Broken"),
}
_HOME = {name: home for home, names in _HOMES.items() for name in names}
# The one list of names stands above; pyright reads only a literal one.
__all__ = sorted(_HOME)  # pyright: ignore[reportUnsupportedDunderAll]


def __getattr__(name: str) -> Any:
    """Import a public name when it is first asked for (PEP 562), so that `import wellspring` costs nothing."""
    if name not in _HOME:
        raise AttributeError(f"module 'wellspring' has no attribute {name!r}; it has: {', '.join(__all__)}")
    return getattr(importlib.import_module(_HOME[name]), name)
