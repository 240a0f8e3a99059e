"""Measure the latency of predictions with one and eight callers, beside `mlflow models serve` with the same booster.

`python -m benchmarks.predictions`. The project runs on its real servers: history ingested, built, trained, proposed and
approved by two people. Each of three rounds measures in turn: wellspring with reasons, wellspring without, MLflow.
wellspring reads its features from the online store, checks the policy, writes its journal line to disk (fdatasync),
signs, and responds over a Unix socket; MLflow gets its features in the body (`inputs`), scores, and responds over
loopback TCP, with one worker and no access log. The same loop calls both: threads with a persistent connection each and
prepared requests, which read each response to its end. First the scores of both are compared, since they serve one
model. There is no goal; a response other than 200 ends the benchmark with exit code 1.
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

from benchmarks.machine import describe_machine, median, percentile, render_table, write_result
from benchmarks.peers import mlflow_serve
from tests.crash.serving_project import MODEL, ServingProject
from wellspring.models.estimators.lightgbm import LightGBM
from wellspring.models.spec.inference_spec import SPEC_FILE, InferenceSpec, decode_spec
from wellspring.stores.objects.disk import DiskContentStore

ROUNDS = 3
CALLERS = (1, 8)
PREDICTIONS = 1_500
"""Predictions per round, target and number of callers."""
WARM_UP = 100
REQUESTS = 300
"""Distinct keys."""
PORT = 18_462
CLOSE = 1e-9
Connect = Callable[[], socket.socket]


class Target(NamedTuple):
    """A server to measure, and its requests as bytes."""

    name: str
    connect: Connect
    requests: tuple[bytes, ...]


def main() -> int:
    """Measure, print the table, and store the figures."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.predictions", description=(__doc__ or "").splitlines()[0]
    )
    parser.add_argument(
        "--predictions", type=int, default=PREDICTIONS, help="in each round, for each number of callers"
    )
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    parser.add_argument("--json", action="store_true", help="print one JSON document, and no table")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="ws-bench-") as name:
        folder = Path(name)
        folder.chmod(0o755)
        root = folder / "project"
        project = ServingProject(root)
        try:
            described = describe_machine(folder)
            candidate = project.train_candidate()
            project.enroll_users("ines", "omar")
            release = project.release_candidate(candidate)
            measured = _measure(project, release, folder, arguments.rounds, arguments.predictions)
        finally:
            ServingProject.down(root)
    result = {"machine": described, "rounds": arguments.rounds, "predictions": arguments.predictions, **measured}
    if arguments.json:
        print(json.dumps(result, indent=1, sort_keys=True))
    else:
        _print_figures(result)
    if (arguments.rounds, arguments.predictions) == (ROUNDS, PREDICTIONS):
        print(f"all figures in {write_result('predictions', result)}", file=sys.stderr)
    return 0


def _measure(project: ServingProject, release: str, folder: Path, rounds: int, predictions: int) -> dict[str, Any]:
    """Measure all targets in turn, and return the figures: medians of the rounds, and each round."""
    stored = project.project.models_dir
    digest = json.loads((stored / "releases" / f"{release}.json").read_bytes())["artifact"]
    lines = (stored / "manifests" / digest).read_text(encoding="utf-8").split("\n\n")[0].splitlines()
    named = {line.split(" ")[1]: line.split(" ")[0] for line in lines}
    objects = DiskContentStore(stored / "objects")
    spec, booster = (
        decode_spec(objects.get(named[SPEC_FILE])),
        objects.get(named[LightGBM.file_name]).decode(),
    )
    keys = project.sample_keys(REQUESTS)
    vectors, scores = _features_and_scores(project, spec, keys)
    scratch = folder / "mlflow"
    scratch.mkdir()
    with mlflow_serve.served(booster, scratch, PORT) as port:
        targets = _build_targets(project, keys, vectors, port)
        difference = _largest_difference(targets[-1], spec, scores)
        if difference > CLOSE:
            raise RuntimeError(f"the two servers do not serve the same model: their scores differ by {difference:g}")
        rounds_by_target: dict[str, list[dict[str, float]]] = {}
        for target in targets:
            measure_target(target, 1, WARM_UP)
        for _ in range(rounds):
            for callers in CALLERS:
                for target in targets:
                    rounds_by_target.setdefault(f"{target.name}, {callers}", []).append(
                        measure_target(target, callers, predictions)
                    )
    figures = {
        target_name: {key: median(figure[key] for figure in observed) for key in observed[0]}
        for target_name, observed in rounds_by_target.items()
    }
    trees = booster.count("\nTree=")
    model = {"trees": trees, "features": len(spec.features), "largest_difference": difference}
    return {"model": model, "figures": figures, "all": rounds_by_target}


def _features_and_scores(
    project: ServingProject, spec: InferenceSpec, keys: Sequence[dict[str, str]]
) -> tuple[list[list[float]], list[float]]:
    """Read the features of each key, as numbers in the model's order, and its score."""
    vectors: list[list[float]] = []
    scores: list[float] = []
    with project.client() as client:
        for key in keys:
            values = {
                view: client.get_features(view, *(key[column] for column in columns)).values
                for view, columns in spec.keys.items()
            }
            vectors.append(list(spec.feature_vector(values)))  # pyright: ignore[reportArgumentType]
            scores.append(client.predict(MODEL, key).score)
    return vectors, scores


def _build_targets(
    project: ServingProject, keys: Sequence[dict[str, str]], vectors: Sequence[Sequence[float]], port: int
) -> list[Target]:
    path = str(project.project.socket_path("api"))

    def connect_wellspring() -> socket.socket:
        line = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        line.settimeout(30)
        line.connect(path)
        return line

    def connect_mlflow() -> socket.socket:
        line = socket.create_connection(("127.0.0.1", port), timeout=30)
        line.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return line

    address = f"/v1/models/{MODEL}/predictions"

    mlflow_requests = tuple(post(mlflow_serve.ADDRESS, {"inputs": [vector]}) for vector in vectors)

    def prediction_requests(reasons: bool) -> tuple[bytes, ...]:
        return tuple(post(address, {"keys": key, "include_reasons": reasons}) for key in keys)

    return [
        Target("wellspring, with reasons", connect_wellspring, prediction_requests(True)),
        Target("wellspring, score only", connect_wellspring, prediction_requests(False)),
        Target("mlflow models serve, score only", connect_mlflow, mlflow_requests),
    ]


def post(address: str, body: Any) -> bytes:
    """Encode a whole HTTP request."""
    content = json.dumps(body).encode()
    head = f"POST {address} HTTP/1.1\r\nHost: api\r\nContent-Type: application/json\r\nContent-Length: {len(content)}"
    return head.encode() + b"\r\n\r\n" + content


def _largest_difference(target: Target, spec: InferenceSpec, scores: Sequence[float]) -> float:
    """Return the largest difference between MLflow's scores, calibrated as wellspring's, and wellspring's."""
    largest, decoder = 0.0, spec.load_decoder()
    line = target.connect()
    try:
        for request, score in zip(target.requests, scores, strict=True):
            (share,) = json.loads(read_response(line, request))["predictions"]
            raw = math.log(share / (1 - share))
            largest = max(largest, abs(decoder.decode_row([raw]).score - score))
    finally:
        line.close()
    return largest


def measure_target(target: Target, callers: int, predictions: int) -> dict[str, float]:
    """Send `predictions` requests from so many callers; each waits for its response before the next request."""
    waits: list[float] = []
    problems: list[BaseException] = []
    start = threading.Barrier(callers + 1)

    def work(first: int) -> None:
        thread_waits: list[float] = []
        line = target.connect()
        start.wait()
        try:
            for number in range(first, predictions, callers):
                before = time.perf_counter()
                read_response(line, target.requests[number % len(target.requests)])
                thread_waits.append(time.perf_counter() - before)
        except (OSError, RuntimeError) as exc:
            problems.append(exc)
        finally:
            line.close()
        waits.extend(thread_waits)

    threads = [threading.Thread(target=work, args=(place,)) for place in range(callers)]
    for thread in threads:
        thread.start()
    start.wait()
    began = time.perf_counter()
    for thread in threads:
        thread.join()
    took = time.perf_counter() - began
    if problems or len(waits) != predictions:
        raise RuntimeError(
            f"{target.name}: {predictions - len(waits)} of {predictions} requests failed: {problems[:1]}"
        )
    named = {"p50_ms": 0.5, "p95_ms": 0.95, "p99_ms": 0.99}
    return {
        "per_second": predictions / took,
        **{name: percentile(waits, instant) * 1e3 for name, instant in named.items()},
    }


def read_response(line: socket.socket, request: bytes) -> bytes:
    """Send a request and read its response to the end. Raises RuntimeError unless it is a 200 of known length."""
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


def _print_figures(result: dict[str, Any]) -> None:
    model = result["model"]
    print(
        f"predictions: {result['predictions']:,} per round, medians of {result['rounds']}; {model['trees']} trees, "
        f"{model['features']} features; the scores differ by {model['largest_difference']:.1g} at most"
    )
    rows = [
        (
            target_name,
            f"{figure['p50_ms']:.2f}",
            f"{figure['p95_ms']:.2f}",
            f"{figure['p99_ms']:.2f}",
            f"{figure['per_second']:,.0f}",
        )
        for target_name, figure in result["figures"].items()
    ]
    print(render_table(("target, callers", "p50 ms", "p95 ms", "p99 ms", "predictions/s"), rows))
    print("wellspring: reads features, checks the policy, journals, signs. mlflow: features in the body, no reasons")
    described = result["machine"]
    print(f"machine: {described['cores']} x {described['processor']}, {described['file_system']}")


if __name__ == "__main__":
    sys.exit(main())
