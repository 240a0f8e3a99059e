"""Why a refused attempt has no entry in the ledger: who refused it, and where a person sees it instead."""

from __future__ import annotations

from tests.redteam.catalogue import Attempt

_KERNEL = "the kernel refuses it: no process of the project sees the attempt"
_CLIENT = "the client sends nothing and names the uid and the pid in its error; a server of the project does not see it"
_COMMAND = "a command of the owner refuses it and names it on the terminal; nothing is changed"
_PROTOCOL = "the request has no valid form: its sender gets the error, and nothing is read of it"
_CHECKED = "`doctor` or `ledger verify` names it: what is stored was changed while nothing watched"
_ANSWER = "the answer is the error, and the failed step of a prediction names no value"

_BY_OUTCOME = {
    "EACCES": _KERNEL, "EPERM": _KERNEL, "none": _KERNEL, "no secret": "the arguments of processes hold no secret",
    "NOPERM": "the online store refuses the command; its own log of refusals (ACL LOG) names the user",
    "nothing received, unavailable": _CLIENT, "exit 69, nothing received": _CLIENT, "named": _CHECKED,
    "exit 20, named": _CHECKED, "status 500 corrupted": _ANSWER, "error refused": _PROTOCOL, "closed": _PROTOCOL,
    "status 503": "the connection is one too many, and not a request", "status 431": _PROTOCOL, "status 413": _PROTOCOL,
    "status 400": _PROTOCOL, "status 404": _PROTOCOL, "exit 77": _COMMAND, "exit 78": _COMMAND, "exit 10": _COMMAND,
    "exit 77 refused": _COMMAND, "exit 77, nothing": _COMMAND,
    "answered": "nothing was refused: the service answers on",
    "the log grows": "nothing was refused: the log grows on", "OSError": _KERNEL, "no key": _KERNEL,
    "nothing": "a listing of a source has plain files only: no drop is there to be refused",
    "exit 0 not_released": "nothing was refused: the version in force judged the file, as its entry says",
    "published, quarantined": "the row waits in quarantine, and the entry of its drop has the count",
}  # fmt: skip
_BY_KIND = {
    "laid-links": "root follows no link: what it lays replaces the link, or the command that it runs names it",
}
_BY_NAME = {
    "ask-supervisor-for-a-credential": "the socket has the mode 0600: the kernel refuses the connection",
    "log-in-to-mlflow-without-a-certificate": "TLS refuses the connection before a request; MLflow logs it",
    "log-in-to-the-vendor-with-another-key": "the vendor's own server refuses it: it is not a part of the platform",
    "use-a-link-in-a-rule-of-the-worker": "the confined process has no right to the file, whatever the rule names",
    "use-a-link-in-a-rule-of-the-api": "the confined process has no right to the file, whatever the rule names",
    "execute-a-note-twice": "nothing was refused: the note was executed once, and that entry stands",
    "predict-for-a-raw-identifier": "an entry could hold the identifier: the caller gets the error, without the value",
    "deliver-a-bomb-of-texts": "the verdict on the drop is in the entry of its ingest, sought by other attempts",
    "leave-a-holder-of-a-lock": "everything is down: `down` names it, and the next `up` records it (`end_process`)",
}


def explain_missing_entry(item: Attempt) -> str:
    """Return why an attempt has no entry; '' if it has one, or if nobody has said why not."""
    if item.recorded:
        return ""
    return _BY_NAME.get(item.name) or _BY_KIND.get(item.kind) or _BY_OUTCOME.get(item.refused, "")
