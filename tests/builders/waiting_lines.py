"""Many journal lines that no sequencer has seen, and their integration in a process of its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

from pydantic import JsonValue

from tests.builders.ledger import Ledger
from wellspring.trust.ledger.journal import SEGMENT_BYTES

PROGRAM = """
import json, sys, time
from pathlib import Path
from tests.builders.ledger import Ledger
def read_peak():
    # Not ru_maxrss: it includes the peak of the process that started this one.
    (line,) = [line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM:")]
    return int(line.split()[1]) * 1024
ledger = Ledger(Path(sys.argv[1]))
begin = read_peak()
start, cpu = time.perf_counter(), time.process_time()
size = ledger.sequencer.integrate().size
print(json.dumps({
    "size": size, "seconds": time.perf_counter() - start, "cpu_seconds": time.process_time() - cpu,
    "peak_bytes": read_peak(), "begin_bytes": begin,
}))
"""


class IntegrationCost(NamedTuple):
    """What one integration took. peak_bytes: of the whole process; begin_bytes: before it began."""

    size: int
    seconds: float
    cpu_seconds: float
    peak_bytes: int
    begin_bytes: int


def write_waiting_lines(folder: Path, count: int, service: str = "api") -> None:
    """Write lines of about 1.3 kB, each like the entry of a prediction, without a sync for each."""
    ledger = Ledger(folder)
    facts: dict[str, JsonValue] = {f"column_{number}": "0123456789abcdef" * 2 for number in range(18)}
    (entry,) = [
        ledger.journal(service).append_entry(
            actor="service:api", action="predict", phase="done", subject="prediction:@", facts=facts, trace="ab" * 16
        )
    ]
    ledger.close()
    segment = folder / "journals" / service / "000000000000.log"
    before, after = segment.read_bytes().split(b'"sequence":0')
    assert entry.sequence == 0
    segment.unlink()
    written, file = 0, None
    for sequence in range(count):
        if file is None or written >= SEGMENT_BYTES:
            if file is not None:
                file.close()
            file, written = (folder / "journals" / service / f"{sequence:012d}.log").open("wb"), 0
        line = before + b'"sequence":%d' % sequence + after.replace(b"@", b"%032x" % sequence)
        written += file.write(line)
    if file is not None:
        file.close()


def integrate_in_process(folder: Path) -> IntegrationCost:
    """Integrate what waits in a new process, and return what it took."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    ran = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(folder)], env=environment, capture_output=True, text=True, check=False
    )
    assert ran.returncode == 0, ran.stderr
    return IntegrationCost(**json.loads(ran.stdout))
