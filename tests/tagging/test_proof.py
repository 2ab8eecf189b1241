"""A judge proves itself on planted faults, or is refused: the whole path against fake servers."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from pathlib import Path

import pytest
from fake_ollama import Ask, FakeOllama, FakeOpenAI, Fault, Reply
from fake_ollama.base import FakeServer
from tagging.oracle import Oracle, gloomy

from magpie_ollama.errors import RequestRefused, ServerError
from magpie_ollama.servers.base import ServerChoice
from magpie_ollama.tagging import scoring
from magpie_ollama.tagging.judging import JudgingProgress, open_judge
from magpie_ollama.tagging.planted import ANSWER, GOOD, LANGUAGE, Shown, planted
from magpie_ollama.tagging.proof import Proofs, auc, check, in_short, interval, measured, prove

SPOKEN: dict[str, list[tuple[str, str]]] = {"en": [], "ja": []}


def judged(
    fake: FakeServer, kept: Path, spoken: dict[str, list[tuple[str, str]]] = SPOKEN, kind: str = "ollama"
) -> Proofs:
    progress = JudgingProgress()

    async def go() -> Proofs:
        async with open_judge(ServerChoice(kind, fake.url), 8, progress, language=True) as judging:
            return await judging.prove(spoken, kept)

    with fake:
        return asyncio.run(go())


def scored(fake: FakeServer, kept: Path, code: str) -> Proofs:
    """The scale of the answer, as for pairs of preferences."""
    progress = JudgingProgress()

    async def go() -> Proofs:
        async with open_judge(ServerChoice("ollama", fake.url), 8, progress) as judging:
            scorer = scoring.Scorer(judging.loaded, progress.notices)
            rate = scorer.rating(("answer", "language"), code)
            return {code: await prove(judging.loaded, rate, ("answer", "language"), code, scoring.mark(), kept, 8)}

    with fake:
        return asyncio.run(go())


def test_an_oracle_is_accepted_by_each_kind_and_language(tmp_path: Path) -> None:
    proofs = judged(FakeOllama(script=Oracle(*SPOKEN)), tmp_path / "kept.json")
    for code in SPOKEN:
        assert proofs[code].keys() == {"quality", "safety", "language"}
        for scale in ("quality", "language"):
            assert proofs[code][scale].kinds == dict.fromkeys(LANGUAGE, (1.0, 7))
            assert proofs[code][scale].auc == 1
        assert proofs[code]["safety"].auc == 1
    check("oracle", proofs, "--unproven")
    assert "quality en 1.00" in in_short(proofs)


def test_an_oracle_of_another_server_is_accepted(tmp_path: Path) -> None:
    oracle = Oracle("es")

    def script(ask: Ask) -> Reply:
        asked = Ask(**{name: getattr(ask, name) for name in Ask.__slots__} | {"body": dict(ask.body)})
        if "response_format" in ask.body:
            asked.body["format"] = {}  # type: ignore[index]
        return oracle(asked)

    proofs = judged(FakeOpenAI("vllm", script=script), tmp_path / "kept.json", {"es": []}, "openai")
    check("oracle", proofs, "--unproven")


def test_the_answers_scale_is_proved_by_its_own_faults(tmp_path: Path) -> None:
    (by_scale,) = scored(FakeOllama(script=Oracle("it")), tmp_path / "kept.json", "it").values()
    assert by_scale["answer"].kinds == {"another answer": (1.0, 7), "truncated answer": (1.0, 6), "false sum": (1.0, 6)}
    assert by_scale["language"].auc == 1


def test_a_judge_of_good_records_as_bad_and_unsafe_is_refused(tmp_path: Path) -> None:
    proofs = judged(FakeOllama(script=gloomy), tmp_path / "kept.json", {"en": []})
    assert {scale: proof.auc for scale, proof in proofs["en"].items()} == {"quality": 0.5, "language": 0.5, "safety": 0}
    with pytest.raises(ServerError) as refused:
        check("SmolLM2", proofs, "--unproven")
    assert "quality in English has an AUC of 0.50 (0.75 is asked for)" in refused.value.cause
    assert "it calls only 0% of 23 good records in English safe" in refused.value.cause
    assert "-m" in refused.value.remedy and "--unproven" in refused.value.remedy


@pytest.mark.parametrize(("sees", "holds"), [(LANGUAGE[:2], True), (LANGUAGE[:1], False)])
def test_a_judge_that_is_blind_for_a_fault_shows_it(tmp_path: Path, sees: tuple[str, ...], holds: bool) -> None:
    proofs = judged(FakeOllama(script=Oracle("es", sees=sees)), tmp_path / "kept.json", {"es": []})
    found = proofs["es"]["language"]
    assert {kind: value for kind, (value, _) in found.kinds.items()} == {
        kind: 1.0 if kind in sees else 0.5 for kind in LANGUAGE
    }
    assert found.holds("language") is holds
    assert found.low < found.auc < found.high


def test_it_is_measured_once_a_model_language_and_prompt_and_no_more(tmp_path: Path) -> None:
    kept = tmp_path / "data" / "kept.json"
    asked = 0

    async def rate(shown: Shown) -> dict[str, float]:
        nonlocal asked
        asked += 1
        return {"language": 1.0, "answer": 5.0 - bool(shown.kind)}

    async def go(scales: tuple[str, ...], code: str = "es", mark: str = "m") -> int:
        nonlocal asked
        asked = 0
        async with open_judge(ServerChoice("ollama", fake.url), 8, JudgingProgress()) as judging:
            found = await prove(judging.loaded, rate, scales, code, mark, kept, 8)
        assert tuple(found) == scales
        return asked

    with FakeOllama() as fake:
        first = asyncio.run(go(("language",)))
        assert first == len([one for one in planted("es") if one.kind in (GOOD, *LANGUAGE)])
        assert asyncio.run(go(("language",))) == 0
        more = len([one for one in planted("es") if one.kind not in LANGUAGE])
        assert asyncio.run(go(("language", "answer"))) == more, "of another scale only what it needs"
        assert asyncio.run(go(("language",), "it")) > 0
        assert json.loads(kept.read_text()).keys() == {"es", "it"}
        assert asyncio.run(go(("language",), mark="n")) == first, "with another prompt it is another judge"
        kept.write_text('{"es": {"quality": {"auc": "high"}}}')
        assert asyncio.run(go(("language",), mark="n")) == first, "a file of nonsense is none"


def test_a_language_with_too_few_good_records_is_not_proved(tmp_path: Path) -> None:
    proofs = judged(FakeOllama(script=gloomy), tmp_path / "kept.json", {"xx": [("a", "b")] * 9})
    assert proofs == {"xx": {}}
    with pytest.raises(ServerError, match="not 10 good records in xx"):
        check("m", proofs, "--unproven")


@pytest.mark.parametrize(
    ("script", "error", "words"),
    [
        (lambda ask: Reply("I think"), ServerError, "is a valid judgement; it said: I think"),
        (lambda ask: Reply("x", fault=Fault("status", status=400, text="no chat")), RequestRefused, "no chat"),
    ],
)
def test_a_judge_that_gives_no_judgement_at_all_is_told_by_its_words(
    tmp_path: Path, script: Callable[[Ask], Reply], error: type[ServerError], words: str
) -> None:
    with pytest.raises(error, match=words):
        judged(FakeOllama(script=script), tmp_path / "kept.json", {"en": []})
    assert not (tmp_path / "kept.json").exists(), "what was not measured is not kept"


def test_ties_count_half() -> None:
    assert auc([5, 5], [1, 1]) == 1
    assert auc([3, 3], [3, 3]) == 0.5
    assert auc([1], [5, 1]) == 0.25


def test_what_got_no_rating_counts_as_the_middle() -> None:
    shown = planted("en")
    rated = [(one, {"language": 5.0} if one.kind == GOOD else {}) for one in shown]
    assert measured("language", rated).auc == 1
    assert measured("language", [(one, {}) for one in shown]).auc == 0.5
    assert measured("safety", [(one, {}) for one in shown]).auc == 0


def test_few_records_say_little() -> None:
    low, high = interval(0.8, 23, 21)
    assert (round(low, 2), round(high, 2)) == (0.64, 0.9)
    assert interval(0.8, 230, 210)[0] > low
    assert interval(0.0, 23, 21)[0] == 0 and interval(0.0, 23, 21)[1] > 0.05
    assert interval(1.0, 23, 21)[1] == 1


def test_what_is_shown_is_a_talk() -> None:
    assert [turn["role"] for turn in Shown("", "a", "b").turns] == ["user", "assistant"]
    assert set(ANSWER).isdisjoint(LANGUAGE)
