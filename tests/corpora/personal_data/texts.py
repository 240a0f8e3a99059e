"""Texts of a business: notes of calls and claims, mails, chats, log lines, JSON, scans, notes in capitals."""

import json
from collections.abc import Callable, Sequence
from random import Random

from tests.corpora.personal_data.items import CLOSE, MIDDLE, OPEN, decompose, transform
from tests.corpora.personal_data.people import first_name, full_name

FILLERS = (
    "balance explained", "wants a copy of the letter", "asked about the denial", "appeal form mailed",
    "no answer, left vm", "pt is upset about the bill", "will call again next week", "adv of 30 day window",
    "benefits quoted", "refund pending", "copay is $40", "seen in clinic twice",
    "auth approved for 12 visits", "needs interpreter", "records requested", "dx E11.9 on the claim",
    "CPT 99213 billed", "transferred to tier 2", "verified eligibility", "waiting on the provider",
)  # fmt: skip
TOPICS = ("a denied claim", "an open balance", "a duplicate bill", "prior auth", "change of plan", "a missing refund")
SUBJECTS = ("Re: your request", "Fw: appeal", "Question about a bill", "Update of contact data", "Records")
JOINTS = (". ", "; ", ", ", "\n", " | ", " - ", " // ", ".\n", "\t")


def list_sentences(rng: Random, phrases: Sequence[str]) -> list[str]:
    """Mix phrases with filler in random order."""
    parts = [*phrases, *rng.sample(FILLERS, rng.randint(1, 3))]
    rng.shuffle(parts)
    return parts


def call_note(rng: Random, phrases: Sequence[str]) -> str:
    """Write a note of a call center."""
    head = f"{rng.randint(8, 18)}:{rng.randint(0, 59):02d} {full_name(rng)} called re {rng.choice(TOPICS)}. "
    return head + rng.choice(JOINTS).join(list_sentences(rng, phrases))


def claim_note(rng: Random, phrases: Sequence[str]) -> str:
    """Write a note on a claim, with abbreviations."""
    joint = rng.choice(JOINTS)
    return f"CLM NOTE{joint}{joint.join(list_sentences(rng, phrases))}{rng.choice(['', '.', ' -- see prior notes'])}"


def mail(rng: Random, phrases: Sequence[str]) -> str:
    """Write a mail."""
    body = ".\n".join(list_sentences(rng, phrases))
    return f"Subject: {rng.choice(SUBJECTS)}\n\nHello,\n\n{body}.\n\nThanks,\n{first_name(rng)}"


def chat(rng: Random, phrases: Sequence[str]) -> str:
    """Write a chat of an agent and a member."""
    lines = [
        f"[{rng.randint(10, 17)}:{rng.randint(10, 59)}] {rng.choice(['agent', 'member'])}: {sentence}"
        for sentence in list_sentences(rng, phrases)
    ]
    return "\n".join(lines)


def log_line(rng: Random, phrases: Sequence[str]) -> str:
    """Write a line of a log."""
    minute = f"2026-0{rng.randint(1, 9)}-1{rng.randint(0, 9)}T1{rng.randint(0, 9)}:4{rng.randint(0, 9)}"
    time = f"{minute}:07.{rng.randint(100, 999)}Z"
    return (
        f"{time} {rng.choice(['INFO', 'WARN', 'ERROR'])} intake worker={rng.randint(1, 8)} msg=({'; '.join(phrases)})"
    )


def json_snippet(rng: Random, phrases: Sequence[str]) -> str:
    """Write a JSON object with notes; line breaks and quotes are escaped, so phrases with a broken value do not fit."""
    notes = [phrase for phrase in phrases if "\n" not in phrase and '"' not in phrase]
    return json.dumps({"id": rng.randint(1, 9999), "ok": rng.random() < 0.5, "notes": notes}, ensure_ascii=False)


def scan(rng: Random, phrases: Sequence[str]) -> str:
    """Write what character recognition makes of a form: ruled lines, runs of blanks, stray dots."""
    lines = []
    for sentence in list_sentences(rng, phrases):
        noise = rng.choice(["", "| ", "  ", ". . ", "_ ", "~ "])
        lines.append(f"{noise}{sentence}{rng.choice(['', '   |', ' .', '  '])}")
    return rng.choice(["\n", "\r\n", "    "]).join(lines)


def capitals(rng: Random, phrases: Sequence[str]) -> str:
    """Write a note in capitals."""
    return transform(call_note(rng, phrases), str.upper)


def decomposed_note(rng: Random, phrases: Sequence[str]) -> str:
    """Write a note in NFD."""
    return transform(call_note(rng, phrases), decompose)


def tag(rng: Random, phrases: Sequence[str]) -> str:
    """Write phrases in the elements of a document, without blanks around them."""
    return "".join(f"<{name}>{phrase}</{name}>" for phrase, name in zip(phrases, "abcdefgh", strict=False))


REGISTERS: dict[str, Callable[[Random, Sequence[str]], str]] = {
    "call_note": call_note,
    "claim_note": claim_note,
    "mail": mail,
    "chat": chat,
    "log_line": log_line,
    "json": json_snippet,
    "scan": scan,
    "capitals": capitals,
    "nfd": decomposed_note,
    "tag": tag,
}
FRAMES = (
    "{}",
    "{}.",
    "{} is on file",
    "{}, please update",
    "Note: {}",
    "({})",
    "[{}]",
    "\u201c{}\u201d",
    "'{}'",
    "{}; {filler}",
    "{filler}, {}",
    "{filler}.\n{}\n{filler}",
    "{filler} -- {} -- {filler}",
    "***{}***",
    "{}!",
    "{}?",
    "\t{}\t",
    "{}\n",
    "{filler}|{}|{filler}",
    "{{{}}}",
)
"""What stands around one phrase; each spelling is tried in some of them."""


def framed(rng: Random, phrase: str, frame: str) -> str:
    """Put a frame around a phrase."""
    return frame.format(phrase, filler=rng.choice(FILLERS))


def value_alone(phrase: str) -> str:
    """Return a phrase of one label without the words in front of its first value and behind its last."""
    return phrase[phrase.index(OPEN) : phrase.rindex(CLOSE) + 1]


def count_labels(phrase: str) -> int:
    """Count the labels of a phrase."""
    return phrase.count(MIDDLE)
