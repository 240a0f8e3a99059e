"""A short sample of the benchmark of the log: each figure is measured, on the real journal, loop, tiles and index."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks import ledger

pytestmark = pytest.mark.slow


def test_bytes_of_an_answer_are_those_of_all_its_copies(tmp_path: Path):
    sizes = ledger.measure_bytes(tmp_path, 2_000, 1_000)
    assert sizes.keys() == {"journal", "tiles", "line packs", "index"}
    assert all(size > 32 for size in sizes.values())
    # The journal of so few answers is one file, which stays.
    assert sum(size for place, size in sizes.items() if place != "journal") < ledger.MAX_ANSWER_BYTES


def test_every_answer_is_soon_in_the_signed_and_witnessed_log(tmp_path: Path):
    latency = ledger.measure_latency(tmp_path, 100, 0.5)
    assert len(latency.signed) == len(latency.witnessed) > 10
    # On a busy machine a checkpoint may be signed before the writer's thread has read the clock.
    assert all(-1 < signed < witnessed < 30 for signed, witnessed in zip(*latency, strict=True))


def test_memory_and_proofs_have_figures(tmp_path: Path):
    memory = ledger.measure_memory(tmp_path / "memory", 2_000)
    assert 20 < memory["peak_mb"] < ledger.MAX_PEAK_MB
    verified = ledger.measure_verify(tmp_path / "verify", 3_000)
    assert 0 < verified["verify_p50_ms"] < 1_000


def test_a_missed_limit_is_the_exit_code(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    figures = {
        "bytes": {"2": {"tiles": 400.0, "index": 90.0}, "1000": {"tiles": 300.0, "index": 90.0}},
        "latency": {"2": {"signed_p99_ms": 900.0}},
        "memory": {"peak_mb": 200.0, "lines": 1_000_000},
    }
    assert ledger.print_verdict(figures, tmp_path) == 0
    assert capsys.readouterr().out.splitlines()[-1].startswith("met: 490 bytes an answer (limit 500)")
    figures["bytes"]["2"]["index"] = 101.0
    assert ledger.print_verdict(figures, tmp_path) == 1
    assert capsys.readouterr().out.splitlines()[-1].startswith("missed: 501 bytes")
