"""Define which releases of a model may answer, and in which role."""

from __future__ import annotations

from typing import Literal

from wellspring.records.record import Frozen

DeploymentMode = Literal["canary"]
"""How a challenger is used. canary: it answers its share of the requests."""
DeploymentRole = Literal["stable", "challenger"]
"""In which role a release answered."""


class Deployment(Frozen):
    """Which releases of one model may answer, according to the ledger.

    stable, challenger: ids of releases, '' for none. share: decimal text between 0 and 1, of the requests that the
    challenger answers. seed: 16 hex; with the request's digest it decides which requests these are, so that the same
    keys get the same release. since: ISO 8601 instant of the last change (UTC). mode, share, seed: '' without a
    challenger.
    """

    model: str
    stable: str = ""
    challenger: str = ""
    mode: DeploymentMode | Literal[""] = ""
    share: str = ""
    seed: str = ""
    since: str = ""
