"""Describe what a new version of a contract changes, column by column, and what each change means.

compatible: rows of both versions are read together, and nothing is protected or checked less. weakened: a column leaves
with less protection, or a check lets more through. breaking: rows that landed would not be what the new version says of
them; it needs another contract.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from wellspring.data.contracts.protection import is_lowered_classification, is_weaker_egress
from wellspring.records.contracts import ContractColumn, ContractEffect, DataContract

_EFFECTS: tuple[ContractEffect, ...] = ("compatible", "weakened", "breaking")
_DECIMAL = re.compile(r"decimal128\(([0-9]+), ([0-9]+)\)")


class ContractDifference(NamedTuple):
    """One change. column: its name, or '' for the contract. code: of a refusal. text: begins with what changes."""

    column: str
    effect: ContractEffect
    text: str
    code: str = ""


def compare_contracts(old: DataContract, new: DataContract) -> tuple[ContractDifference, ...]:
    """Describe every change from one version of a contract to another, columns first, in the order of the new one."""
    old_columns = {column.name: column for column in old.columns}
    new_columns = {column.name: column for column in new.columns}
    changes = list(_describe_removed(old, new))
    for name, column in new_columns.items():
        earlier = old_columns.get(name)
        if earlier is None:
            changes += _describe_added(column)
        else:
            is_key = name in old.key or name in new.key
            changes += _sort_by_effect(_compare_columns(earlier, column, is_key=is_key))
    changes += _sort_by_effect(_compare_terms(old, new))
    return tuple(changes)


def mark_added_columns(old: DataContract | None, new: DataContract) -> DataContract:
    """Mark the columns of a version that the version before does not have; a file of an earlier layout lacks them."""
    if old is None:
        return new
    added = {column.name: column.added_in for column in old.columns}
    columns = tuple(
        column.model_copy(
            update={"added_in": added[column.name] if column.name in added else _name_version(new, column)}
        )
        for column in new.columns
    )
    return new.model_copy(update={"columns": columns})


def worst_effect(changes: Iterable[ContractDifference]) -> ContractEffect:
    """Return the effect of changes together: the gravest of them, `compatible` without any."""
    return _EFFECTS[max((_EFFECTS.index(change.effect) for change in changes), default=0)]


def _name_version(contract: DataContract, column: ContractColumn) -> str | None:
    # A file without a required column has no row that could be published.
    return None if column.required else contract.version


def _sort_by_effect(changes: Iterable[ContractDifference]) -> list[ContractDifference]:
    return sorted(changes, key=lambda change: -_EFFECTS.index(change.effect))


# --- columns that come and go -----------------------------------------------------------------------------------------


def _describe_removed(old: DataContract, new: DataContract) -> Iterator[ContractDifference]:
    """Describe the columns that the new version lacks: removed, renamed, or split into several."""
    names = {column.name for column in new.columns}
    added = [column for column in new.columns if column.name not in {column.name for column in old.columns}]
    for column in old.columns:
        if column.name in names:
            continue
        parts = [item.name for item in added if _is_part_of(item, column)]
        renamed = [item.name for item in added if _is_renamed(column, item)]
        if len(parts) > 1:
            text = f"{column.name} is split into {', '.join(parts)}"
        elif renamed:
            text = f"{column.name} is renamed to {renamed[0]}"
        else:
            text = f"{column.name} is removed"
        yield ContractDifference(column.name, "breaking", text, "removed_column")


def _is_part_of(added: ContractColumn, removed: ContractColumn) -> bool:
    name, whole = added.name.casefold(), removed.name.casefold()
    in_file = added.name_in_file.startswith(f"{removed.name_in_file}.")
    return in_file or name.startswith(f"{whole}_") or name.endswith(f"_{whole}")


def _is_renamed(removed: ContractColumn, added: ContractColumn) -> bool:
    """Return whether an added column reads what a removed one read, or is declared as it was."""
    declared = {"name", "path", "title", "description", "added_in"}
    same_declaration = removed.model_dump(exclude=declared) == added.model_dump(exclude=declared)
    return added.name_in_file.casefold() == removed.name_in_file.casefold() or same_declaration


def _describe_added(column: ContractColumn) -> Iterator[ContractDifference]:
    leaves = "does not leave" if column.egress == "never" else f"leaves as {column.egress}"
    described = f"{column.name} is new: {column.type}, {column.classification or 'unclassified'}, {leaves}"
    if column.required and column.egress != "never":
        text = f"{described}, required; rows that landed do not have it"
        yield ContractDifference(column.name, "breaking", text, "required_column")
    else:
        yield ContractDifference(column.name, "compatible", described)


# --- one column -------------------------------------------------------------------------------------------------------


def _compare_columns(old: ContractColumn, new: ContractColumn, *, is_key: bool) -> Iterator[ContractDifference]:
    def change(effect: ContractEffect, text: str, code: str = "") -> ContractDifference:
        return ContractDifference(new.name, effect, f"{new.name} {text}", code)

    if old.name_in_file != new.name_in_file:
        yield change("breaking", f"reads {new.name_in_file} of the file, not {old.name_in_file}", "other_value")
    lands = old.egress != "never" and new.egress != "never"
    if old.egress != new.egress:
        yield from _compare_egress(old, new, is_key=is_key)
    if old.classification and is_lowered_classification(old.classification, new.classification):
        words = f"changes its classification from {old.classification!r} to {new.classification or None!r}"
        yield change("weakened", words, "weakened_protection")
    elif old.classification != new.classification:
        yield change("compatible", f"has the classification {new.classification!r}")
    if old.domain is not None and new.domain is not None and old.domain != new.domain:
        words = f"changes its token domain from {old.domain!r} to {new.domain!r}"
        yield change("breaking" if is_key else "weakened", words, "weakened_protection")
    if old.type != new.type:
        yield from _compare_types(old, new, lands=lands)
    if old.normalization != new.normalization:
        first, second = (" ".join(column.normalization) or "none" for column in (old, new))
        words = f"changes its normalization from {first!r} to {second!r}"
        if lands:
            words += ": values that landed would not be found again"
        yield change("breaking" if lands else "weakened", words, "normalization_changed")
    if old.timezone != new.timezone:
        words = f"reads times without a zone in {new.timezone or 'UTC'}, not in {old.timezone or 'UTC'}"
        yield change("breaking" if lands else "weakened", words, "normalization_changed")
    for name, effect, words in _compare_checks(old, new, lands=lands):
        yield change(effect, words, name)
    if (old.title, old.description) != (new.title, new.description):
        yield change("compatible", "has another title or description")


def _compare_egress(old: ContractColumn, new: ContractColumn, *, is_key: bool) -> Iterator[ContractDifference]:
    words = f"{new.name} changes its egress from {old.egress!r} to {new.egress!r}"
    if is_weaker_egress(old.egress, new.egress):
        yield ContractDifference(new.name, "weakened", words, "weakened_protection")
    elif new.egress == "never":
        yield ContractDifference(new.name, "compatible", f"{words}: later rows do not have it; landed rows keep it")
    else:
        yield ContractDifference(new.name, "compatible", f"{words}: landed rows keep what they have")
    if "never" in (old.egress, new.egress):
        return
    if is_key:
        text = f"{new.name} is part of the key: rows that landed as {old.egress!r} would not be found again"
        yield ContractDifference(new.name, "breaking", text, "changed_key")
    elif (old.egress == "year") != (new.egress == "year"):
        text = f"{new.name} would land with another type than its landed rows have"
        yield ContractDifference(new.name, "breaking", text, "changed_type")


def _compare_types(old: ContractColumn, new: ContractColumn, *, lands: bool) -> Iterator[ContractDifference]:
    first, second = _DECIMAL.fullmatch(old.type), _DECIMAL.fullmatch(new.type)
    if first and second and first[2] == second[2]:
        is_wider = int(second[1]) > int(first[1])
        if is_wider:
            yield ContractDifference(new.name, "compatible", f"{new.name} is wider: from {old.type} to {new.type}")
            return
        text = f"{new.name} is narrower: from {old.type} to {new.type}"
    else:
        text = f"{new.name} changes its type from {old.type} to {new.type}"
    # The type of a column that does not land is a check of its values.
    yield ContractDifference(new.name, "breaking" if lands else "weakened", text, "changed_type")


def _compare_checks(
    old: ContractColumn, new: ContractColumn, *, lands: bool
) -> Iterator[tuple[str, ContractEffect, str]]:
    """Yield code, effect and words of each changed check: a first check is compatible, one that narrows is not."""
    narrower: ContractEffect = "breaking" if lands else "compatible"
    if new.required and not old.required:
        yield "required_column", narrower, "is required; rows that landed may lack it"
    elif old.required and not new.required:
        yield "weakened_check", "weakened", "is no longer required"
    for name, had, has in (
        ("unique", old.unique, new.unique),
        ("a zone in each time", old.zone_required, new.zone_required),
    ):
        if has and not had:
            yield "", "compatible", f"has a new check: {name}"
        elif had and not has:
            yield "weakened_check", "weakened", f"loses its check: {name}"
    yield from _compare_values(old.enum, new.enum, narrower)
    if old.pattern != new.pattern:
        if old.pattern is None:
            yield "", "compatible", f"has a new check: the pattern {new.pattern}"
        elif new.pattern is None:
            yield "weakened_check", "weakened", f"loses its check: the pattern {old.pattern}"
        else:
            words = f"has the pattern {new.pattern} instead of {old.pattern}, which may let more through"
            yield "weakened_check", "weakened", words
    yield from _compare_limit("minimum", old.minimum, new.minimum, narrower, raises=True)
    yield from _compare_limit("maximum", old.maximum, new.maximum, narrower, raises=False)


def _compare_values(
    old: tuple[str, ...], new: tuple[str, ...], narrower: ContractEffect
) -> Iterator[tuple[str, ContractEffect, str]]:
    if old and not new:
        yield "weakened_check", "weakened", "loses its check: the list of valid values"
    elif new and not old:
        yield "", "compatible", f"has a new check: the valid values {', '.join(new)}"
    else:
        if added := [value for value in new if value not in old]:
            yield "", "compatible", f"has new valid values: {', '.join(added)}"
        if removed := [value for value in old if value not in new]:
            yield (
                "narrowed",
                narrower,
                f"has fewer valid values, without {', '.join(removed)}; landed rows may have them",
            )


def _compare_limit(
    name: str,
    old: float | str | None,
    new: float | str | None,
    narrower: ContractEffect,
    *,
    raises: bool,
) -> Iterator[tuple[str, ContractEffect, str]]:
    """Compare a minimum (raises) or a maximum: numbers, or ISO dates and instants as text."""
    if old == new:
        return
    if old is None:
        yield "", "compatible", f"has a new check: the {name} {new}"
    elif new is None:
        yield "weakened_check", "weakened", f"loses its check: the {name} {old}"
    elif isinstance(old, str) == isinstance(new, str):
        # Otherwise the type of the column changed, which is a change of its own.
        is_higher = str(new) > str(old) if isinstance(new, str) else float(new) > float(old)
        words = f"has the {name} {new} instead of {old}"
        if is_higher == raises:
            yield "narrowed", narrower, f"{words}; landed rows may be outside"
        else:
            yield "weakened_check", "weakened", words


# --- the contract -----------------------------------------------------------------------------------------------------


def _compare_terms(old: DataContract, new: DataContract) -> Iterator[ContractDifference]:
    """Compare what belongs to no column."""

    def change(effect: ContractEffect, text: str, code: str = "") -> ContractDifference:
        return ContractDifference("", effect, text, code)

    if old.key != new.key:
        text = f"the key is ({', '.join(new.key)}), not ({', '.join(old.key)}): earlier rows would not be found again"
        yield change("breaking", text, "changed_key")
    if old.ordering_column != new.ordering_column:
        yield change("breaking", "the versions of a row are ordered in another way (recorded_at)", "changed_key")
    old_rules, new_rules = ({rule.name: rule.sql for rule in contract.rules} for contract in (old, new))
    for name in sorted(old_rules.keys() | new_rules.keys()):
        if name not in old_rules:
            yield change("compatible", f"there is a new rule: {name}")
        elif name not in new_rules:
            yield change("weakened", f"the rule {name} is removed", "weakened_check")
        elif old_rules[name] != new_rules[name]:
            yield change("weakened", f"the rule {name} is another one, which may let more through", "weakened_check")
    if old.same_key != new.same_key:
        text = f"a row with the key of an earlier row {new.same_key} it, instead of {old.same_key}"
        yield change("weakened" if new.same_key == "corrects" else "compatible", text, "weakened_check")
    old_share, new_share = (
        1.0 if contract.max_quarantined_share is None else contract.max_quarantined_share for contract in (old, new)
    )
    if old_share != new_share:
        text = f"a drop may have {new_share:.0%} of its rows in quarantine, instead of {old_share:.0%}"
        yield change("weakened" if new_share > old_share else "compatible", text, "weakened_check")
    if old.retention_days != new.retention_days:
        text = f"originals stay {new.retention_days} days, instead of {old.retention_days}"
        is_longer = new.retention_days > old.retention_days
        yield change("weakened" if is_longer else "compatible", text, "weakened_protection")
    if old.person != new.person:
        text = f"new tokens of {_show(new.person)} leave a sealed row in the vault, instead of {_show(old.person)}"
        yield change("compatible", text)
    for name in ("source", "files", "format", "format_settings", "set", "freshness_hours", "owner", "contact"):
        first, second = getattr(old, name), getattr(new, name)
        if first != second:
            yield change("compatible", f"{name.replace('_', ' ')}: {_show(second)} instead of {_show(first)}")


def _show(value: object) -> str:
    return "none" if value is None or value == {} else str(value)
