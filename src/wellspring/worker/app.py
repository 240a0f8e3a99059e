"""The worker process: a durable queue of jobs, the socket on which they are submitted, and their dispatcher.

Started by the supervisor as `python -m wellspring.worker --project P --listener FD --credentials FD`: the bound socket
`jobs`, and a socket on which the supervisor issues the credentials of jobs. Its own, of the role `dispatcher`, is a
line of standard input. It runs as the worker's user, writes the queue, and loads no code of the project; that runs only
in the children of the server of project code, under another user.
"""

from __future__ import annotations

import os
import shutil
import signal
import socket
import sys
import threading
from contextlib import ExitStack, suppress

from wellspring.bootstrap import login_for_journal_key, open_enclave_client, open_ledger_index, open_recorder
from wellspring.bootstrap.job_ports import hold_resources, open_job_queue
from wellspring.embedded.path_access import list_worker_journals
from wellspring.errors import Unavailable, WellspringError, format_error
from wellspring.project import Project, load_project
from wellspring.runtime.privileges import service_environment, service_temp_dir
from wellspring.runtime.process import build_argument_parser, harden_process, read_credential
from wellspring.runtime.server_sockets import find_server_socket
from wellspring.runtime.simulated_clock import open_clock
from wellspring.trust.changes.activation import name_resource
from wellspring.trust.changes.store import ChangeStore
from wellspring.trust.ledger.journal_key import JournalKey
from wellspring.trust.ledger.remote_sequencer import RemoteSequencer
from wellspring.worker.act_authorizer import ActAuthorizer
from wellspring.worker.credential_client import CredentialClient
from wellspring.worker.dispatcher import Dispatcher
from wellspring.worker.job_log import JobLog
from wellspring.worker.job_server import JobServer
from wellspring.worker.job_service import JobService
from wellspring.worker.policy_adoption import PolicyAdoption
from wellspring.worker.query_service import QueryService
from wellspring.worker.scheduler import PlanFile, Scheduler
from wellspring.worker.warm_client import WarmClient

ACT_SECONDS = 20.0
"""How long the submission of a person's act waits for the log; its client waits longer, and gets the reason."""


def main(argv: list[str] | None = None) -> int:
    """Run the worker until SIGTERM or SIGINT; return an exit code."""
    parser = build_argument_parser("wellspring.worker")
    parser.add_argument("--listener", type=int, required=True)
    parser.add_argument("--credentials", type=int, required=True)
    arguments = parser.parse_args(argv)
    # First: until then another process of this user could copy the descriptors.
    harden_process(umask=0o027)
    listener = socket.socket(fileno=arguments.listener)
    channel = socket.socket(fileno=arguments.credentials)
    for inherited in (listener, channel):
        inherited.set_inheritable(False)
    try:
        credential = read_credential(sys.stdin.readline())
        project = load_project(arguments.project, sources=False)
        key = login_for_journal_key(project, credential, "dispatcher")
        run_worker_service(project, listener, CredentialClient(channel), key)
    except WellspringError as exc:
        print(format_error(exc.slug, exc.what, exc.fix), file=sys.stderr)
        return exc.exit_code
    return 0


def _clear_scratch_folders(project: Project) -> None:
    """Remove the folders of project code that killed jobs left; none runs yet."""
    with suppress(FileNotFoundError):
        for path in service_temp_dir(project, "code").glob("job-*"):
            shutil.rmtree(path, ignore_errors=True)


def run_worker_service(
    project: Project, listener: socket.socket, credentials: CredentialClient, key: JournalKey
) -> None:
    """Run the jobs of a project until a signal. Raises Unavailable if another worker of the project runs, or when the
    lease that keeps others out has ended."""
    clock, lost = open_clock(project), list[Unavailable]()

    def end_worker(error: Unavailable) -> None:
        lost.append(error)
        os.kill(os.getpid(), signal.SIGTERM)

    with ExitStack() as stack:
        holder = f"host:{socket.gethostname()} pid:{os.getpid()}"
        stack.enter_context(hold_resources(project, ["worker"], holder, on_lost=end_worker))
        _clear_scratch_folders(project)
        queue = open_job_queue(project)
        stack.callback(queue.close)
        # Those of the queue and the dispatcher: the crash points of a job come with its submission, for its child.
        step = stack.enter_context(open_recorder(project, key, clock=clock, crash_at=project.crash_at))
        stopped = threading.Event()
        stack.callback(stopped.set)
        PolicyAdoption(
            project,
            ChangeStore(project.changes_dir),
            open_ledger_index(project),
            hold=lambda: hold_resources(project, [name_resource("policy")], holder, on_lost=end_worker),
            integrate=RemoteSequencer(
                find_server_socket(project, "sequencer"), "dispatcher", timeout=ACT_SECONDS
            ).integrate,
            step=step,
            clock=clock,
        ).adopt_until(stopped)
        service = JobService(
            project,
            queue,
            JobLog(project.jobs_dir),
            acts=ActAuthorizer(
                open_ledger_index(project),
                integrate=RemoteSequencer(
                    find_server_socket(project, "sequencer"), "dispatcher", timeout=ACT_SECONDS
                ).integrate,
                step=step,
            ),
            step=step,
            clock=clock,
            on_change=lambda: dispatcher.wake(),
        )
        dispatcher = Dispatcher(
            service,
            list_worker_journals(project),
            project.worker,
            start_warm_server=lambda: WarmClient(
                project.root, service_environment(project, "worker"), on_end=lambda: dispatcher.wake()
            ),
            request_credential=credentials.request_credential,
            crash_point=step.crash_point,
            clock=clock,
        )
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: dispatcher.request_stop())
        queries = QueryService(
            find_warm_server=dispatcher.find_warm_server, request_credential=credentials.request_credential
        )
        JobServer(listener, service, queries, frozenset({0, project.state_dir.stat().st_uid})).start_serving()
        scheduler = Scheduler(
            service,
            project.jobs_dir / "looked_at",
            load_plan=PlanFile(project.root).read_plan,
            list_files=open_enclave_client(project).list_files,
            clock=clock,
        )
        # A daemon: it may wait for the enclave when the worker ends.
        threading.Thread(target=scheduler.run, args=(stopped,), name="scheduler", daemon=True).start()
        dispatcher.run_until_stopped()
    if lost:
        raise lost[0]
