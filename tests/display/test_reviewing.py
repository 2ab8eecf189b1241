"""What keys decide on records, without a terminal."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from magpie_ollama.corpus.decisions import Decision, Decisions
from magpie_ollama.curation.pages import opened
from magpie_ollama.display.reviewing import Review


def line(number: int, confidence: float) -> str:
    turns = [{"role": "user", "content": f"Domanda {number}?"}, {"role": "assistant", "content": f"Risposta {number}."}]
    return json.dumps({"id": f"r{number}", "messages": turns, "confidence": confidence})


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "it.jsonl"
    path.write_text("\n".join((line(1, 0.9), "", line(2, 0.2), line(3, 0.0), "{broken", line(4, 0.5))) + "\n")
    return path


@pytest.fixture
def review(path: Path) -> Iterator[Review]:
    with opened(path) as lines:
        review = Review(lines, "it.jsonl", Decisions(path))
        review.begin()
        yield review


def press(review: Review, *keys: str) -> str:
    for key in keys:
        review.press(key)
    return "\n".join(row.plain for row in review.frame(70, 14))


def test_the_words_come_first_and_the_rest_behind_a_key(review: Review) -> None:
    assert "0.9" not in press(review)
    assert "confidence 0.9" in press(review, "m")
    assert "confidence" not in press(review, "m")


def test_a_decision_goes_on_to_the_next_and_is_told(review: Review) -> None:
    assert "1 of 5  5 left" in press(review)
    assert "2 of 5  4 left" in press(review, "y")
    assert "Domanda 3?" in press(review, "d")
    assert "dropped" in press(review, "left")
    assert "All 5 are decided on" in press(review, "right", "d", "y", "y")


def test_undo_goes_back_to_what_was_decided(review: Review) -> None:
    press(review, "y", "d")
    assert "Domanda 2?" in press(review, "u")
    assert "Domanda 1?" in press(review, "u")
    assert "There is nothing to undo." in press(review, "u")
    assert "5 left" in press(review, "right")


def test_tags(review: Review) -> None:
    assert "quality good" in press(review, "t", *"quality good", "enter")
    assert "There is no tag 'colour'" in press(review, "t", *"colour=red", "enter")
    assert "A tag is a name and a value" in press(review, "t", *"quality", "enter")
    assert "tags quality good" in press(review, "m")
    press(review, ":", "5", "enter")
    assert "is no record, and takes no tag" in press(review, "t", *"quality good", "enter")


def test_an_edit_is_shown_and_can_be_edited_again(review: Review) -> None:
    press(review, "e")
    assert review.editing == "Risposta 1."
    review.edited("Meglio.\n")
    assert "Meglio." in press(review)
    assert "edited" in press(review)
    press(review, "E")
    assert review.editing == "Domanda 1?"
    review.edited(None)
    assert "Nothing was changed." in press(review)
    press(review, "e")
    assert review.editing == "Meglio."


def test_a_line_that_is_no_record_can_be_dropped_but_not_edited(review: Review, path: Path) -> None:
    assert "Line 5 is not valid JSON" in press(review, *":5", "enter")
    assert "no such text" in press(review, "e")
    press(review, "d")
    assert Decisions(path).state("line 5").verdict == "drop"


def test_it_goes_on_where_it_was_left(path: Path) -> None:
    for expected in ("Domanda 1?", "Domanda 2?", "Domanda 3?"):
        with opened(path) as lines:
            review = Review(lines, "it.jsonl", Decisions(path))
            review.begin()
            assert expected in press(review)
            press(review, "y")


def test_the_most_doubtful_first(path: Path) -> None:
    with opened(path) as lines:
        review = Review(lines, "it.jsonl", Decisions(path), by_doubt=True)
        review.begin()
        assert "Line 5" in press(review)
        shown = [press(review, "d").partition("Domanda ")[2][:1] for _ in range(4)]
        assert shown == ["2", "4", "1", "3"], "what was not measured comes last"
        assert "Domanda 4?" in press(review, *":6", "enter")


def test_what_another_decided_meanwhile_is_told(review: Review, path: Path) -> None:
    other = Decisions(path)
    other.decide(Decision("r1", "drop"))
    assert "Somebody else decided" in press(review, "y")
    assert other.state("r1").verdict == "drop"
    other.refresh()
    assert other.state("r1").verdict == "drop"
