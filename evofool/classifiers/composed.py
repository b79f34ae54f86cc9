"""Texts that name classifiers: a name, a file, or a composition of them."""

import dataclasses
import os
from collections.abc import Callable
from typing import NamedTuple, get_type_hints

from evofool.classifiers.compositions import COMPOSITIONS, takes_several, usage
from evofool.classifiers.models import MODELS
from evofool.classifiers.service import is_service
from evofool.errors import UsageError, unknown_name
from evofool.expressions import (
    Call,
    Expression,
    Value,
    has_special_characters,
    option_value,
    parse,
)
from evofool.registry import Entry

_ENDINGS = (".safetensors", ".onnx", ".keras")


class Composition(NamedTuple):
    """A composition that a text names, before its classifiers are loaded, or a model with options.

    Attributes:
        entry: of the function in `COMPOSITIONS` or in `MODELS`.
        call: with the classifiers, or the file of the model, as arguments and everything else as options by
            name; those that have their defaults are left out.
    """

    entry: Entry
    call: Call


def read_classifier(text: str) -> Composition | str:
    """What a text names: a composition, or the name or the file of a classifier.

    The text of an existing file is this file, whatever characters it has, and so is an address.

    Raises:
        UsageError: it is no expression, or names no composition, or one with other options.

    Example:
        >>> str(read_classifier("smoothed(lenet-digits, 0.1, seed=0)").call)
        'smoothed(lenet-digits, sigma=0.1)'
        >>> read_classifier("nets/lenet.safetensors")
        'nets/lenet.safetensors'
    """
    if os.path.exists(text) or is_service(text) or not has_special_characters(text):
        return text
    try:
        expression = parse(text)
    except UsageError as error:
        if text.endswith(_ENDINGS) and text.partition("(")[0].strip() not in (*COMPOSITIONS, *MODELS):
            return text
        raise UsageError(f"there is no file of this name, and {error}") from error
    return _bound(expression)


def rewritten(text: str, classifier: Callable[[str], str]) -> str:
    """The canonical text of a classifier with each name and file inside it replaced.

    Args:
        text: that names a classifier.
        classifier: gives the new text of a name or a file.

    Raises:
        UsageError: `read_classifier` does not understand the text.

    Example:
        >>> rewritten("ensemble(lenet-digits, blurred(a.safetensors, 1.0))", str.upper)
        'ensemble(LENET-DIGITS, blurred(A.SAFETENSORS))'
    """
    read = read_classifier(text)
    return classifier(read) if isinstance(read, str) else str(_replaced(read, classifier))


def parts_of(composition: Composition) -> list[Composition | str]:
    """What a composition is made of."""
    return [_bound(argument) for argument in composition.call.arguments]


def _replaced(composition: Composition, classifier: Callable[[str], str]) -> Call:
    arguments = [
        classifier(part) if isinstance(part, str) else _replaced(part, classifier)
        for part in parts_of(composition)
    ]
    return dataclasses.replace(composition.call, arguments=tuple(arguments))


def _bound(expression: Expression) -> Composition | str:
    if not isinstance(expression, Call):
        return str(expression)
    known = MODELS if expression.name in MODELS else COMPOSITIONS
    entry = known.named(expression.name)
    classifiers, options = _split(expression, entry)
    if known is MODELS and isinstance(classifiers[0], Call):
        raise UsageError(f"{expression.name} is of a file, not of a classifier: {usage(entry)}")
    return Composition(entry, Call(expression.name, tuple(classifiers), options))


def _split(call: Call, entry: Entry) -> tuple[list[Expression], dict[str, Value]]:
    """The classifiers and the options of a call; options without a name are named in their order."""
    fields = {field.name: field for field in dataclasses.fields(entry.options)}
    count = len(call.arguments) if takes_several(entry) else 1
    classifiers, unnamed = list(call.arguments[:count]), call.arguments[count:]
    if not classifiers or not all(isinstance(each, Call | str) for each in classifiers):
        raise UsageError(f"{call.name} is made of classifiers: {usage(entry)}")
    if len(unnamed) > len(fields):
        raise UsageError(f"{call.name} has {len(fields)} options, not {len(unnamed)}: {usage(entry)}")
    given: dict[str, Expression] = dict(zip(fields, unnamed, strict=False))
    for name, value in call.options.items():
        if name not in fields:
            raise unknown_name(f"option of {call.name}", name, fields)
        if name in given:
            raise UsageError(f"{call.name} is given {name} twice: {usage(entry)}")
        given[name] = value
    hints = get_type_hints(entry.options)
    options = {}
    for name, field in fields.items():
        if name in given:
            value = option_value(call.name, name, given[name], hints[name])
            if value != field.default:
                options[name] = value
        elif field.default is dataclasses.MISSING:
            raise UsageError(f"{call.name} needs {name}: {usage(entry)}")
    return classifiers, options
