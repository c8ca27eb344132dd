"""RFC 8785: compared with an independent implementation, and with the RFC's own examples that hold no fraction."""

from __future__ import annotations

from typing import Any

import pytest
import rfc8785
from hypothesis import given
from hypothesis import strategies as st

from agent.contract.canonical_json import MAX_SAFE_INTEGER, NotAnInteger, NotCanonical, canonical, canonical_checked

TEXT = st.text(st.characters(exclude_categories=["Cs"]))
VALUES: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers(-MAX_SAFE_INTEGER, MAX_SAFE_INTEGER) | TEXT,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXT, inner, max_size=5),
    max_leaves=20,
)


@given(VALUES)
def test_it_agrees_with_another_implementation(value: Any) -> None:
    assert canonical(value) == rfc8785.dumps(value)


def test_the_rfcs_example_of_sorting() -> None:
    names = {
        "\u20ac": "Euro Sign",
        "\r": "Carriage Return",
        "\ufb33": "Hebrew Letter Dalet With Dagesh",
        "1": "One",
        "\U0001f600": "Emoji: Grinning Face",
        "\u0080": "Control",
        "\u00f6": "Latin Small Letter O With Diaeresis",
    }
    expected = (
        '{"\\r":"Carriage Return","1":"One","\u0080":"Control","\u00f6":"Latin Small Letter O With Diaeresis",'
        '"\u20ac":"Euro Sign","\U0001f600":"Emoji: Grinning Face","\ufb33":"Hebrew Letter Dalet With Dagesh"}'
    )
    assert canonical(names) == expected.encode()


def test_the_rfcs_example_of_strings_and_literals() -> None:
    value = {"string": '\u20ac$\u000f\nA\'B"\\\\"/', "literals": [None, True, False]}
    assert canonical(value) == '{"literals":[null,true,false],"string":"€$\\u000f\\nA\'B\\"\\\\\\\\\\"/"}'.encode()


@pytest.mark.parametrize(
    "value",
    [1.5, MAX_SAFE_INTEGER + 1, -MAX_SAFE_INTEGER - 1, "\ud800", {"\udfff": 1}, {1: 2}, [NotAnInteger("1.5")], b"x"],
)
def test_what_has_no_one_form_is_refused_without_being_repeated(value: Any) -> None:
    with pytest.raises(NotCanonical) as caught:
        canonical(value)
    assert "1.5" not in str(caught.value)
    assert caught.value.__context__ is None


def test_deep_nesting_is_refused_rather_than_crashing() -> None:
    value: Any = []
    for _ in range(100_000):
        value = [value]
    with pytest.raises(NotCanonical):
        canonical(value)


def test_the_fast_way_gives_the_same_bytes_for_a_record() -> None:
    record = {
        "stan": "000731",
        "amount_minor": 1,
        "memo": "茶\u2028\x7f",
        "dcc": {"currency": "840", "amount_minor": 2},
    }
    assert canonical_checked(record) == canonical(record) == rfc8785.dumps(record)  # type: ignore[arg-type]


def test_a_number_with_a_fraction_shows_itself_to_the_guard_only() -> None:
    number = NotAnInteger("4111111111111111.0")
    assert "4111" not in f"{number!r} {number}"
    assert number.text_for_guard() == "4111111111111111.0"
