"""The types of names in a model file."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

Identifier = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]{0,62}$")]
FeatureReference = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]{0,62}:[a-z][a-z0-9_]{0,62}$")]
"""`view:feature`."""
