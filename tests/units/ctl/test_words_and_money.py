"""The pure parts of posctl: amounts, words of an order, text that is safe to show."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.contract.currencies import CURRENCIES
from agent.ctl.render.money import money
from agent.ctl.render.style import Cell, Style, clip, columns, duration, plain, table, wrap
from agent.ctl.words import read_arguments
from agent.errors import BadRequest


@pytest.mark.parametrize(
    ("minor", "currency", "shown"),
    [
        (1234567, "156", "12,345.67 CNY"),
        (5, "840", "0.05 USD"),
        (0, "978", "0.00 EUR"),
        (500, "392", "500 JPY"),
        (1500000, "704", "1,500,000 VND"),
        (12345, "414", "12.345 KWD"),
        (12345, "990", "1.2345 CLF"),
        (-250, "826", "-2.50 GBP"),
        (250, "123", "250 minor units of 123"),  # a number nobody assigned is given no guessed exponent
        (250, None, "250 minor units"),
    ],
)
def test_an_amount_has_its_currencys_own_decimals(minor: int, currency: str | None, shown: str) -> None:
    assert money(minor, currency) == shown


@given(st.integers(-(10**12), 10**12), st.sampled_from(sorted(CURRENCIES)))
def test_no_digit_of_an_amount_is_ever_lost(minor: int, currency: str) -> None:
    shown, name = money(minor, currency).split(" ")
    assert int(shown.replace(",", "").replace(".", "")) == minor
    assert name == CURRENCIES[currency][0]


def test_every_currency_is_listed_once_with_three_digits_and_three_letters() -> None:
    assert len({name for name, _decimals in CURRENCIES.values()}) == len(CURRENCIES)
    for number, (name, _decimals) in CURRENCIES.items():
        assert len(number) == 3
        assert number.isdigit()
        assert len(name) == 3
        assert name.isupper()


def test_words_of_an_order_become_its_arguments() -> None:
    words = ["device=printer-0", "level=internal", "force=true", "confirm_s=300", "version=0017", "x=", "y=a=b"]
    assert read_arguments(words) == {
        "device": "printer-0",
        "level": "internal",
        "force": True,
        "confirm_s": 300,
        "version": "0017",  # leading zeros are text
        "x": "",
        "y": "a=b",
    }


def test_an_argument_can_be_said_exactly_as_json() -> None:
    assert read_arguments(['version:="3"', 'patch:={"a":[1,null]}']) == {"version": "3", "patch": {"a": [1, None]}}


@pytest.mark.parametrize("word", ["level", "=x", "Level=1", "a b=1", "a:={", "a:=", ":=1", "a::=1"])
def test_a_word_of_another_form_is_refused(word: str) -> None:
    with pytest.raises(BadRequest):
        read_arguments([word])


def test_the_same_argument_twice_is_refused() -> None:
    with pytest.raises(BadRequest):
        read_arguments(["a=1", "a:=1"])


def test_nothing_that_steers_a_terminal_is_shown() -> None:
    assert plain("a\x1b[2Jb\x07\u202ec\nd") == "a\ufffd[2Jb\ufffd\ufffdc d"


@given(st.text())
def test_shown_text_is_one_printable_line(text: str) -> None:
    shown = plain(text)
    assert len(shown.splitlines()) <= 1
    assert "\x1b" not in shown


@given(st.text(st.characters(categories=["L", "N", "P"]), max_size=60), st.integers(2, 40))
def test_clipped_text_fits(text: str, width: int) -> None:
    assert columns(clip(text, width)) <= width


def test_wide_characters_take_two_columns() -> None:
    assert columns("打印机 ok") == 9
    assert clip("打印机缺纸", 5) == "打印…"


def test_a_table_fits_its_width_and_colours_shift_no_column() -> None:
    rows = [[Cell("printer-0"), Cell("failed", "31"), Cell("x" * 200)], [Cell("打印机"), Cell("ok"), Cell("y")]]
    dull = table(["device", "state", "detail"], rows, Style(), 2)
    bright = table(["device", "state", "detail"], rows, Style(colour=True), 2)
    assert max(columns(line) for line in dull) <= 80
    assert "\x1b[31mfailed\x1b[0m" in bright[1]
    assert [line.replace("\x1b[31m", "").replace("\x1b[0m", "").replace("\x1b[2m", "") for line in bright] == dull
    assert columns(dull[1].split("failed")[0]) == columns(dull[2].split("ok")[0])


def test_long_text_is_wrapped_even_where_it_has_no_spaces() -> None:
    assert max(columns(line) for line in wrap("纸" * 200, Style(), "    ")) <= 80
    assert max(columns(line) for line in wrap("word " * 60, Style(), "    ")) <= 80


@pytest.mark.parametrize(
    ("seconds", "shown"), [(0, "0 s"), (42.9, "42 s"), (303, "5 min 3 s"), (7800, "2 h 10 min"), (273600, "3 d 4 h")]
)
def test_a_duration_is_said_in_two_units(seconds: float, shown: str) -> None:
    assert duration(seconds) == shown
