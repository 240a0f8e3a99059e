"""The kind `sftp` as it is registered: its checks, its template and its packages."""

from __future__ import annotations

import tomllib
from pathlib import Path

from wellspring.data.sources.registry import load_source_kind, missing_packages
from wellspring.data.sources.sftp import SFTP
from wellspring.data.sources.sftp.settings import SftpSettings


def test_it_is_registered():
    assert load_source_kind("sftp") is SFTP
    assert missing_packages(SFTP) == []


def test_the_template_is_a_valid_table():
    assert SftpSettings(**tomllib.loads(SFTP.template)).embedded_server == "sftp"


def test_doctor_reports_a_host_key_that_is_not_pinned(tmp_path: Path):
    elsewhere = SftpSettings(kind="sftp", address="sftp.example.com:22", known_hosts=Path("known_hosts"))
    (problem,) = SFTP.find_problems(elsewhere, tmp_path)
    assert "not pinned" in problem.what
    (tmp_path / "known_hosts").write_text("sftp.example.com ssh-ed25519 AAAA\n")
    assert list(SFTP.find_problems(elsewhere, tmp_path)) == []
    assert list(SFTP.find_problems(SftpSettings(kind="sftp"), tmp_path)) == []
