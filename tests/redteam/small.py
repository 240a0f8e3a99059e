"""Single weaknesses: a login, a pack, a name, a lock, a request."""

from __future__ import annotations

import json
import socket

from tests.builders.journeys import check_hostile_output
from tests.crash.user_commands import PASSWORD
from tests.redteam.catalogue import attempt
from tests.redteam.shop_project import APPROVER, AUTHOR
from tests.redteam.target import Target, describe_outcome
from tests.redteam.vendor_drops import CONTROL_NAME, SECRET_OF_HOST, describe_delivery
from wellspring.runtime.server_sockets import find_server_socket
from wellspring.trust.identity.users import login_user, read_login_mount


@attempt(
    "small",
    "vendor",
    refused="finding unsafe_name",
    allowed="published",
    needs="servers",
    recorded=("finding unsafe_name",),
)
def deliver_a_name_for_the_terminal(target: Target, is_twin: bool) -> str:
    """A vendor delivers a file whose name has codes for a terminal; one with a plain name is published."""
    if is_twin:
        return describe_delivery(target, "list_good.csv")
    shown = CONTROL_NAME.encode("unicode_escape").decode()
    outcome = describe_delivery(target, shown)
    check_hostile_output(target.run("finding", "list").error)
    return outcome


@attempt(
    "small",
    "vendor",
    refused="finding unsafe_name",
    allowed="published",
    needs="servers",
    recorded=("finding unsafe_name",),
)
def deliver_a_name_that_leads_up(target: Target, is_twin: bool) -> str:
    """A vendor delivers a file whose name begins with two dots; one with a plain name is published."""
    return describe_delivery(target, "list_good.csv" if is_twin else "..list_up.csv")


@attempt("small", "vendor", refused="nothing", allowed="published", needs="servers")
def deliver_a_link_to_a_file_of_root(target: Target, is_twin: bool) -> str:
    """A vendor lays a link to a file of root in the outbox; a plain file is published."""
    outcome = describe_delivery(target, "list_good.csv" if is_twin else "list_link.csv")
    lake = target.project.lake_dir
    is_leaked = any(SECRET_OF_HOST.encode() in path.read_bytes() for path in lake.rglob("*") if path.is_file())
    return "its content" if is_leaked else outcome


@attempt("small", "vendor", refused="nothing", allowed="published", needs="servers")
def deliver_a_pipe(target: Target, is_twin: bool) -> str:
    """A vendor lays a named pipe, at which a reader would wait for ever; a plain file is published."""
    return describe_delivery(target, "list_good.csv" if is_twin else "list_pipe.csv")


@attempt("small", "vendor", refused="published, quarantined", allowed="published", needs="servers")
def deliver_a_formula(target: Target, is_twin: bool) -> str:
    """A vendor delivers a cell that a spreadsheet would calculate; as a number it is published."""
    name = "list_good.csv" if is_twin else "list_formula.csv"
    outcome = describe_delivery(target, name)
    listed = target.run("quarantine", "list").document
    is_quarantined = any("inbox" in item["drop"] and "type" in item["reasons"] for item in listed)
    return outcome if is_twin or not is_quarantined else f"{outcome}, quarantined"


@attempt("small", "owner", refused="exit 77", allowed="exit 0", needs="model", recorded=("authorize approve",))
def approve_ones_own_release(target: Target, is_twin: bool) -> str:
    """ann approves the release that she proposed; bob may."""
    target.first_entry = 0
    return f"exit {(target.release.approval if is_twin else target.release.own_approval).exit_code}"


@attempt(
    "small", "owner", refused="refused", allowed="logged in", needs="model",
    recorded=("authenticate code",),
)  # fmt: skip
def use_a_code_twice(target: Target, is_twin: bool) -> str:
    """Somebody uses a code of bob that was used; a fresh one is accepted."""
    shop, server = target.released, find_server_socket(target.project, "openbao")
    mount = read_login_mount(target.project)
    code = shop.next_code(APPROVER)

    def log_in() -> str:
        return "logged in" if login_user(server, APPROVER, PASSWORD, code, mount=mount).token else "empty"

    first = describe_outcome(log_in)
    return first if is_twin else describe_outcome(log_in)


@attempt("small", "owner", refused="exit 77 refused", allowed="exit 0", needs="model")
def enroll_without_a_terminal(target: Target, is_twin: bool) -> str:
    """A script enrolls a user over a pipe; at a terminal the user may choose a password."""
    if is_twin:
        target.enroll("uma", "approver")
        return "exit 0"
    return target.exit_of("users", "enroll", APPROVER)


@attempt("small", "owner", refused="exit 77", allowed="exit 0", needs="model", recorded=("enroll user:ann",))
def enroll_a_user_again(target: Target, is_twin: bool) -> str:
    """The owner enrolls ann a second time, with a password of their own; a user who is not enrolled may be."""
    if is_twin:
        target.enroll("uta", "approver")
        return "exit 0"
    prompts = [("password: ", PASSWORD), ("again: ", PASSWORD)]
    return f"exit {target.released.run_at_terminal(('users', 'enroll', AUTHOR), prompts).exit_code}"


@attempt("small", "owner", refused="exit 10", allowed="exit 0", needs="servers")
def verify_without_the_witness(target: Target, is_twin: bool) -> str:
    """Somebody shows a pack that only the log signed as verified; with the witness's key it is."""
    folder = target.create_folder()
    proved = target.run("prove", "dataset:orders", "--out", str(folder / "pack"))
    if proved.code:
        return f"no pack: {proved.error[-300:]}"
    keys = folder / "keys.txt"
    document = target.run("ledger", "key").document
    keys.write_text("\n".join([document["log"], document["witness"], *document["services"], ""]), encoding="utf-8")
    words = ["verify", str(folder / "pack"), "--key", str(keys)]
    return f"exit {target.run(*words, *(['--witness', str(keys)] if is_twin else [])).code}"


@attempt("small", "other-user", refused="status 403", allowed="status 404", needs="servers", recorded=("connect",))
def request_a_prediction_as_other_user(target: Target, is_twin: bool) -> str:
    """Another user requests a prediction; the owner's request reaches the search for the model."""
    path = target.project.socket_path("api")
    body = json.dumps({"keys": {"order_id": "x"}}).encode()
    head = b"POST /v1/models/nothing/predictions HTTP/1.1\r\nhost: api\r\ncontent-type: application/json\r\n"

    def request() -> str:
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(20)
            connection.connect(str(path))
            connection.sendall(head + b"content-length: %d\r\n\r\n" % len(body) + body)
            return f"status {connection.recv(4096).split()[1].decode()}"

    return request() if is_twin else target.run_as("other-user", request)
