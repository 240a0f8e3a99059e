"""Decide whether a pattern says no more than the shape of a value, or can spell what it is.

A row that does not match a pattern waits in quarantine, for everybody to see: the author of a contract could ask for
one letter after the other. A shape names kinds of characters (any digit, any letter) and signs, never one digit or one
letter. The exceptions, a short prefix of letters and classes without the letters that look like digits, need digits
beside them, so that no name or word has such a shape.
"""

from __future__ import annotations

import string

MAX_LETTERS = 4
"""Letters that a pattern may spell: `WSP` of `^WSP[0-9]{9}$`."""
MIN_DIGITS = 2
"""Digits that a value must have if its pattern spells letters."""
_DIGITS, _UPPER, _LOWER = set(string.digits), set(string.ascii_uppercase), set(string.ascii_lowercase)
_ASCII = {chr(code) for code in range(128)}
_SPACE = set(" \t\n\r\f\v")
_LOOK_LIKE_DIGITS = set("BILOSZbilosz")
_QUANTIFIERS = {"*": 0, "+": 1, "?": 0}


class _NotAShapeError(Exception):
    """The rest of a sentence that begins with the pattern."""


def explain_revealing_pattern(pattern: str) -> str:
    """Return why a pattern says more than the shape of a value, or ''. pattern: as `translate_pattern` returns it."""
    reader = _PatternReader(pattern.removeprefix("^").removesuffix("$"))
    try:
        digits = reader.read_alternatives(depth=0)
    except _NotAShapeError as exc:
        return str(exc)
    if not (reader.letters or reader.is_reduced):
        return ""
    if digits < MIN_DIGITS or not (pattern.startswith("^") and pattern.endswith("$")):
        return f"spells letters, and does not ask for {MIN_DIGITS} digits between ^ and $"
    if reader.letters > MAX_LETTERS:
        return f"spells more than {MAX_LETTERS} letters"
    if reader.letters and reader.has_any_letter:
        return "spells letters beside a class of letters"
    return ""


class _PatternReader:
    """Read a pattern from left to right. letters: that it spells. is_reduced: whether a class lacks some letters.

    has_any_letter: whether a class admits letters.
    """

    def __init__(self, text: str) -> None:
        self._text = text
        self._position = 0
        self.letters = 0
        self.is_reduced = self.has_any_letter = False

    def read_alternatives(self, depth: int) -> int:
        """Read alternatives up to the end of their group. Returns the fewest digits that one of them needs."""
        fewest: list[int] = []
        digits = 0
        while True:
            character = self._next()
            if character == ")" and depth:
                return min(*fewest, digits) if fewest else digits
            if character == "" and not depth:
                return digits
            if character == "|" and depth:
                fewest.append(digits)
                digits = 0
            else:
                digits += self._read_element(character, depth)

    def _read_element(self, character: str, depth: int) -> int:
        """Read one element with its quantifier. Returns how many digits it needs."""
        if character == "(":
            if self._peek() == "?" and (self._next(), self._next()) != ("?", ":"):
                raise _NotAShapeError("has a group with an option")
            digits = self.read_alternatives(depth + 1)
        elif character == "[":
            digits = self._check_class(*self._read_class())
        elif character == ".":
            digits = self._check_class(_ASCII, reaches_beyond=True)
        elif character == "\\" and self._peek() in {"s", "S"}:
            is_space = self._next() == "s"
            digits = self._check_class(_SPACE if is_space else _ASCII - _SPACE, reaches_beyond=not is_space)
        elif character == "\\":
            digits = self._check_character(self._next(), is_escaped=True)
        elif character in set("^$|)]{}*+?") | {""}:
            raise _NotAShapeError("is not a sequence of characters, classes and groups")
        else:
            digits = self._check_character(character, is_escaped=False)
        return digits * self._read_quantifier()

    def _check_character(self, character: str, *, is_escaped: bool) -> int:
        if character in _DIGITS:
            raise _NotAShapeError("spells a digit")
        if character not in _ASCII or (is_escaped and character.isalnum()):
            raise _NotAShapeError("has a character or an escape that is not known as a sign")
        self.letters += character.isalpha()
        return 0

    def _read_class(self) -> tuple[set[str], bool]:
        """Read a class after its bracket. Returns its ASCII characters, and whether it also admits all others."""
        is_negated = self._peek() == "^" and bool(self._next())
        characters: set[str] = set()
        while self._peek() != "]":
            first = last = self._read_class_character()
            if self._peek() == "-" and self._text[self._position + 1 : self._position + 2] != "]":
                self._next()
                last = self._read_class_character()
            characters |= {chr(code) for code in range(ord(first), ord(last) + 1)}
        self._next()
        if not characters:
            raise _NotAShapeError("has an empty class")
        return (_ASCII - characters if is_negated else characters), is_negated

    def _read_class_character(self) -> str:
        character = self._next()
        # `&&`, `--` and `~~` are operators between classes.
        is_operator = character in set("&-~") and self._peek() == character
        is_escaped = character == "\\"
        if is_escaped:
            character = self._next()
        if character not in _ASCII or is_operator or (character.isalnum() if is_escaped else character == "["):
            raise _NotAShapeError("has a class that is not a list of characters and ranges")
        return character

    def _check_class(self, characters: set[str], reaches_beyond: bool) -> int:
        """Check that a class holds all digits, or none, and so with letters. Returns 1 if it holds only digits."""
        digits = characters & _DIGITS
        # The first digit of many numbers is not 0.
        is_first = self._text[: self._position] == "[1-9]"
        if digits not in (set(), _DIGITS) and not (digits == _DIGITS - {"0"} and is_first):
            raise _NotAShapeError("has a class of some digits; 1-9 may stand at the beginning")
        for letters in (_UPPER, _LOWER):
            missing = letters - characters
            if missing and missing != letters:
                if not missing <= _LOOK_LIKE_DIGITS:
                    raise _NotAShapeError("has a class of some letters")
                self.is_reduced = True
        self.has_any_letter = self.has_any_letter or bool(characters & (_UPPER | _LOWER)) or reaches_beyond
        return int(bool(digits) and digits == characters)

    def _read_quantifier(self) -> int:
        """Read the quantifier after an element, if there is one. Returns the fewest repetitions."""
        fewest = 1
        if self._peek() in _QUANTIFIERS and self._peek():
            fewest = _QUANTIFIERS[self._next()]
        elif self._peek() == "{":
            self._next()
            inside, closing, _ = self._text[self._position :].partition("}")
            self._position += len(inside) + len(closing)
            first, _, last = inside.partition(",")
            if not closing or not first.isdecimal() or not (last.isdecimal() or not last):
                raise _NotAShapeError("has a repetition that is not {n}, {n,} or {n,m}")
            fewest = int(first)
        if self._peek() in {*_QUANTIFIERS, "{"}:
            raise _NotAShapeError("repeats a repetition")
        return fewest

    def _peek(self) -> str:
        return self._text[self._position : self._position + 1]

    def _next(self) -> str:
        character = self._peek()
        self._position += len(character)
        return character
