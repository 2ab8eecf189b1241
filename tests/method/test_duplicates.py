"""Duplicates: exact but for what does not matter, near, and not near."""

from __future__ import annotations

import itertools
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from magpie_ollama.method import duplicates, languages
from magpie_ollama.method.duplicates import BATCH, RECENT, DuplicateIndex, normalise, similarity

LONG = (
    "I am organising a small exhibition of old bicycles in the village hall next spring. Write a friendly letter to "
    "the members of our club, ask them which bicycles they could lend us for two weeks, and explain that everything "
    "will be insured and that nothing may be ridden."
)


def index(*texts: str) -> DuplicateIndex:
    seen = DuplicateIndex()
    seen.add_many(texts)
    return seen


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("What is the capital of France?", "what is the  capital of france"),
        ("What is the capital of France?", "“What is the capital of France?!”\n"),
        ("Come si fa il pane?", "COME SI FA IL PANE"),
        ("Was heißt „Straße“?", "WAS HEISST STRASSE"),
        ("Où est le café ?", "Où est le cafe\u0301 ?"),
        ("法国的首都是哪里？", "法国的首都是哪里"),
        ("Pythonのバージョンは?", "Ｐｙｔｈｏｎのバージョンは？"),
        ("ประเทศไทยอยู่ที่ไหน?", "ประเทศไทยอยู่ที่ไหน"),
        ("दिन कितने बजे शुरू होता है?", "दिन कितने बजे शुरू होता है ।"),
        ("How are you?", "How are you!"),
        ("你好，最近怎么样？", "你好～最近怎么样～"),
        ("Is a ≠ b?", "Is a != b?"),
        ("كَيْفَ أَتَعَلَّمُ البَرْمَجَةَ؟", "كيف أتعلم البرمجة؟"),
        ("كـيـف أتعلم البرمجة؟", "كيف أتعلم البرمجة؟"),
        ("ﻛﻴﻒ ﺃﺗﻌﻠﻢ البرمجة؟", "كيف أتعلم البرمجة؟"),
        ("كيف ا\u0654تعلم البرمجة؟", "كيف أتعلم البرمجة؟"),
        ("אֵיךְ לוֹמְדִים עִבְרִית?", "איך לומדים עברית?"),
        ("שּׁלום לכולם", "שלום לכולם"),
        ("چگونه می\u200cتوانم کتاب بخوانم؟", "چگونه مي توانم كتاب بخوانم؟"),
        ("خانهٔ من کجاست؟", "خانه من کجاست؟"),
        ("हिन्\u200dदी क्या है?", "हिन्दी क्या है?"),
        ("Где стоит за\u0301мок?", "Где стоит замок?"),
        ("Was ist Schiff\u00adfahrt?", "Was ist Schifffahrt?"),
    ],
)
def test_exact_but_for_case_punctuation_and_spaces(first: str, second: str) -> None:
    assert index(first).find(second) == "duplicate"


@pytest.mark.parametrize(
    ("first", "second"),
    [
        (LONG, LONG.replace("small", "little")),
        (LONG, LONG.replace("in the village hall ", "")),
        (LONG, "Hello! " + LONG),
        ("请给我介绍一下机器学习的基本概念。", "请介绍一下机器学习的基本概念。"),
        ("请帮我写一封求职信。", "请帮我写一封求职信吧。"),
        ("Pythonでファイルを読み込む方法を教えてください。", "Pythonでファイルを読み込む方法を教えて。"),
        ("파이썬으로 파일을 읽는 방법을 알려 주세요.", "파이썬으로 파일 읽는 방법을 알려주세요."),
        (
            "北京で三日間過ごす予定です。歴史が好きな家族のために、無理のない観光の計画を立て、おすすめの食べ物も教えてください。",
            "北京で二日間過ごす予定です。歴史が好きな家族のために、無理のない観光の計画を立て、おすすめの食べ物も教えてください。",
        ),
        (
            "請幫我寫一封信給房東，說明廚房的水龍頭已經漏水兩個星期了，希望他能在這個週末之前派人來修理。",
            "請幫我寫一封信給房東，說明浴室的水龍頭已經漏水兩個星期了，希望他能在這個週末之前派人來修理。",
        ),
        (
            "ช่วยเขียนจดหมายถึงเพื่อนบ้านเพื่อขอให้ลดเสียงเพลงในตอนกลางคืนเพราะลูกของฉันต้องตื่นไปโรงเรียนแต่เช้า",
            "ช่วยเขียนจดหมายถึงเพื่อนบ้านเพื่อขอให้ลดเสียงดนตรีในตอนกลางคืนเพราะลูกของฉันต้องตื่นไปโรงเรียนแต่เช้า",
        ),
    ],
)
def test_near(first: str, second: str) -> None:
    assert index(first).find(second) == "near_duplicate"
    assert index(second).find(first) == "near_duplicate"


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("What is the capital of France?", "What is the capital of Spain?"),
        ("Qual è la capitale della Francia?", "Qual è la capitale della Spagna?"),
        ("法国的首都是哪里？", "英国的首都是哪里？"),
        ("什么是机器学习？", "什么是深度学习？"),
        ("如何学习弹钢琴？请给出三个建议。", "如何学习弹吉他？请给出三个建议。"),
        ("ピアノの弾き方を教えてください。", "ギターの弾き方を教えてください。"),
        ("프랑스의 수도는 어디인가요?", "스페인의 수도는 어디인가요?"),
        ("كتب", "كاتب"),
        ("猫は一日に何時間寝ますか？", "犬は一日に何時間寝ますか？"),
        ("ประเทศไทยอยู่ที่ไหน", "ประเทศลาวอยู่ที่ไหน"),
        ("दिन का अर्थ क्या है?", "दान का अर्थ क्या है?"),
        ("What is 2 + 3?", "What is 2 - 3?"),
        ("Solve x^2 = 4", "Solve x^2 = 9"),
        ("12 × 4", "12 ÷ 4"),
        ("12 × 4", "12 − 4"),
        ("12 × 4", "12 4"),
        ("3 ≤ 4?", "3 ≥ 4?"),
        ("A ∪ B", "A ∩ B"),
        ("5 €", "5 $"),
        ("5 €", "5"),
        ("What is C#?", "What is C?"),
        ("What is C#?", "What is C++?"),
        ("a && b", "a || b"),
        ("if (a & b)", "if (a | b)"),
        ("a != b", "a = b"),
        ("Write a poem about the sea.", "Write a story about a bear."),
    ],
)
def test_not_near(first: str, second: str) -> None:
    assert index(first).find(second) == ""


def test_nothing_was_seen_before_the_first() -> None:
    seen = DuplicateIndex()
    assert len(seen) == 0
    assert seen.find("What is the capital of France?") == ""
    seen.add("What is the capital of France?")
    assert len(seen) == 1


@pytest.mark.parametrize("text", ["", "?", "a", "é", "🙂", "\ud800 half a pair", "x" * 5000])
def test_any_text_can_be_added_and_found(text: str) -> None:
    seen = index("Something else altogether, that is long enough.", text)
    assert seen.find(text) == "duplicate"


@given(st.lists(st.text(max_size=80), max_size=20), st.text(max_size=80))
def test_what_was_added_is_found(texts: list[str], other: str) -> None:
    seen = index(*texts)
    assert len(seen) == len(texts)
    assert all(seen.find(text) == "duplicate" for text in texts)
    assert (seen.find(other) == "duplicate") == (normalise(other) in map(normalise, texts))


@given(st.text(max_size=200))
def test_normalising_twice_is_normalising_once(text: str) -> None:
    assert normalise(normalise(text)) == normalise(text)


def _many(count: int) -> list[str]:
    draw = random.Random(1)
    words = sorted({word for exemplar in languages.load("en").exemplars for word in exemplar.response.split()})
    return [" ".join(draw.choices(words, k=20)) for _ in range(count)]


def test_a_corpus_added_at_once_or_one_by_one_finds_the_same() -> None:
    texts = _many(RECENT + BATCH + 500)
    at_once, one_by_one = index(*texts), DuplicateIndex()
    for text in texts:
        one_by_one.add(text)
    for text in itertools.islice(texts, 0, None, 97):
        changed = text.replace(text.split()[7], "altogether", 1)
        assert similarity(changed, text) >= 0.78
        for seen in (at_once, one_by_one):
            assert seen.find(text) == "duplicate"
            assert seen.find(changed) == "near_duplicate"
    assert not any(at_once.find(text) for text in _many(RECENT + BATCH + 900)[len(texts) :])


def test_several_blocks_find_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(duplicates, "BLOCK", RECENT)
    texts = _many(4 * RECENT + 100)
    seen = index(*texts[: 2 * RECENT + 100])
    for text in texts[2 * RECENT + 100 :]:
        seen.add(text)
    assert len(seen.blocks) == 5
    assert len(seen) == len(texts)
    for text in itertools.islice(texts, 0, None, 97):
        assert seen.find(text) == "duplicate"
        assert seen.find(text.replace(text.split()[7], "altogether", 1)) == "near_duplicate"
    assert not any(seen.find(text) for text in _many(len(texts) + 100)[len(texts) :])


def test_similarity_is_the_share_of_common_shingles() -> None:
    assert similarity("abcdef", "ABCDEF!") == 1.0
    # Ten shingles each with their margins; only bcdef is in both.
    assert similarity("abcdef", "bcdefg") == pytest.approx(1 / 19)
    assert similarity("", "something else") == 0.0
    assert similarity("", "") == 1.0
