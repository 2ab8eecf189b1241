"""Typed decoding: values of the stated type, or an error that says where the data is wrong."""

from __future__ import annotations

import msgspec
import pytest

from magpie_ollama.decoding import Count, Misshapen, convert, decode


class Shape(msgspec.Struct):
    number: Count = 0
    share: float = 0.0
    text: str | None = None
    rest: object = None


def test_unknown_keys_are_passed_over() -> None:
    assert decode(b'{"number": 3, "share": 1, "other": []}', Shape) == Shape(number=3, share=1.0)


def test_half_a_surrogate_pair_and_nan_as_python_writes_them() -> None:
    assert decode(b'{"text": "\\ud800", "rest": NaN}', Shape) == Shape(text="\ud800")


@pytest.mark.parametrize(
    ("data", "told"),
    [
        (b'{"number": "3"}', "$.number"),
        (b'{"number": -1}', "$.number"),
        (b'{"number": 1.5}', "$.number"),
        (b'{"number": true}', "$.number"),
        (b'{"number": ' + b"9" * 5000 + b"}", "$.number"),
        (b'{"share": NaN}', "$.share"),
        (b'{"share": 1e400}', "$.share"),
        (b"[]", "object"),
        (b'{"rest": ' + b"[" * 100_000 + b"]" * 100_000 + b"}", "deep"),
        (b"\xff", "malformed"),
        (b'{"number": "\\ud800"}', "text"),
        (b'"\\ud800"', "text"),
        (b"", "truncated"),
    ],
)
def test_another_shape_is_told_with_its_place(data: bytes, told: str) -> None:
    with pytest.raises(Misshapen, match=told.replace("$", r"\$")):
        decode(data, Shape)


def test_what_a_parser_gave_is_held_to_the_shape_too() -> None:
    assert convert({"share": 2}, Shape) == Shape(share=2.0)
    with pytest.raises(Misshapen, match=r"\$\.text"):
        convert({"text": ["a"]}, Shape)


@pytest.mark.parametrize("data", [b'"\\ud800"', b'{"\\ud800": 1}', b'["\\udfff"]'])
def test_half_of_a_surrogate_pair_where_something_else_belongs(data: bytes) -> None:
    for shape in (Shape, int):
        with pytest.raises(Misshapen):
            decode(data, shape)


def test_a_number_that_no_float_can_hold_is_null() -> None:
    assert decode(b'{"a": [1e400, -1e400, 1.5]}', dict[str, list[float | None]]) == {"a": [None, None, 1.5]}
    with pytest.raises(Misshapen):
        decode(b"1e400", float)
