"""Find the drops that hold back the set of a source."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from wellspring.trust.ledger.index import LedgerIndex


def find_stopped_drops(index: LedgerIndex, source: str) -> dict[str, str]:
    """Return the drops (id -> contract) that hold back the set of a source.

    A stopped drop is replaced by a valid drop of its contract that landed after the alert: not by another file of the
    same batch, which is unrelated to it, and not by a drop without any admitted row.
    """
    landed = {
        land_entry.entry.subject: land_entry
        for land_entry in index.list_entries(action="land", phase="done")
        if any(ref.name.startswith(f"source:{source}/") for ref in land_entry.entry.inputs)
    }
    alert_indexes = {
        alert_entry.entry.subject: alert_entry.index for alert_entry in index.list_entries(action="alert", phase="done")
    }
    stopped: dict[str, str] = {}
    replacements: list[tuple[str, int]] = []
    for admission_entry in index.list_entries(action="admit", phase="done"):
        land_entry = landed.get(admission_entry.entry.subject)
        if land_entry is None or admission_entry.entry.facts["replay_number"] != 0:
            continue
        name = str(land_entry.entry.facts["contract"])
        if admission_entry.entry.facts["outcome"] != "pass":
            stopped[admission_entry.entry.subject] = name
        elif admission_entry.entry.count("admitted") > 0:
            replacements.append((name, land_entry.index))
    return {
        subject.removeprefix("drop:"): name
        for subject, name in stopped.items()
        if subject not in alert_indexes
        or not any(
            contract_name == name and landed_index > alert_indexes[subject]
            for contract_name, landed_index in replacements
        )
    }
