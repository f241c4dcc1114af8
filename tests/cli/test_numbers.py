"""Numbers as all commands read them."""

import argparse
import math

import pytest

from resilient_sse.cli.numbers import above_zero, count, digits, host_and_port, number, seconds_or_none


@pytest.mark.parametrize(
    "text, expected",
    [
        ("0", 0),
        ("007", 7),
        ("9" * 18, 10**18 - 1),
        ("9" * 19, None),  # of very many digits, int() makes an error of its own
        ("", None),
        ("-1", None),
        ("1.0", None),
        ("1_0", None),
        ("\u0663", None),
    ],
)
def test_digits(text: str, expected: int | None):
    """Whole numbers are ASCII digits and nothing else, and not too many."""
    assert digits(text) == expected


@pytest.mark.parametrize(
    "text, expected", [("2", 2), ("-0.5", -0.5), ("1e3", 1000), ("x", None), ("inf", None), ("1e999", None)]
)
def test_number(text: str, expected: float | None):
    """What is no finite number passes no comparison."""
    value = number(text)
    assert math.isnan(value) if expected is None else value == expected


@pytest.mark.parametrize(
    "text, expected",
    [
        ("127.0.0.1:8000", ("127.0.0.1", 8000)),
        ("[::1]:0", ("::1", 0)),
        ("host:65535", ("host", 65_535)),
        ("host:65536", None),
        ("host:", None),
        (":80", None),
        ("80", None),
        ("host:+80", None),
    ],
)
def test_host_and_port(text: str, expected: tuple[str, int] | None):
    """An address has a host and a port that exists; IPv6 needs brackets, which are taken off."""
    assert host_and_port(text) == expected


def test_what_is_counted_and_measured():
    """Counts and measures are above 0; a limit may be switched off by a word."""
    assert (count("3"), above_zero("0.5"), seconds_or_none("2"), seconds_or_none("none")) == (3, 0.5, 2, None)
    for read in (count, above_zero, seconds_or_none):
        for text in ("0", "-1", "x", "nan", "inf", "None"):
            with pytest.raises(argparse.ArgumentTypeError, match=f"{text!r} is not a .*number.* above 0"):
                read(text)
