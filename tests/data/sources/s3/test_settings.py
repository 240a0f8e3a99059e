"""Settings of a bucket: names, addresses and credentials."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from wellspring.data.sources.s3.settings import S3Settings


def settings(**changes: Any) -> S3Settings:
    return S3Settings(**{"kind": "s3", "bucket": "drops", "region": "eu-west-1", **changes})


@pytest.mark.parametrize(("prefix", "key_prefix"), [("", ""), ("a", "a/"), ("a/", "a/"), ("a/b", "a/b/")])
def test_a_prefix_is_a_folder(prefix: str, key_prefix: str):
    assert settings(prefix=prefix).key_prefix == key_prefix
    assert settings(prefix=prefix).place == f"s3://drops/{key_prefix}"


@pytest.mark.parametrize("url", ["", "https://s3.example.com", "http://127.0.0.1:9000", "http://[::1]:9000"])
def test_an_endpoint_is_encrypted_or_on_this_machine(url: str):
    assert settings(endpoint_url=url).endpoint_url == url


@pytest.mark.parametrize(
    "changes",
    [
        {"endpoint_url": "http://s3.example.com"},
        {"endpoint_url": "http://127.0.0.1.example.com"},
        {"endpoint_url": "s3.example.com"},
        {"endpoint_url": "ftp://s3.example.com"},
        {"bucket": "Drops"},
        {"bucket": "s3://drops"},
        {"bucket": "a/b"},
        {"region": "Frankfurt am Main"},
        {"prefix": "/a"},
        {"glob": ""},
        {"credentials": "environment"},
        {"access_key_id": "AKIA"},
    ],
)
def test_an_invalid_setting_is_refused(changes: dict[str, str]):
    with pytest.raises(ValidationError):
        settings(**changes)


def test_the_credentials_are_stored_or_those_of_the_machine():
    assert settings().secret_path("inbox") == "enclave/sources/inbox"
    assert settings(credentials="instance_role").secret_path("inbox") is None


def test_the_enclave_may_read_the_authority_of_the_endpoint(tmp_path: Path):
    assert settings().readable_paths(tmp_path) == ()
    assert settings(ca_bundle="ca.pem").readable_paths(tmp_path) == (tmp_path / "ca.pem",)
