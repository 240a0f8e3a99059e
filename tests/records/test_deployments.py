"""What the record of a deployment says without a challenger."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from wellspring.records.deployments import Deployment


def test_without_a_challenger_the_share_is_empty():
    deployment = Deployment(model="denials", stable="ab12")
    assert (deployment.challenger, deployment.mode, deployment.share, deployment.seed) == ("", "", "", "")


def test_a_mode_is_one_of_the_modes():
    with pytest.raises(ValidationError):
        Deployment.model_validate({"model": "denials", "mode": "half"})
