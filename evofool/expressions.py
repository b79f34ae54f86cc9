"""Nested expressions such as `smoothed(lenet-digits, sigma=0.1)`: parsed, never evaluated."""

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import NoneType
from typing import Any, Literal, NewType, get_args, get_origin

from evofool.errors import UsageError, require_choice, shown

Value = str | int | float
"""What an option may be."""

Numbers = NewType("Numbers", str)
"""An option of one number or several, with blanks between them."""

LONGEST = 4096
"""The most characters of an expression."""

DEEPEST = 32
"""The most calls inside one another."""

_KINDS = {float: "a number", int: "a whole number"}
_SPECIAL = "(),=\"'"
_INTEGER = re.compile(r"[+-]?[0-9]+")
_NUMBER = re.compile(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?")


@dataclass(frozen=True)
class Call:
    """A name with arguments and options in brackets; `str` writes it so that `parse` gives it back.

    Attributes:
        name: what is called.
        arguments: other expressions; the first is never a number.
        options: values by name, which follow the arguments.

    Example:
        >>> str(Call("resized", ("a (1).safetensors", 40), {"width": 56}))
        'resized("a (1).safetensors", 40, width=56)'
    """

    name: str
    arguments: tuple["Expression", ...] = ()
    options: Mapping[str, Value] = field(default_factory=dict)

    def __str__(self) -> str:
        arguments = [to_text(each, number=index > 0) for index, each in enumerate(self.arguments)]
        options = [f"{name}={to_text(value, number=True)}" for name, value in self.options.items()]
        return f"{self.name}({', '.join([*arguments, *options])})"


Expression = Call | Value
"""A call, a word, or a number among the arguments of a call."""


def to_text(expression: Expression, *, number: bool = False) -> str:
    """The canonical text of an expression.

    Args:
        expression: to write.
        number: whether it stands where a bare word that reads as a number is one.

    Example:
        >>> to_text("3"), to_text("3", number=True), to_text(3, number=True)
        ('3', '"3"', '3')
    """
    if not isinstance(expression, str):
        return str(expression)
    bare = expression and expression == expression.strip() and not has_special_characters(expression)
    if bare and not (number and _NUMBER.fullmatch(expression)):
        return expression
    doubled = expression.replace('"', '""')
    return f'"{doubled}"'


def has_special_characters(text: str) -> bool:
    """Whether a text has characters that a bare word may not have: brackets, comma, equals sign, quotes."""
    return any(character in _SPECIAL for character in text)


def parse(text: str) -> Expression:
    """Read an expression.

    `name(argument, ..., option=value, ...)`, where an argument is an expression and a value a word or a
    number. A word is any text without brackets, commas, equals signs and quotes; blanks around it do not
    count. Between quotes, single or double, it may have any characters; the quote itself is doubled. A
    bare word that reads as a number is one as a value and after the first argument, and text elsewhere.

    Args:
        text: at most 4,096 characters, with at most 32 calls inside one another.

    Raises:
        UsageError: it is no expression; the message says where and what was expected.

    Example:
        >>> parse("fgsm(mnist, count=100)")
        Call(name='fgsm', arguments=('mnist',), options={'count': 100})
        >>> parse(" nets/my net.safetensors ")
        'nets/my net.safetensors'
        >>> str(parse("smoothed( ensemble(a,'b, c'), 0.25 )"))
        'smoothed(ensemble(a, "b, c"), 0.25)'
    """
    if len(text) > LONGEST:
        raise UsageError(f"{shown(repr(text))} has {len(text)} characters, an expression at most {LONGEST}")
    return _Parser(text).whole()


def option_value(owner: str, name: str, value: Expression, kind: Any) -> Value:
    """The value of an option as the type that it has.

    Args:
        owner: whose option it is.
        name: of the option.
        value: as it was read.
        kind: float, int, `Numbers`, one of these or None, a choice (`Literal`), or else any text.

    Raises:
        UsageError: the value is of another type, or not one of those to choose from.

    Example:
        >>> option_value("smoothed", "sigma", 1, float)
        1.0
    """
    kinds = [each for each in get_args(kind) if each is not NoneType]
    if get_origin(kind) is not Literal and len(kinds) == 1:
        (kind,) = kinds
    if kind is float and isinstance(value, int):
        return float(value)
    if kind is Numbers:
        return _numbers(owner, name, value)
    if isinstance(value, Call) or not isinstance(value, kind if kind in _KINDS else str):
        wanted = _KINDS.get(kind, "text")
        raise UsageError(f"{name} of {owner} must be {wanted}, not {shown(to_text(value))}")
    if get_origin(kind) is Literal:
        require_choice(get_args(kind), **{name: str(value)})
    return value


def _numbers(owner: str, name: str, value: Expression) -> str:
    words = [] if isinstance(value, Call) else str(value).split()
    if not words or not all(_NUMBER.fullmatch(word) for word in words):
        raise UsageError(
            f"{name} of {owner} must be numbers with blanks between them, not {shown(to_text(value))}"
        )
    return " ".join(words)


class _Parser:
    """Reads from left to right, one character ahead."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._at = 0

    def whole(self) -> Expression:
        expression = self._expression(0, number=False)
        if self._next():
            raise self._error("the end")
        return expression

    def _expression(self, depth: int, *, number: bool) -> Expression:
        if self._next() in ("'", '"'):
            return self._quoted()
        start = self._at
        word = self._word()
        if self._next() != "(":
            return self._number(word, start) if number else word
        if depth == DEEPEST:
            raise self._error(f"at most {DEEPEST} calls inside one another")
        return self._call(word, depth + 1)

    def _call(self, name: str, depth: int) -> Call:
        arguments: list[Expression] = []
        options: dict[str, Value] = {}
        self._at += 1
        while self._next() != ")" or arguments or options:
            start = self._at
            expression = self._expression(depth, number=len(arguments) > 0 or len(options) > 0)
            if self._next() == "=":
                # The name of an option is a bare word, whatever it reads as.
                name_of_option = self._text[start : self._at].strip()
                if isinstance(expression, Call) or has_special_characters(name_of_option):
                    raise self._error("',' or ')'")
                if name_of_option in options:
                    raise self._error("an option that is not given already", start)
                self._at += 1
                options[name_of_option] = self._value()
            elif options:
                raise self._error("an option, as in name=value,", start)
            else:
                arguments.append(expression)
            if self._next() == ")":
                break
            if self._next() != ",":
                raise self._error("',' or ')'")
            self._at += 1
        self._at += 1
        return Call(name, tuple(arguments), options)

    def _value(self) -> Value:
        if self._next() in ("'", '"'):
            return self._quoted()
        start = self._at
        return self._number(self._word(), start)

    def _word(self) -> str:
        start = self._at
        while self._at < len(self._text) and self._text[self._at] not in _SPECIAL:
            self._at += 1
        if word := self._text[start : self._at].strip():
            return word
        raise self._error("a name or a value")

    def _number(self, word: str, start: int) -> Value:
        if _INTEGER.fullmatch(word):
            return int(word)
        if not _NUMBER.fullmatch(word):
            return word
        if math.isinf(value := float(word)):
            raise self._error("a finite number", start)
        return value

    def _quoted(self) -> str:
        quote, start = self._text[self._at], self._at
        self._at += 1
        pieces = []
        while True:
            end = self._text.find(quote, self._at)
            if end < 0:
                raise self._error(f"another {quote} after this one", start)
            pieces.append(self._text[self._at : end])
            self._at = end + 1
            if self._text[self._at : self._at + 1] != quote:
                return quote.join(pieces)
            self._at += 1

    def _next(self) -> str:
        """The next character that is not blank, which is where reading goes on; empty at the end."""
        while self._text[self._at : self._at + 1].isspace():
            self._at += 1
        return self._text[self._at : self._at + 1]

    def _error(self, expected: str, at: int | None = None) -> UsageError:
        at = self._at if at is None else at
        found = shown(repr(self._text[at : at + 20])) if self._text[at:].strip() else "the end"
        whole = shown(repr(self._text))
        return UsageError(f"{whole} cannot be read: expected {expected} at character {at + 1}, not {found}")
