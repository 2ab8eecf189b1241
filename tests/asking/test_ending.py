"""The end of an instruction that the server does not show: found by single tokens, in any script."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from pathlib import Path

import pytest
from fake_ollama import Ask, FakeModel, FakeOllama, Reply, goes_on, lone, mistral
from run.support import ANSWER, QUESTION, Outcome, generate, generating, settings

from magpie_ollama.asking.ending import PROBES, Endings, reseed, turn_end
from magpie_ollama.servers.base import Completion, Sampling, Watch

END = "[/INST]"


def made(tmp_path: Path, text: str, count: int = 1, **more: object) -> tuple[Outcome, FakeOllama]:
    model = FakeModel("mistral:7b", mistral())
    with FakeOllama(models=[model], script=goes_on(text, END, ANSWER)) as fake:
        return generate(settings(fake, count, parallel=1, **more), tmp_path / "x.jsonl"), fake


def probes(fake: FakeOllama) -> list[str]:
    """What single tokens were asked for behind, without the first turn's header."""
    asked = [one.body for one in generating(fake) if one.body.get("raw") and one.body["stream"]]
    return [body["prompt"].rpartition("[INST] ")[2] for body in asked if body["options"]["num_predict"] == 1]


@pytest.mark.parametrize(
    ("language", "instruction", "rest"),
    [
        ("en", QUESTION, f" You need big pots and good soil. {ANSWER}"),
        ("en", f"I have a balcony of two square metres. {QUESTION}", "\n\nUse pots."),
        ("en", "Write a short poem about the grey sea in winter", "\n\nThe sea is grey. It sleeps."),
        ("en", f'My aunt asked me "{QUESTION}"', " That is a good question."),
        ("ja", "東京で一番安いラーメン屋はどこですか。理由も教えてください。", "はい、いくつかあります。"),
        ("hi", "मुझे अपने बगीचे में टमाटर कैसे उगाने चाहिए और कितना पानी देना चाहिए।", " सबसे पहले मिट्टी तैयार करें।"),
        ("ar", "كيف يمكنني أن أزرع الطماطم في شرفة صغيرة في مدينة مزدحمة؟", " ابدأ بأصيص كبير."),
    ],
)  # fmt: skip
def test_it_is_cut_at_the_hidden_end_and_kept(tmp_path: Path, language: str, instruction: str, rest: str) -> None:
    outcome, fake = made(tmp_path, f"{instruction}{END}{rest}</s>", language=language, max_attempts=1)
    asked = probes(fake)
    assert asked[-1] == instruction, "nothing of the answer is ever asked for behind"
    assert len(asked) <= 3
    drafted = [one.body["messages"][-1]["content"] for one in fake.requests_to("/api/chat") if "stream" in one.body]
    assert drafted[-1] == instruction
    if language == "en":
        assert outcome.outcomes == ["kept"]
        assert outcome.records[0]["messages"][0]["content"] == instruction
    assert any(f"hides {END}" in notice and "single tokens" in notice for notice in outcome.progress.notices)


def test_it_goes_on_where_the_next_token_is_no_end(tmp_path: Path) -> None:
    text = f"I moved to Canada in 2024. My flat is on floor 3.5 or so. {QUESTION}"
    outcome, fake = made(tmp_path, f"{text}{END} Use pots.</s>")
    assert outcome.records[0]["messages"][0]["content"] == text
    assert outcome.records[0]["confidence"] == 0.0, "not measured of a part"
    assert probes(fake)[0] == "I moved to Canada in 2024."


class Model:
    """Writes a text of tokens, with "" for a hidden one; ``asked`` are (text so far, limit, seed)."""

    def __init__(self, *tokens: str) -> None:
        self.tokens = tokens
        self.asked: list[tuple[str, int, int]] = []

    async def __call__(self, before: str, sampling: Sampling, watch: Watch) -> Completion:
        self.asked.append((before, sampling.max_tokens, sampling.seed))
        at = next(n for n in range(len(self.tokens) + 1) if "".join(self.tokens[:n]) == before)
        made = Completion(finish_reason="length")
        for token in self.tokens[at : at + sampling.max_tokens]:
            made.tokens += 1
            made.unshown += not token
            if token:
                made.text += token
                made.logprob = (made.logprob or 0.0) - 0.5
                if watch(made.text):
                    made.finish_reason = "cancelled"
                    return made
        if at + sampling.max_tokens > len(self.tokens):
            made.finish_reason, made.tokens = "stop", made.tokens + 1
        return made


ASKED = Sampling(temperature=1.0, max_tokens=50, seed=7)


def written(model: Model, watch: Watch = lambda text: False, times: int = 2, sampling: Sampling = ASKED) -> Completion:
    async def go() -> Completion:
        endings = Endings()
        for _ in range(times):
            model.asked.clear()
            found = await endings.write(model, sampling, watch)
        return found

    return asyncio.run(go())


def test_once_an_end_was_hidden_no_answer_is_written() -> None:
    model = Model("In", " 2", ".", "5", " or", " 3", "?", " Why", "?", "", " Because", " so", ".")
    found = written(model)
    assert (found.text, found.finish_reason) == ("In 2.5 or 3? Why?", "stop")
    assert found.tokens == 10, "each token once, and the hidden one"
    assert found.logprob == -4.5
    assert [(before, limit) for before, limit, _ in model.asked] == [
        ("", 50), ("In 2.", 1), ("In 2.5", 46), ("In 2.5 or 3?", 1), ("In 2.5 or 3? Why", 42), ("In 2.5 or 3? Why?", 1)
    ]  # fmt: skip
    assert model.asked[0][2] == 7
    assert len({seed for *_, seed in model.asked}) == 6


def test_a_line_that_is_an_end_has_no_blanks_behind_it() -> None:
    model = Model("A", " poem", "", "\n\n", "The", " sea", ".")
    assert written(model).text == "A poem"
    model = Model("A", " poem", "\n", "on", " it", "", " The", " sea")
    assert written(model).text == "A poem\non it The sea", "no sign of an end: it is as it came"


@pytest.mark.parametrize("times", [1, 2])
def test_a_watch_and_a_limit_hold(times: int) -> None:
    long = Model(*["word", " word", "."] * 40, "", "x")
    found = written(long, sampling=replace(ASKED, max_tokens=20), times=times)
    assert found.finish_reason == "length"
    stopped = written(Model("a", ".", "b", ".", "c", " d", "", "e"), lambda text: len(text) > 4, times)
    assert stopped.finish_reason == "cancelled"


def test_a_model_whose_end_tokens_end_it_costs_nothing() -> None:
    model = Model("What", "?", " Why", "?")
    assert written(model, times=3).text == "What? Why?"
    assert len(model.asked) == 1
    model = Model("何", "?", " あ", "?")
    assert written(model, times=1).text == "何? あ?"
    assert [before for before, *_ in model.asked] == ["", "何?"], "where a letter may be two tokens, it is asked"


def test_an_end_token_is_an_end_as_well(tmp_path: Path) -> None:
    outcome, fake = made(tmp_path, f"{QUESTION}</s>")
    assert outcome.outcomes == ["kept"]
    assert probes(fake) == [], "all its tokens were shown"


def test_a_list_is_looked_at_so_often_and_no_more(tmp_path: Path) -> None:
    lines = "\n".join(f"{n}. Buy a bag of type {n} soil" for n in range(1, 21))
    outcome, fake = made(tmp_path, f"Check this list of mine, pöts too:\n{lines}</s>", max_attempts=1)
    assert len(probes(fake)) == PROBES
    assert outcome.outcomes == ["kept"]


def test_an_end_amid_a_sentence_is_still_seen_by_its_token(tmp_path: Path) -> None:
    with FakeOllama(models=[FakeModel("mistral:7b", mistral())]) as fake:
        fake.script = goes_on(f"Tell me about old{END} maps of the grey sea and of the land behind it</s>", END)
        outcome = generate(settings(fake, 1, parallel=1, max_attempts=2), tmp_path / "x.jsonl")
    assert outcome.outcomes == ["run_on", "run_on"]


def test_the_recorded_model(tmp_path: Path) -> None:
    """Another control token at the end of ChatML's turns, as the recordings have it: the header behind it shows."""
    text = f"{QUESTION}<repo_name>\n<|im_start|>assistant\nPlanning can be a delicate act. First, look.<|im_end|>"
    for version in ("0.24.0", "0.33.0"):
        with FakeOllama(version=version, models=[FakeModel("v-lone2", lone())]) as fake:
            fake.script = goes_on(text, "<repo_name>", ANSWER)
            outcome = generate(settings(fake, 1, parallel=1), tmp_path / f"{version}.jsonl")
        assert outcome.outcomes == ["kept"]
        assert outcome.records[0]["messages"][0]["content"] == QUESTION
        assert bool(probes(fake)) is (version == "0.33.0")


def test_templates_that_show_their_end_cost_one_request(tmp_path: Path) -> None:
    def script(ask: Ask) -> Reply:
        return Reply(ANSWER if ask.kind == "chat" else f"I have a balcony. {QUESTION}")

    with FakeOllama(script=script) as fake:
        generate(settings(fake, 1, parallel=1), tmp_path / "x.jsonl")
    assert len([one for one in generating(fake) if one.body.get("raw") and one.body["stream"]]) == 1


@pytest.mark.parametrize(
    ("text", "end"),
    [
        ("What is it?", 11), ("What is it? ", 11), ("What is it?\n\n", 11), ('"What?"', 7), ("(Why?)", 6), ("So...", 5),
        ("**Why?**", 8), ("何ですか。", 5), ("何ですか」", 0), ("Ποιος είναι;", 0), ("क्या है।", 8), ("ما هو؟", 6),
        ("A poem\n", 6), ("A poem \n \n", 6), ("A poem", 0), ("", 0), ("\n\n", 0), ("?", 1), ("x" * 10**6, 0),
        ("\n" * 10**6, 0), ("?" + " " * 10**6, 0),
    ],
)  # fmt: skip
def test_where_a_turn_may_end(text: str, end: int) -> None:
    assert turn_end(text) == end


def test_other_seeds_are_far_from_those_of_other_attempts() -> None:
    assert reseed(7, 0) == 7
    assert len({reseed(seed, number) for seed in range(1000) for number in range(30)}) == 30_000
    assert all(0 <= reseed(2**31 - 1, number) < 2**31 for number in range(30))
