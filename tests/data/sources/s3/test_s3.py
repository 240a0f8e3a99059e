"""The kind `s3` as it is registered: its checks, its template and its credentials."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest
from pydantic import ValidationError

from wellspring.data.sources.registry import load_source_kind, missing_packages
from wellspring.data.sources.s3 import S3
from wellspring.data.sources.s3.settings import S3Settings


def test_it_is_registered():
    assert load_source_kind("s3") is S3
    assert missing_packages(S3) == []
    assert [(key.name, key.required) for key in S3.secret_keys] == [
        ("access_key_id", True),
        ("secret_access_key", True),
        ("session_token", False),
    ]


def test_the_template_is_valid_once_its_bucket_is_named():
    table = tomllib.loads(S3.template)
    with pytest.raises(ValidationError, match="bucket"):
        S3Settings(**table)
    assert S3Settings(**{**table, "bucket": "drops"}).place == "s3://drops/outbox/"


def test_doctor_reports_a_missing_certificate_authority(tmp_path: Path):
    settings = S3Settings(kind="s3", bucket="drops", region="eu-west-1", ca_bundle=Path("ca.pem"))
    (problem,) = S3.find_problems(settings, tmp_path)
    assert str(tmp_path / "ca.pem") in problem.what
    (tmp_path / "ca.pem").write_text("")
    assert list(S3.find_problems(settings, tmp_path)) == []
