from __future__ import annotations

import json
from dataclasses import asdict

import jsonlines
import pytest
from corpus.support import record
from hypothesis import example, given
from hypothesis import strategies as st

from magpie_ollama.corpus import lines

# Every code point, surrogates and line separators of all kinds among them.
any_text = st.text(st.characters())


@given(any_text)
@example("\ud83d\ude00 and \ude00")
def test_any_text_is_one_line_of_utf8(text: str) -> None:
    line = lines.encode({"text": text})

    assert line.endswith(b"\n")
    assert line.count(b"\n") == 1
    assert json.loads(line.decode("utf-8")) == {"text": lines.whole_text(text)}


def test_lines_are_compact_and_readable() -> None:
    assert lines.encode({"a": "è 你", "b": [1, 2]}) == '{"a":"è 你","b":[1,2]}\n'.encode()


@pytest.mark.parametrize(
    ("text", "whole"),
    [
        ("plain 😀", "plain 😀"),
        ("\ud83d\ude00", "😀"),
        ("a\ud83d!", "a\ufffd!"),
        ("\ude00\ud83d", "\ufffd\ufffd"),
    ],
)
def test_halves_of_surrogate_pairs(text: str, whole: str) -> None:
    assert lines.whole_text(text) == whole


def test_nan_never_gets_into_a_corpus() -> None:
    with pytest.raises(ValueError, match="not JSON compliant"):
        lines.encode({"confidence": float("nan")})


def test_half_a_surrogate_pair_is_written_quickly_as_utf8_can_hold_it() -> None:
    assert lines.encode_quickly({"a": "x\ud800", "b": "è"}) == '{"a":"x\ufffd","b":"è"}'.encode()


def test_a_value_more_leaves_the_others_what_they_are() -> None:
    line = b'{"id": 1180591620717411303425, "a": [NaN, -Infinity, 0.5], "tags": null, "b": "\xc3\xa8"}'
    expected = '{"id":1180591620717411303425,"a":[NaN,-Infinity,0.5],"tags":{"x":1},"b":"è"}'.encode()
    assert lines.with_value(line, "tags", {"x": 1}) == expected


def test_a_number_beyond_the_floats_is_written_as_null() -> None:
    assert lines.with_value(b'{"a": 1e400, "b": -1e400}', "tags", {}) == b'{"a":null,"b":null,"tags":{}}'


def test_a_line_that_orjson_reads_deeper_than_python_gets_its_value() -> None:
    line = b'{"a":' + b"[" * 1000 + b"]" * 1000 + b"}"
    assert lines.with_value(line, "tags", {"x": 1}) == line[:-1] + b',"tags":{"x":1}}'


def test_values_are_those_of_the_record() -> None:
    one = record()

    assert lines.values(one) == asdict(one)
    assert list(lines.values(one)) == list(asdict(one)), "the same order of keys in every line"


@pytest.mark.parametrize("bad", [b"{", b'{"a": "\xff"}', b"[" * 100_000])
def test_a_bad_line_is_told_by_its_number(bad: bytes) -> None:
    with pytest.raises(jsonlines.InvalidLineError) as caught:
        list(lines.reader([b'{"a": 1}\n', b"\n", bad + b"\n"]).iter(skip_empty=True))

    assert caught.value.lineno == 3


def test_a_list_of_turns_gets_a_value_beside_them() -> None:
    turns = [{"role": "user", "content": "Chi?"}]
    assert lines.parse(lines.with_value(json.dumps(turns).encode(), "tags", {"a": 1})) == {
        "messages": turns,
        "tags": {"a": 1},
    }
