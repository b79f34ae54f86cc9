"""What the compositions share: their names, and their entries in the registry."""

import dataclasses
import functools
import inspect
from collections.abc import Callable
from dataclasses import replace
from typing import Any, ParamSpec, get_type_hints

from evofool.classifiers.classifier import Classifier
from evofool.errors import UsageError
from evofool.expressions import Call, Expression, parse, to_text
from evofool.registry import Entry

Parameters = ParamSpec("Parameters")


def composition(function: Callable[Parameters, Classifier]) -> Callable[Parameters, Classifier]:
    """A function from classifiers to a classifier that is named after what it is made of.

    The name is the call as an expression, with the options that differ from their defaults:
    `smoothed(lenet-digits, sigma=0.1)`. A classifier that is returned as it was keeps its own.

    Args:
        function: of a classifier and options, or of several classifiers (`*classifiers`) and options. The
            options are numbers or text.
    """
    signature = inspect.signature(function)

    @functools.wraps(function)
    def named(*args: Parameters.args, **kwargs: Parameters.kwargs) -> Classifier:
        made = function(*args, **kwargs)
        (_, composed), *options = signature.bind(*args, **kwargs).arguments.items()
        parts = composed if isinstance(composed, tuple) else (composed,)
        if any(made is part for part in parts):
            return made
        chosen = {name: value for name, value in options if value != signature.parameters[name].default}
        call = Call(function.__name__, tuple(_named(part) for part in parts), chosen)
        return replace(made, spec=replace(made.spec, name=str(call)))

    return named


def entry(summary: str, function: Callable[..., Classifier]) -> Entry:
    """The entry of a composition in the registry: its options are the function's, after the classifiers.

    Args:
        summary: what it is, in one line; the options are added.
        function: a composition.
    """
    hints = get_type_hints(function)
    options: list[Any] = [
        (each.name, hints[each.name], dataclasses.field(default=each.default))
        if each.default is not inspect.Parameter.empty
        else (each.name, hints[each.name])
        for each in list(inspect.signature(function).parameters.values())[1:]
    ]
    made = dataclasses.make_dataclass(f"{function.__name__}_options", options, frozen=True)
    return Entry(f"{summary}. Options: {', '.join(described(made))}", made, function)


def usage(entry: Entry) -> str:
    """How a composition is written.

    Example:
        >>> from evofool.classifiers import COMPOSITIONS
        >>> usage(COMPOSITIONS["resized"]), usage(COMPOSITIONS["ensemble"])
        ('resized(classifier, height, width)', 'ensemble(classifier, ..., vote=mean)')
    """
    first = (
        next(iter(inspect.signature(entry.build).parameters))
        if not takes_several(entry)
        else "classifier, ..."
    )
    return f"{entry.build.__name__}({', '.join([first, *described(entry.options)])})"


def takes_several(entry: Entry) -> bool:
    """Whether a composition is one of any number of classifiers."""
    first, *_ = inspect.signature(entry.build).parameters.values()
    return first.kind is inspect.Parameter.VAR_POSITIONAL


def _named(classifier: Classifier) -> Expression:
    """The name of a classifier; of a composition as the call that it is."""
    try:
        return parse(classifier.spec.name)
    except UsageError:
        return classifier.spec.name


def described(options: type) -> list[str]:
    """The options that a name may be given, with their defaults if they have any."""
    return [
        field.name
        if field.default in (dataclasses.MISSING, None)
        else f"{field.name}={to_text(field.default, number=True)}"
        for field in dataclasses.fields(options)
    ]
