"""wellspring: an MLOps platform that records evidence for every step from a vendor's file to a signed prediction.

A project may import these names. All other modules are internal (docs/workflows.md).
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from wellspring.errors import CorruptedError as CorruptedError
    from wellspring.errors import NotFound as NotFound
    from wellspring.errors import ProjectError as ProjectError
    from wellspring.errors import Refused as Refused
    from wellspring.errors import Unavailable as Unavailable
    from wellspring.errors import WellspringError as WellspringError
    from wellspring.models.estimators.lightgbm import LightGBM as LightGBM
    from wellspring.models.estimators.search import HyperparameterSearch as HyperparameterSearch
    from wellspring.models.spec.baselines import Baseline as Baseline
    from wellspring.models.spec.definition import Label as Label
    from wellspring.models.spec.definition import ModelDefinition as ModelDefinition
    from wellspring.models.spec.definition import Subgroup as Subgroup
    from wellspring.models.spec.definition import TimeSplit as TimeSplit
    from wellspring.models.tasks.binary import Binary as Binary
    from wellspring.models.tasks.binary import BinaryCriteria as BinaryCriteria
    from wellspring.models.tasks.multiclass import Multiclass as Multiclass
    from wellspring.models.tasks.multiclass import MulticlassCriteria as MulticlassCriteria
    from wellspring.models.tasks.regression import Regression as Regression
    from wellspring.models.tasks.regression import RegressionCriteria as RegressionCriteria
    from wellspring.models.tasks.threshold import Threshold as Threshold
    from wellspring.project import Project as Project
    from wellspring.project import load_project as load_project
    from wellspring.records.clock import Clock as Clock
    from wellspring.records.contracts import DataContract as DataContract
    from wellspring.records.ingestion import Drop as Drop
    from wellspring.records.ingestion import RowAccount as RowAccount
    from wellspring.records.lake import Edition as Edition
    from wellspring.records.trust import Entry as Entry
    from wellspring.records.verdict import Reason as Reason
    from wellspring.records.verdict import Verdict as Verdict

_EXPORTS = {
    "wellspring.models.spec.definition": ("Label", "ModelDefinition", "Subgroup", "TimeSplit"),
    "wellspring.models.spec.baselines": ("Baseline",),
    "wellspring.models.estimators.lightgbm": ("LightGBM",),
    "wellspring.models.estimators.search": ("HyperparameterSearch",),
    "wellspring.models.tasks.binary": ("Binary", "BinaryCriteria"),
    "wellspring.models.tasks.multiclass": ("Multiclass", "MulticlassCriteria"),
    "wellspring.models.tasks.regression": ("Regression", "RegressionCriteria"),
    "wellspring.models.tasks.threshold": ("Threshold",),
    "wellspring.project": ("load_project", "Project"),
    "wellspring.records.contracts": ("DataContract",),
    "wellspring.records.ingestion": ("Drop", "RowAccount"),
    "wellspring.records.lake": ("Edition",),
    "wellspring.records.trust": ("Entry",),
    "wellspring.records.verdict": ("Reason", "Verdict"),
    "wellspring.records.clock": ("Clock",),
    "wellspring.errors": (
        "CorruptedError",
        "NotFound",
        "ProjectError",
        "Refused",
        "Unavailable",
        "WellspringError",
    ),
}
_MODULE_BY_NAME = {name: module for module, names in _EXPORTS.items() for name in names}
# pyright reads only a literal __all__; this one is derived from _EXPORTS.
__all__ = sorted(_MODULE_BY_NAME)  # pyright: ignore[reportUnsupportedDunderAll]


def __getattr__(name: str) -> Any:
    """Import a public name on first access (PEP 562), so that `import wellspring` loads no other module."""
    if name not in _MODULE_BY_NAME:
        raise AttributeError(f"module 'wellspring' has no attribute {name!r}; it has: {', '.join(__all__)}")
    return getattr(importlib.import_module(_MODULE_BY_NAME[name]), name)
