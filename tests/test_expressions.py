"""Nested expressions: what `str` writes, `parse` reads; every mistake is one error."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evofool.errors import UsageError
from evofool.expressions import DEEPEST, LONGEST, Call, Expression, parse, to_text

# Text as people write it, and text that looks like something else.
texts = st.text(max_size=8) | st.sampled_from(["3", "1e5", " a", "a b", "", "-.5", "x=1", "f(a)", 'a"b', "'"])
names = st.sampled_from(["a", "b c", "with-dash_1.0", "9", "é"])
numbers = st.integers() | st.floats(allow_nan=False, allow_infinity=False)
values = texts | numbers


def calls(inner: st.SearchStrategy[Expression]) -> st.SearchStrategy[Expression]:
    arguments = st.builds(
        lambda first, others: (*first, *others) if first else (),
        st.lists(inner, max_size=1),
        st.lists(inner | numbers, max_size=2),
    )
    return st.builds(Call, names, arguments, st.dictionaries(names, values, max_size=2))


@given(st.recursive(texts, calls, max_leaves=6))
def test_what_is_written_is_read_again(expression: Expression) -> None:
    assert parse(to_text(expression)) == expression


@given(st.text(alphabet="ab(),='\" 1.", max_size=30))
def test_any_text_is_an_expression_or_one_error(text: str) -> None:
    try:
        expression = parse(text)
    except UsageError:
        return
    assert parse(to_text(expression)) == expression


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("lenet-digits", "lenet-digits"),
        (" nets/my net.safetensors ", "nets/my net.safetensors"),
        ("3", "3"),
        ("f()", Call("f")),
        ("f(3, 3, x=3, y='3')", Call("f", ("3", 3), {"x": 3, "y": "3"})),
        ("f(g(3, .5), -1e3)", Call("f", (Call("g", ("3", 0.5)), -1000.0))),
        ("f(\"a, (b)=\"\"c\", 'it''s')", Call("f", ('a, (b)="c', "it's"))),
        ("fgsm(mnist, count=100)", Call("fgsm", ("mnist",), {"count": 100})),
        ("f(a, nan, inf)", Call("f", ("a", "nan", "inf"))),
    ],
)
def test_expressions_are_read(text: str, expected: Expression) -> None:
    assert parse(text) == expected


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "expected a name or a value at character 1, not the end"),
        ("f(a", "expected ',' or ')' at character 4, not the end"),
        ("f(a))", "expected the end at character 5, not ')'"),
        ("f(a,)", "expected a name or a value at character 5, not ')'"),
        ("f(,a)", "expected a name or a value at character 3, not ',a)'"),
        ("f(a=1, b)", "expected an option, as in name=value, at character 8, not 'b)'"),
        ("f(a=1, a=2)", "expected an option that is not given already at character 8"),
        ("f(a=g(b))", "expected ',' or ')' at character 6, not '(b))'"),
        ("f(g(a)=1)", "expected ',' or ')' at character 7, not '=1)'"),
        ("f('a'=1)", "expected ',' or ')' at character 6, not '=1)'"),
        ("f(a, 'b)", "expected another ' after this one at character 6"),
        ("f(a, x=1e999)", "expected a finite number at character 8, not '1e999)'"),
        ("a b = c", "'a b = c' cannot be read: expected the end at character 5, not '= c'"),
        ("(" * 10_000, f"has 10000 characters, an expression at most {LONGEST}"),
        ("f(" * 2000, f"at most {DEEPEST} calls inside one another"),
    ],
)
def test_mistakes_name_the_place_and_what_was_expected(text: str, words: str) -> None:
    with pytest.raises(UsageError, match=re.escape(words)):
        parse(text)


def test_the_deepest_expression_is_read() -> None:
    text = "f(" * DEEPEST + "a" + ")" * DEEPEST
    assert str(parse(text)) == text
