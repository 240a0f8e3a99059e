"""Compare how contracts protect the values of a file, and which tokens they give them."""

from __future__ import annotations

from collections.abc import Iterable

from wellspring.data.contracts.columns import prefix_length
from wellspring.data.contracts.file_globs import have_common_name
from wellspring.records.contracts import DataContract, EgressRule

_PROTECTION_LEVELS: dict[str, int] = {"never": 5, "token": 4, "masked": 3, "year": 2, "plain": 0}
"""A masked text is less than a token: a name in it is not found."""
_PREFIX_LEVEL = 1
"""Below `year`: the first ten characters of a date are all of it."""
_SENSITIVITY_LEVELS = {
    "public": 0, "operational": 1, "internal": 1, "financial": 2, "confidential": 2, "demographic": 3, "free_text": 4,
    "clinical": 4, "contact": 5, "identifier": 6, "restricted": 6,
}  # fmt: skip


def weakened_protections(old: DataContract, new: DataContract) -> tuple[str, ...]:
    """Describe each column that a new version protects less than the old one. The result is empty for equal protection.

    A column that the old version does not declare, or reads from another path, counts as `never`. These count as
    weaker: a lower egress level, a longer prefix, a removed or lower classification, a change from or to an unranked
    classification, and another token domain.
    """
    old_columns = {column.name: column for column in old.columns}
    weakened: list[str] = []
    for new_column in new.columns:
        old_column = old_columns.get(new_column.name)
        if old_column is not None and old_column.path != new_column.path:
            # It reads another value of the file, which the old version does not declare.
            old_column = None
        old_egress: EgressRule = old_column.egress if old_column else "never"
        if is_weaker_egress(old_egress, new_column.egress):
            weakened.append(f"{new_column.name} changes its egress from {old_egress!r} to {new_column.egress!r}")
        if old_column is None:
            continue
        if old_column.classification and is_lowered_classification(
            old_column.classification, new_column.classification
        ):
            weakened.append(
                f"{new_column.name} changes its classification from {old_column.classification!r} "
                f"to {new_column.classification or None!r}"
            )
        if old_column.domain is not None and new_column.domain is not None and old_column.domain != new_column.domain:
            weakened.append(
                f"{new_column.name} changes its token domain from {old_column.domain!r} to {new_column.domain!r}"
            )
    return tuple(weakened)


def weaker_than_others(earlier: Iterable[DataContract], new: DataContract) -> tuple[str, ...]:
    """Describe each column that leaves with less protection than under an earlier contract of another name.

    Compared are the contracts of the same source, because a file could be delivered under each, and those of other
    sources for the same files (`describes_same_files`), because a source can be declared twice. Columns are compared by
    their name in the file, which the vendor chose. A column that an earlier contract does not declare is not compared.
    """
    weaker: list[str] = []
    for contract in earlier:
        if contract.name == new.name or not (contract.source == new.source or describes_same_files(contract, new)):
            continue
        columns = {column.name_in_file.casefold(): column for column in contract.columns}
        for column in new.columns:
            earlier_column = columns.get(column.name_in_file.casefold())
            if earlier_column is not None and is_weaker_egress(earlier_column.egress, column.egress):
                weaker.append(
                    f"{column.name} leaves as {column.egress!r}; {contract.name} {contract.version}, an earlier "
                    f"contract of the source {contract.source}, has {earlier_column.egress!r}"
                )
    return tuple(weaker)


def describes_same_files(earlier: DataContract, new: DataContract) -> bool:
    """Return whether two contracts can describe the same files, whatever their sources.

    A file name can match both globs, without their folders, and at least half of the columns of the new contract are
    columns of the earlier one.
    """
    names, new_names = ({column.name_in_file.casefold() for column in contract.columns} for contract in (earlier, new))
    return 2 * len(names & new_names) >= len(new_names) and have_common_name(earlier.files, new.files)


def changed_normalizations(old: DataContract, new: DataContract) -> tuple[str, ...]:
    """Describe each token column whose normalization changes in a new version: one value would get two tokens."""
    old_columns = {column.name: column for column in old.columns if column.egress == "token"}
    return tuple(
        f"{column.name} changes its normalization from {' '.join(old_columns[column.name].normalization) or 'none'!r} "
        f"to {' '.join(column.normalization) or 'none'!r}: the tokens of its published values would not be found again"
        for column in new.columns
        if column.egress == "token"
        and column.name in old_columns
        and column.domain == old_columns[column.name].domain
        and column.normalization != old_columns[column.name].normalization
    )


def is_weaker_egress(old: EgressRule, new: EgressRule) -> bool:
    """Return whether a column leaves with less protection under another rule."""
    old_length, new_length = prefix_length(old), prefix_length(new)
    if old_length is not None and new_length is not None:
        return new_length > old_length
    return _PROTECTION_LEVELS.get(new, _PREFIX_LEVEL) < _PROTECTION_LEVELS.get(old, _PREFIX_LEVEL)


def is_lowered_classification(old: str, new: str) -> bool:
    """Return whether a classification is less sensitive than another; so is every change from or to an unranked one."""
    if old == new:
        return False
    old_level, new_level = _SENSITIVITY_LEVELS.get(old), _SENSITIVITY_LEVELS.get(new)
    return old_level is None or new_level is None or new_level < old_level
