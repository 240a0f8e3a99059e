"""Check digits of identifiers: of one text, and of a whole column of numbers at once."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Protocol, cast

if TYPE_CHECKING:
    import polars as pl


class Checksum(Protocol):
    """Decides whether the check digits of a value are right."""

    def is_valid(self, value: str) -> bool:
        """Check one value; separators in it are ignored."""
        ...

    def check_numbers(self, numbers: pl.Series) -> pl.Series:
        """Check texts that consist of 1 to 19 ASCII digits."""
        ...


def _luhn_sum(digits: str) -> int:
    numbers = [int(character) for character in digits]
    return sum(numbers[-1::-2]) + sum(number * 2 - 9 * (number > 4) for number in numbers[-2::-2])


class LuhnChecksum:
    """The Luhn check digit (ISO/IEC 7812-1). prefix: digits that precede each number in the calculation."""

    def __init__(self, prefix: str = "", *, prefix_length: int = 0) -> None:
        digits = prefix + "0" * prefix_length
        self._prefix_sum = _luhn_sum(digits)

    def is_valid(self, value: str) -> bool:
        digits = "".join(re.findall("[0-9]", value))
        return (self._prefix_sum + _luhn_sum(digits)) % 10 == 0

    def check_numbers(self, numbers: pl.Series) -> pl.Series:
        import polars as pl

        values = numbers.cast(pl.UInt64)
        total = pl.repeat(self._prefix_sum, len(values), dtype=pl.UInt64, eager=True)
        longest = cast("int | None", numbers.str.len_bytes().max())
        for position in range(longest or 0):
            digit = values // 10**position % 10
            total = total + (digit if position % 2 == 0 else digit * 2 - 9 * (digit > 4).cast(pl.UInt64))
        return total % 10 == 0


class IbanChecksum:
    """The check digits of an IBAN (ISO 13616): remainder 1 modulo 97. Text behind the number is ignored."""

    def is_valid(self, value: str) -> bool:
        number = "".join(character for character in value.upper() if character.isalnum())
        number = number[: _IBAN_LENGTHS.get(number[:2], len(number))]
        if not number.isascii() or len(number) != _IBAN_LENGTHS.get(number[:2], len(number)):
            return False
        return int("".join(str(int(character, 36)) for character in number[4:] + number[:4])) % 97 == 1

    def check_numbers(self, numbers: pl.Series) -> pl.Series:
        # An IBAN begins with letters.
        import polars as pl

        return pl.repeat(False, len(numbers), dtype=pl.Boolean, eager=True)


class Modulo97Checksum:
    """Two check digits at the end of a number: remainder 1 modulo 97 (ISO/IEC 7064, MOD 97-10)."""

    def is_valid(self, value: str) -> bool:
        digits = "".join(re.findall("[0-9]", value))
        return int(digits or "0") % 97 == 1

    def check_numbers(self, numbers: pl.Series) -> pl.Series:
        import polars as pl

        return numbers.cast(pl.UInt64) % 97 == 1


CHECKSUMS: dict[str, Checksum] = {"luhn": LuhnChecksum(), "mod97": Modulo97Checksum()}
"""The checksums that a project's own detector can name."""

_IBAN_LENGTHS = {
    "AD": 24, "AE": 23, "AT": 20, "BE": 16, "BG": 22, "BR": 29, "CH": 21, "CY": 28, "CZ": 24, "DE": 22, "DK": 18,
    "EE": 20, "ES": 24, "FI": 18, "FR": 27, "GB": 22, "GI": 23, "GR": 27, "HR": 21, "HU": 28, "IE": 22, "IL": 23,
    "IS": 26, "IT": 27, "LI": 21, "LT": 20, "LU": 20, "LV": 21, "MC": 27, "MT": 31, "NL": 18, "NO": 15, "PL": 28,
    "PT": 25, "RO": 24, "SA": 24, "SE": 24, "SI": 19, "SK": 24, "SM": 27, "TR": 26,
}  # fmt: skip
