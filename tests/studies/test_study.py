"""Tables of studies: spreads, how a reader sees a value, and the rows as they are saved."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evofool.studies import Column, Row, Spread, Table

NAN = float("nan")


@given(st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=20))
def test_a_spread_is_the_median_and_the_extremes(values: list[float]) -> None:
    ordered = sorted(values)
    middle = (ordered[(len(values) - 1) // 2] + ordered[len(values) // 2]) / 2
    assert Spread.of(values) == pytest.approx((middle, ordered[0], ordered[-1]))


def test_a_spread_leaves_out_what_is_not_a_number() -> None:
    assert Spread.of([NAN, 0.5, NAN, 0.25]) == (0.375, 0.25, 0.5)
    assert all(map(math.isnan, Spread.of([NAN, NAN])))
    assert Spread.of_each([{"a": 1.0, "b": NAN}, {"a": 3.0, "b": 2.0}]) == {"a": (2, 1, 3), "b": (2, 2, 2)}


@pytest.mark.parametrize(
    ("cell", "text"),
    [
        (0.25, "25%"),
        (0, "0%"),
        (None, ""),
        ("", ""),
        ("often", "often"),
        (NAN, "none"),
        (Spread(0.5, 0.25, 0.75), "50% (25% to 75%)"),
        (Spread(0.5, 0.5, 0.5), "50%"),
        (Spread(0.5, 0.4999, 0.5001), "50%"),
        (Spread(NAN, NAN, NAN), "none"),
    ],
)
def test_a_value_is_shown_as_a_reader_sees_it(cell, text) -> None:
    assert Column("share", "{:.0%}".format).shown(cell) == text


def test_rows_are_saved_with_the_lowest_and_the_highest_value_of_a_column_that_has_any() -> None:
    table = Table(
        {"name": Column("name"), "share": Column("share", "{:.1f}".format), "count": Column("count")},
        [
            Row({"name": "a", "share": Spread(0.2, 0.1, 0.3), "count": 4}),
            Row({"name": "b", "share": "high"}, reported="A paper"),
            Row({"name": "c", "share": 0.5}, reported="Another paper"),
            Row({"name": "d", "count": 5, "unknown": 6}, reported="A paper"),
        ],
    )
    assert table.has_ranges
    assert table.sources == ["A paper", "Another paper"]
    assert [list(record.values()) for record in table.records()] == [
        ["a", 0.2, 0.1, 0.3, 4, ""],
        ["b", "high", None, None, None, "A paper"],
        ["c", 0.5, None, None, None, "Another paper"],
        ["d", None, None, None, 5, "A paper"],
    ]
    columns = ["name", "share", "share_low", "share_high", "count", "source"]
    assert [list(record) for record in table.records()] == 4 * [columns]
    assert table.texts(table.rows[0]) == ["a", "0.2 (0.1 to 0.3)", "4"]
    assert table.texts(table.rows[0], ranges=False) == ["a", "0.2", "4"]
    assert table.texts(table.rows[2]) == ["c [2]", "0.5", ""]
    assert not Table({"name": Column("name")}, [Row({"name": "a"})]).has_ranges
