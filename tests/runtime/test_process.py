"""A service starts hardened, with a credential from standard input, and prints no values and no exception texts."""

from __future__ import annotations

import logging
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from wellspring.errors import Refused, Unavailable
from wellspring.runtime.process import Credential, RedactingLogHandler, read_credential, stop_on_lost_login

RAW = "900-12-3456"
TOML = '[project]\nname = "tiny"\ntenant = "acme"\n[sources.a]\nkind = "sftp"\n'
SERVICE = """
import ctypes, os, resource, signal, sys
from wellspring.errors import Unavailable
from wellspring.runtime.process import run_service

def serve(project, credential, stop):
    mask = os.umask(0)
    print(project.name, credential.role_id, oct(mask), resource.getrlimit(resource.RLIMIT_CORE)[0])
    print("dumpable", ctypes.CDLL(None).prctl(3, 0, 0, 0, 0))
    {body}

sys.exit(run_service(serve, module="tiny", role="api", umask=0o077))
"""


def run_python(folder: Path, body: str, line: str = '{"role_id": "r", "wrapped": "w"}\n') -> tuple[int, str, str]:
    """Run a service in a process of its own: exit code, standard output, standard error."""
    (folder / "wellspring.toml").write_text(TOML)
    ended = subprocess.run(
        [sys.executable, "-c", SERVICE.replace("{body}", body), "--project", str(folder)],
        input=line, capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip
    return ended.returncode, ended.stdout, ended.stderr


def test_a_service_is_hardened_and_stops_on_a_signal(tmp_path: Path):
    code, output, _ = run_python(tmp_path, "os.kill(os.getpid(), signal.SIGTERM); print(stop.wait(10))")
    assert (code, output) == (0, "tiny r 0o77 0\ndumpable 0\nTrue\n")


def test_an_error_is_printed_with_its_fix_and_its_exit_code(tmp_path: Path):
    code, _, errors = run_python(tmp_path, 'raise Unavailable("no server", fix="start it")')
    assert code == Unavailable.exit_code
    assert errors.endswith("unavailable: no server\nfix: start it\n")


@pytest.mark.parametrize(
    "body",
    [
        f"raise ValueError('{RAW}')",
        f"import threading; t = threading.Thread(target=int, args=('{RAW}',)); t.start(); t.join()",
    ],
)
def test_an_unforeseen_error_is_printed_without_its_message(tmp_path: Path, body: str):
    _, _, errors = run_python(tmp_path, body)
    assert RAW not in errors
    assert "unforeseen: ValueError" in errors


@pytest.mark.parametrize("line", ["", "not json\n", "{}\n", "[]\n"])
def test_a_service_without_a_credential_is_refused(tmp_path: Path, line: str):
    code, output, errors = run_python(tmp_path, "", line)
    assert (code, output) == (Refused.exit_code, "")
    assert "no valid credential" in errors
    assert "Traceback" not in errors


def test_a_credential_is_a_role_id_and_a_wrapped_secret_id():
    assert read_credential('{"role_id": "r", "wrapped": "w"}') == Credential("r", "w")
    with pytest.raises(Refused) as result:
        read_credential(f'"{RAW}"')
    assert RAW not in str(result.value)


def test_a_log_message_is_reduced_to_its_location(capsys: pytest.CaptureFixture[str]):
    logger = logging.Logger("vendor.client")
    logger.addHandler(RedactingLogHandler())
    logger.warning("row %s is invalid", RAW)
    try:
        raise ValueError(RAW)
    except ValueError:
        logger.exception("row %s", RAW)
    errors = capsys.readouterr().err
    assert RAW not in errors
    assert errors.startswith("warning: vendor.client, line ")
    assert "unforeseen: ValueError" in errors
    assert "test_process.py" in errors


def test_a_lost_login_ends_the_service_and_says_so(capsys: pytest.CaptureFixture[str]):
    stop = threading.Event()
    stop_on_lost_login(stop)()
    assert stop.is_set()
    assert "no longer accepts this login" in capsys.readouterr().err
