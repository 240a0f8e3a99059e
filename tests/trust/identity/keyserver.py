"""The real key server alone, as the bootstrap leaves it: for what people may do there, without the other servers."""

from __future__ import annotations

import base64
import hashlib
import hmac
import struct
import time
from collections.abc import Generator
from contextlib import contextmanager
from urllib.parse import parse_qs, urlsplit

from tests.servers import houses
from wellspring.project import Project, load
from wellspring.records.clock import SystemClock
from wellspring.servers import bootstrap, folders, openbao, packages
from wellspring.servers.children import Child
from wellspring.servers.privileges import environment, survey

PEOPLE = {"ana": "owner", "bo": "approver", "cy": "", "dee": "owner", "eli": "", "flo": "", "gus": "", "hal": ""}
PASSWORD = "a sentence that ana keeps in mind"


@contextmanager
def keyserver() -> Generator[Project]:
    """Start OpenBao for a copy of the example that names some people, and give it its keys, roles and policies."""
    with houses.project() as copied:
        with (copied.root / "wellspring.toml").open("a") as toml:
            for name, role in PEOPLE.items():
                toml.write(f"\n[people.{name}]\nroles = {[role] if role else []}\n")
        here = load(copied.root)
        privileges = survey(here)
        folders.own(here)
        folders.make(here, privileges)
        folders.make_runtime(here, privileges)
        openbao.prepare(here, privileges)
        child = Child(
            name="openbao",
            service="keys",
            argv=[str(packages.check(here).openbao), "server", f"-config={openbao.folder(here) / 'config.hcl'}"],
            ready=lambda: openbao.is_active(here),
            version="",
            log=here.state / "openbao.log",
            socket=here.socket("openbao"),
        )
        child.start(privileges.command("keys", child.argv), environment(here, "keys"), None)
        try:
            deadline = time.monotonic() + 60
            child.wait_ready(deadline, probe=lambda: openbao.health(here) is not None)
            making = bootstrap.Bootstrap(here, privileges)
            child.wait_ready(deadline)
            making.configure()
            making.finish()
            yield here
        finally:
            child.stop()
            folders.sweep_runtime(here)


class Authenticator:
    """What a person's telephone does: six digits from the secret in an otpauth address and the time (RFC 6238)."""

    def __init__(self, otpauth_url: str) -> None:
        told = parse_qs(urlsplit(otpauth_url).query)
        secret, self._period = told["secret"][0], int(told["period"][0])
        self._key = base64.b32decode(secret + "=" * (-len(secret) % 8))

    def code(self, *, steps: int = 0) -> str:
        """Return the code of now, or of `steps` half minutes later (earlier, if negative)."""
        counter = (int(SystemClock().now().timestamp()) + 30 * steps) // self._period
        digest = hmac.new(self._key, struct.pack(">Q", counter), hashlib.sha1).digest()
        at = digest[-1] & 15
        return f"{(int.from_bytes(digest[at : at + 4], 'big') & 0x7FFFFFFF) % 10**6:06d}"
