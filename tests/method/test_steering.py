"""Steering: what goes into the prompt for every steering, and that a seed decides what is drawn."""

from __future__ import annotations

import doctest
import itertools
from collections import Counter

import pytest

from magpie_ollama.errors import UsageError
from magpie_ollama.method import languages, steering
from magpie_ollama.method.languages import Exemplar
from magpie_ollama.method.steering import (
    BLOCK,
    EXEMPLARS,
    NONE,
    OPENER_SHARES,
    PARTS,
    Steered,
    default_steering,
    parse_steering,
    steer,
)

ITALIAN = languages.load("it")
OPENERS = {opener for group in ITALIAN.openers.values() for opener in group}
PLACES = {"prefix", "prefix_line"}
STEERINGS = [
    NONE,
    *("+".join(parts) for n in range(1, 5) for parts in itertools.combinations(PARTS, n) if not {*parts} >= PLACES),
]


@pytest.mark.parametrize(
    ("text", "steering"),
    [
        ("none", "none"),
        (" None ", "none"),
        ("prefix", "prefix"),
        ("SYSTEM", "system"),
        ("Auto", "auto"),
        ("opener+exemplar", "exemplar+opener"),
        ("opener + prefix + system", "prefix+system+opener"),
        ("opener+opener", "opener"),
    ],
)
def test_a_steering_has_one_name(text: str, steering: str) -> None:
    assert parse_steering(text) == steering


@pytest.mark.parametrize("steering", STEERINGS)
def test_the_name_of_a_steering_is_its_own(steering: str) -> None:
    assert parse_steering(steering) == steering


@pytest.mark.parametrize("text", ["", "+", "prefixes", "system,opener", "system+"])
def test_other_words_are_refused(text: str) -> None:
    with pytest.raises(UsageError) as caught:
        parse_steering(text)
    assert "There is no steering" in caught.value.cause
    assert "exemplar+opener" in caught.value.remedy


@pytest.mark.parametrize(("text", "alone"), [("none+system", "none"), ("auto+system", "auto")])
def test_a_steering_without_parts_stands_alone(text: str, alone: str) -> None:
    with pytest.raises(UsageError, match=f"The steering '{alone}' stands alone") as caught:
        parse_steering(text)
    assert "exemplar+opener" in caught.value.remedy


@pytest.mark.parametrize("steering", STEERINGS)
@pytest.mark.parametrize("seed", range(5))
def test_what_each_part_brings(steering: str, seed: int) -> None:
    parts = steering.split("+")
    steered = steer(steering, ITALIAN, seed)
    assert steered.steering == steering
    roles = [message["role"] for message in steered.messages]
    assert roles[:1] == (["system"] if "system" in parts or "exemplar" in parts else [])
    assert roles[1:] == (["user", "assistant"] * EXEMPLARS if "exemplar" in parts else [])
    if roles:
        assert steered.messages[0]["content"] == ITALIAN.system
    if "exemplar" in parts:
        assert set(steered.exemplars) <= set(ITALIAN.exemplars)
        contents = [message["content"] for message in steered.messages[1:]]
        assert contents == [text for exemplar in steered.exemplars for text in exemplar]
    else:
        assert steered.exemplars == ()
    assert (steered.opener in OPENERS) == ("opener" in parts)
    assert steered.prefix == ("italian:" if PLACES & set(parts) else "")


@pytest.mark.parametrize("header", ["<|im_start|>user\n", "<|end_header_id|>\n\n", "[INST] ", "[INST]"])
@pytest.mark.parametrize("steering", STEERINGS)
def test_the_prefix_stands_where_it_was_published(steering: str, header: str) -> None:
    """Romero: header and prefix on one line, and nothing between. The article: the header's line breaks behind it."""
    steered = steer(steering, ITALIAN, 3)
    bare = header.rstrip("\n")
    breaks = header[len(bare) :]
    space = " " if steered.opener else ""
    places = {"prefix": bare + "italian:" + space, "prefix_line": bare + "italian:" + (breaks or space)}
    front = next((place for part, place in places.items() if part in steering.split("+")), header)
    assert steered.prompt(header) == front + steered.opener


def test_one_prefix_has_one_place() -> None:
    with pytest.raises(UsageError, match="two places of one prefix"):
        parse_steering("prefix+prefix_line")


def test_nothing_is_added_without_steering() -> None:
    assert steer("none", ITALIAN, 1) == Steered("none")


@pytest.mark.parametrize("steering", STEERINGS)
def test_ones_own_system_message_goes_in_front_whatever_the_steering(steering: str) -> None:
    steered = steer(steering, ITALIAN, 1, system="Sei un poeta.")
    assert steered.messages[0] == {"role": "system", "content": "Sei un poeta."}
    assert [message["role"] for message in steered.messages].count("system") == 1


@pytest.mark.parametrize("steering", STEERINGS)
def test_the_seed_decides(steering: str) -> None:
    assert [steer(steering, ITALIAN, seed, exemplars=2) for seed in range(20)] == [
        steer(steering, ITALIAN, seed, exemplars=2) for seed in range(20)
    ]


def test_other_seeds_draw_others() -> None:
    drawn = {(steer("exemplar+opener", ITALIAN, seed).exemplars, steer("opener", ITALIAN, seed).opener)
             for seed in range(50)}  # fmt: skip
    assert len(drawn) > 30


def test_every_opener_and_exemplar_comes_up_and_each_kind_of_opener_has_its_share() -> None:
    steered = [steer("exemplar+opener", ITALIAN, seed) for seed in range(4000)]
    assert {one.opener for one in steered} == OPENERS
    assert {one.exemplars[0] for one in steered} == {one.exemplars[-1] for one in steered} == set(ITALIAN.exemplars)
    kind_of = {opener: kind for kind, group in ITALIAN.openers.items() for opener in group}
    kinds = Counter(kind_of[one.opener] for one in steered)
    assert kinds.keys() == OPENER_SHARES.keys()
    assert all(abs(kinds[kind] / 4000 - share) < 0.03 for kind, share in OPENER_SHARES.items())


def test_a_block_of_seeds_shares_the_beginning_of_the_prompt() -> None:
    blocks = [[steer("exemplar", ITALIAN, seed) for seed in range(start, start + BLOCK)] for start in (0, 10 * BLOCK)]
    for block in blocks:
        assert len({str(one.messages[:5]) for one in block}) == 1
        assert len({one.exemplars[-1] for one in block}) > 4
    assert blocks[0][0].exemplars[:2] != blocks[1][0].exemplars[:2]


@pytest.mark.parametrize("count", [1, 2, 8, 10, 99])
def test_exemplars_are_drawn_without_repetition(count: int) -> None:
    for seed in range(20):
        steered = steer("exemplar", ITALIAN, seed, exemplars=count)
        assert len(set(steered.exemplars)) == len(steered.exemplars) == min(count, len(ITALIAN.exemplars))
        contents = [message["content"] for message in steered.messages[1:]]
        assert contents == [text for exemplar in steered.exemplars for text in exemplar]


def test_a_pool_is_drawn_from_too() -> None:
    pool = [Exemplar(f"Domanda {n}?", f"Risposta {n}.") for n in range(10)]
    drawn = {exemplar for seed in range(200) for exemplar in steer("exemplar", ITALIAN, seed, pool=pool).exemplars}
    assert drawn == {*pool, *ITALIAN.exemplars}


def test_only_english_needs_no_steering() -> None:
    assert {code: default_steering(languages.load(code)) for code in ("en", "it", "ja")} == {
        "en": "none",
        "it": "auto",
        "ja": "auto",
    }


def test_the_documentation_holds() -> None:
    assert doctest.testmod(steering).failed == 0
