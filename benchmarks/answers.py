"""Measure how long an answer takes, one caller and eight, beside `mlflow models serve` with the same booster.

`python -m benchmarks.answers`. The house is the real one: servers up, history received, built, learned, proposed and
approved by two people. In each of three rounds, one after the other: ours with reasons, ours without, MLflow's score.
Ours reads its features from the online store, asks the policy, writes its journal line to the disk (fdatasync), signs,
and answers over a Unix socket; MLflow gets its features in the body (`inputs`), scores, and answers over loopback TCP,
with one worker and no access log. Both are asked by the same loop: threads with a kept connection each, a request that
was written before, and a reader that only looks for the end of the answer. Before, the scores of both are compared:
they are one model. This reports; there is no goal, and an answer that is not 200 ends it with 1.
"""

from __future__ import annotations

import argparse
import json
import math
import socket
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from benchmarks.machine import keep, machine, median, percentile, table
from benchmarks.peers import mlflow_serve
from tests.crash.serving_project import MODEL, Served
from wellspring.models.spec import artifact
from wellspring.models.spec.artifact import BOOSTER_FILE, SPEC_FILE, InferenceSpec
from wellspring.stores.objects.disk import DiskContentStore

ROUNDS = 3
CALLERS = (1, 8)
ITEM = 1_500
"""Answers a round, for each of the callers' numbers and each way of asking."""
WARM_UP = 100
REQUESTS = 300
"""Different things that are asked about."""
PORT = 18_462
CLOSE = 1e-9
Connect = Callable[[], socket.socket]


class Way(NamedTuple):
    """One way of asking: whom, and the requests as bytes."""

    name: str
    connect: Connect
    requests: tuple[bytes, ...]


def main() -> int:
    """Measure, print the table, keep the figures."""
    requests = argparse.ArgumentParser(prog="python -m benchmarks.answers", description=(__doc__ or "").splitlines()[0])
    requests.add_argument("--answers", type=int, default=ITEM, help="in each round, for each number of callers")
    requests.add_argument("--rounds", type=int, default=ROUNDS)
    requests.add_argument("--json", action="store_true", help="print one JSON document, and no table")
    arguments = requests.parse_args()
    with tempfile.TemporaryDirectory(prefix="ws-bench-") as name:
        folder = Path(name)
        folder.chmod(0o755)
        root = folder / "house"
        project = Served(root)
        try:
            described = machine(folder)
            candidate = project.learned()
            project.enrolled("ines", "omar")
            release = project.released(candidate)
            measured = _measure(project, release, folder, arguments.rounds, arguments.answers)
        finally:
            Served.down(root)
    result = {"machine": described, "rounds": arguments.rounds, "answers": arguments.answers, **measured}
    if arguments.json:
        print(json.dumps(result, indent=1, sort_keys=True))
    else:
        _record_entry(result)
    if (arguments.rounds, arguments.answers) == (ROUNDS, ITEM):
        print(f"all figures in {keep('answers', result)}", file=sys.stderr)
    return 0


def _measure(project: Served, release: str, folder: Path, rounds: int, answers: int) -> dict[str, Any]:
    """Ask both, in turn, and return the figures: medians of the rounds, and each round."""
    stored = project.project.models_dir
    digest = json.loads((stored / "releases" / f"{release}.json").read_bytes())["artifact"]
    lines = (stored / "manifests" / digest).read_text(encoding="utf-8").split("\n\n")[0].splitlines()
    named = {line.split(" ")[1]: line.split(" ")[0] for line in lines}
    objects = DiskContentStore(stored / "objects")
    recipe, booster = artifact.decode_spec(objects.get(named[SPEC_FILE])), objects.get(named[BOOSTER_FILE]).decode()
    keys = project.keys(REQUESTS)
    vectors, scores = _expected(project, recipe, keys)
    scratch = folder / "mlflow"
    scratch.mkdir()
    with mlflow_serve.served(booster, scratch, PORT) as port:
        ways = _ways(project, keys, vectors, port)
        off = _difference(ways[-1], recipe, scores)
        if off > CLOSE:
            raise RuntimeError(f"the two do not serve one model: their scores differ by {off:g}")
        every: dict[str, list[dict[str, float]]] = {}
        for way in ways:
            ask(way, 1, WARM_UP)
        for _ in range(rounds):
            for callers in CALLERS:
                for way in ways:
                    every.setdefault(f"{way.name}, {callers}", []).append(ask(way, callers, answers))
    figures = {
        what: {key: median(item[key] for item in observed) for key in observed[0]} for what, observed in every.items()
    }
    trees = booster.count("\nTree=")
    model = {"trees": trees, "features": len(recipe.features), "largest_difference": off}
    return {"model": model, "figures": figures, "all": every}


def _expected(
    project: Served, recipe: InferenceSpec, keys: Sequence[dict[str, str]]
) -> tuple[list[list[float]], list[float]]:
    """Ask for the features of each thing, as numbers in the model's order, and for its score."""
    vectors: list[list[float]] = []
    scores: list[float] = []
    with project.client() as client:
        for key in keys:
            values = {
                view: client.get_features(view, *(key[column] for column in columns)).values
                for view, columns in recipe.keys.items()
            }
            vectors.append(list(recipe.feature_vector(values)))  # pyright: ignore[reportArgumentType]
            scores.append(client.predict(MODEL, key).score)
    return vectors, scores


def _ways(project: Served, keys: Sequence[dict[str, str]], vectors: Sequence[Sequence[float]], port: int) -> list[Way]:
    path = str(project.project.socket_path("api"))

    def own_value() -> socket.socket:
        line = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        line.settimeout(30)
        line.connect(path)
        return line

    def their_value() -> socket.socket:
        line = socket.create_connection(("127.0.0.1", port), timeout=30)
        line.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return line

    address = f"/v1/models/{MODEL}/predictions"

    brought = tuple(post(mlflow_serve.ADDRESS, {"inputs": [vector]}) for vector in vectors)

    def questions(reasons: bool) -> tuple[bytes, ...]:
        return tuple(post(address, {"keys": key, "reasons": reasons}) for key in keys)

    return [
        Way("wellspring, with reasons", own_value, questions(True)),
        Way("wellspring, score only", own_value, questions(False)),
        Way("mlflow models serve, score only", their_value, brought),
    ]


def post(address: str, body: Any) -> bytes:
    """Write a whole request."""
    content = json.dumps(body).encode()
    head = f"POST {address} HTTP/1.1\r\nHost: api\r\nContent-Type: application/json\r\nContent-Length: {len(content)}"
    return head.encode() + b"\r\n\r\n" + content


def _difference(way: Way, recipe: InferenceSpec, scores: Sequence[float]) -> float:
    """Say by how much MLflow's scores, calibrated as ours are, differ from ours at most."""
    matches = 0.0
    line = way.connect()
    try:
        for request, score in zip(way.requests, scores, strict=True):
            (share,) = json.loads(answer(line, request))["predictions"]
            raw = math.log(share / (1 - share))
            matches = max(matches, abs(recipe.calibration.calibrate_score(raw) - score))
    finally:
        line.close()
    return matches


def ask(way: Way, callers: int, answers: int) -> dict[str, float]:
    """Have `answers` answers by so many callers, each of whom waits for one before asking again."""
    waits: list[float] = []
    problems: list[BaseException] = []
    start = threading.Barrier(callers + 1)

    def work(first: int) -> None:
        own_copy: list[float] = []
        line = way.connect()
        start.wait()
        try:
            for number in range(first, answers, callers):
                before = time.perf_counter()
                answer(line, way.requests[number % len(way.requests)])
                own_copy.append(time.perf_counter() - before)
        except (OSError, RuntimeError) as exc:
            problems.append(exc)
        finally:
            line.close()
        waits.extend(own_copy)

    threads = [threading.Thread(target=work, args=(place,)) for place in range(callers)]
    for thread in threads:
        thread.start()
    start.wait()
    began = time.perf_counter()
    for thread in threads:
        thread.join()
    took = time.perf_counter() - began
    if problems or len(waits) != answers:
        raise RuntimeError(f"{way.name}: {answers - len(waits)} of {answers} were not answered: {problems[:1]}")
    named = {"p50_ms": 0.5, "p95_ms": 0.95, "p99_ms": 0.99}
    return {"per_second": answers / took, **{name: percentile(waits, instant) * 1e3 for name, instant in named.items()}}


def answer(line: socket.socket, request: bytes) -> bytes:
    """Send a request and read its answer to the end. Raises RuntimeError for any but a 200 of known length."""
    line.sendall(request)
    content, end = line.recv(65536), -1
    while (end := content.find(b"\r\n\r\n")) < 0:
        more = line.recv(65536)
        if not more:
            raise RuntimeError("the connection was closed")
        content += more
    head = content[:end].lower()
    length = head.find(b"content-length:")
    if not head.startswith(b"http/1.1 200") or length < 0:
        raise RuntimeError(content[:300].decode(errors="replace"))
    whole = end + 4 + int(head[length + 15 :].split(b"\r\n", 1)[0])
    while len(content) < whole:
        more = line.recv(65536)
        if not more:
            raise RuntimeError("the connection was closed")
        content += more
    return content[end + 4 :]


def _record_entry(result: dict[str, Any]) -> None:
    model = result["model"]
    print(
        f"answers: {result['answers']:,} a round, medians of {result['rounds']}; {model['trees']} trees, "
        f"{model['features']} features; the two differ by {model['largest_difference']:.1g} at most"
    )
    rows = [
        (what, f"{item['p50_ms']:.2f}", f"{item['p95_ms']:.2f}", f"{item['p99_ms']:.2f}", f"{item['per_second']:,.0f}")
        for what, item in result["figures"].items()
    ]
    print(table(("who, callers at once", "p50 ms", "p95 ms", "p99 ms", "answers/s"), rows))
    print("ours: features read, policy asked, journalled to the disk, signed. mlflow: features in the body, no reasons")
    described = result["machine"]
    print(f"machine: {described['cores']} x {described['processor']}, {described['file_system']}")


if __name__ == "__main__":
    sys.exit(main())
