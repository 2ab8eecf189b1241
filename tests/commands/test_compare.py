"""``magpie-ollama compare`` as a user meets it: the table, the rows, the page, and the command to run next."""

from __future__ import annotations

import io
import json
import os
import re
import shlex
import signal
from html.parser import HTMLParser
from pathlib import Path

import pytest
from commands.support import Runner, check_error, records, stand_in
from fake_ollama import Ask, FakeModel, FakeOllama, FakeOpenAI, Reply, base_model, question
from rich.console import Console
from run.support import generating

from magpie_ollama import prompts
from magpie_ollama.display import live
from magpie_ollama.display.findings import LEGEND
from magpie_ollama.method import languages

ITALIAN, ARABIC = languages.load("it"), languages.load("ar")

IN_ARABIC = (
    "كيف يمكنني تعلم الطبخ في وقت قصير؟",
    "ما هي أفضل طريقة لزراعة الطماطم في الحديقة؟",
    "اشرح لي بكلمات بسيطة كيف تعمل الطائرة.",
    "أحتاج إلى نصيحة قبل شراء سيارة مستعملة.",
    "لماذا تتغير ألوان الأوراق في الخريف؟",
    "اكتب رسالة قصيرة أعتذر فيها لصديقي عن التأخير.",
    "ما الفرق بين القهوة التركية والقهوة العربية؟",
    "اقترح لي ثلاثة كتب عن تاريخ الأندلس.",
    "كم ساعة من النوم يحتاج الطفل كل يوم؟",
)


def script(ask: Ask) -> Reply:
    """In the language of the system message in three of four seeds; else English."""
    seed = int(ask.options.get("seed", 0))
    if ask.kind == "chat":
        return Reply("Certo che si può: basta cominciare presto e avere un po' di pazienza ogni giorno.")
    for language in (ITALIAN, ARABIC):
        if language.system in ask.prompt and seed % 4:
            return Reply(question(seed, "it") if language is ITALIAN else IN_ARABIC[seed % len(IN_ARABIC)])
    return Reply(question(seed, "en"))


class _Page(HTMLParser):
    """What stands in a page: its tags, and whatever it would fetch."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.fetched: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.fetched += [f"{tag} {name}" for name, _ in attrs if name in ("src", "href")]


def test_it_ends_in_a_table_a_page_and_the_next_command(run: Runner) -> None:
    with FakeOllama(models=[FakeModel("m:1b")]) as fake:
        fake.script = script
        done = run("compare", "-l", "it,ar", "-s", "none,system", "-n", 12, "--host", fake.url)
        assert done.code == 0, done.err
        assert "m:1b: 4 cells of 12 attempts, about " in done.err, "the time is told first"
        rows = records("compare.jsonl")
        assert len(rows) == 48
        assert {(row["language"], row["steering"]) for row in rows} == {
            (c, w) for c in ("it", "ar") for w in ("none", "system")
        }
        lines = done.out.splitlines()
        assert LEGEND in lines, "no line is folded in a pipe"
        assert re.search(r"★ +system", done.out)
        following = "magpie-ollama generate -l {} -m m:1b -s system -n 100 --host " + fake.url
        assert lines[-2:] == [following.format(code) for code in ("it", "ar")]

        page = Path("compare.html").read_text("utf-8")
        parts = _Page(page)
        assert parts.fetched == [], "self-contained"
        assert "script" not in parts.tags
        assert parts.tags.count("figure") == 2, "a chart a language"
        texts = sum(bool(row["text"]) for row in rows)
        assert 0 < page.count('class="words" dir="auto"') <= texts, "each text finds its own direction"
        useful = next(row["text"] for row in rows if row["outcome"] == "kept")
        assert useful in page, "samples to read"

        next_command = shlex.split(lines[-2])[1:]
        assert run(*next_command, "-n", 2).code == 0, "the command it names runs"


def test_the_same_command_continues_and_asks_nothing_twice(run: Runner) -> None:
    with FakeOllama(models=[FakeModel("m:1b")]) as fake:
        fake.script = script
        base = ("compare", "-l", "it", "-s", "system", "--host", fake.url, "-o", "mine", "--json")
        first = json.loads(run(*base, "-n", 6).out)
        again = json.loads(run(*base, "-n", 9).out)
    assert [cell["attempts"] for cell in (*first["cells"], *again["cells"])] == [6, 9]
    indices = [row["index"] for row in records("mine.jsonl")]
    assert sorted(indices) == list(range(9))


def test_a_temperature_is_a_cell_and_each_model_and_language_has_its_verdict(run: Runner) -> None:
    with FakeOllama(models=[FakeModel("m:1b")]) as fake:
        fake.script = script
        hot = ("--temperature", "0.5,1.0", "--host", fake.url)
        told = json.loads(run("compare", "-l", "it", "-s", "none,system", "-n", 32, "--json", *hot).out)
        assert {(cell["steering"], cell["temperature"]) for cell in told["cells"]} == {
            (steering, temperature) for steering in ("none", "system") for temperature in (0.5, 1.0)
        }
        bodies = [exchange.body for exchange in fake.requests if exchange.generation >= 0]
        sent = {body["options"]["temperature"] for body in bodies}
        assert {0.5, 1.0} <= sent
        (verdict,) = told["verdicts"]
        assert (verdict["language"], verdict["writes"], verdict["steered"]) == ("it", "writes", 32)
        shown = run("compare", "-l", "it", "-s", "none,system", "-n", 32, *hot)
        assert "m:1b writes Italian: " in shown.out.replace("\n", " ")
        assert "m:1b writes Italian: " in Path("compare.html").read_text("utf-8")


def test_a_language_of_ones_own_is_compared_and_examined(run: Runner) -> None:
    Path("own.toml").write_text(
        (prompts.folder("languages") / "it.toml").read_text("utf-8").replace('code = "it"', 'code = "xx"'), "utf-8"
    )
    with FakeOllama(models=[FakeModel("m:1b")]) as fake:
        fake.script = script
        where = ("--language-file", "own.toml", "--host", fake.url)
        done = run("compare", *where, "-s", "system", "-n", 8)
        assert {row["language"] for row in records("compare.jsonl")} == {"xx"}
        assert done.out.splitlines()[-1].startswith("magpie-ollama generate --language-file own.toml -m m:1b -s system")
        told = json.loads(run("doctor", *where, "--json").out)["findings"]
        assert any("Italian" in finding["text"] for finding in told if finding["name"] == "language")
    check_error(run("compare", "-s", "system"), 2, "-l is empty")


def test_a_language_named_twice_is_one(run: Runner) -> None:
    with FakeOllama(models=[FakeModel("m:1b")]) as fake:
        fake.script = script
        done = run("compare", "-l", "it,it,italiano", "-s", "system", "-n", 4, "--host", fake.url)
    assert "m:1b: 1 cell" in done.err
    assert done.out.count("magpie-ollama generate -l it") == 1


def test_two_models_are_told_apart_and_the_better_one_is_named(run: Runner) -> None:
    def by_model(ask: Ask) -> Reply:
        seed = int(ask.options.get("seed", 0))
        return Reply(question(seed, "it" if ask.model == "good:1b" else "en"))

    with FakeOllama(models=[FakeModel("bad:1b"), FakeModel("good:1b")]) as fake:
        fake.script = by_model
        done = run("compare", "-m", "bad:1b,good:1b", "-l", "it", "-s", "system", "-n", 5, "--json", "--host", fake.url)
    result = json.loads(done.out)
    assert {cell["model"]: cell["useful"] for cell in result["cells"]} == {"bad:1b": 0, "good:1b": 5}
    assert [(cell["language"], cell["steering"], cell["identified"]) for cell in result["cells"]][1] == (
        "it",
        "system",
        5,
    )
    assert result["next"] == [f"magpie-ollama generate -l it -m good:1b -s system -n 100 --host {fake.url}"]


def test_other_models_rows_in_the_file_stay_and_are_not_told(run: Runner, monkeypatch: pytest.MonkeyPatch) -> None:
    def worse(ask: Ask) -> Reply:
        seed = int(ask.options.get("seed", 0))
        return Reply(question(seed, "en" if ITALIAN.system in ask.prompt or seed % 2 else "it"))

    for name in ("a.gguf", "b.gguf"):
        Path(name).write_bytes(b"GGUF")
    base = ("compare", "-l", "it", "-s", "none,system", "-n", 8, "--json", "--model-path")
    with FakeOpenAI("llama-server", script=script) as fake:
        stand_in(monkeypatch, fake)
        run(*base, "a.gguf")
        before = Path("compare.jsonl").read_text("utf-8")
        fake.script = worse
        result = json.loads(run(*base, "b.gguf").out)
    assert {cell["model"] for cell in result["cells"]} == {"b"}
    assert result["next"] == [
        "magpie-ollama generate -l it -s none -n 100 --server embedded --model-path b.gguf",
    ], "a's system was better: it is another model"
    assert Path("compare.jsonl").read_text("utf-8").startswith(before)


def test_a_model_of_the_hub_is_named_as_it_was_given(run: Runner, monkeypatch: pytest.MonkeyPatch) -> None:
    with FakeOpenAI("llama-server", script=script) as fake:
        stand_in(monkeypatch, fake)
        done = run("compare", "-l", "it", "-s", "system", "-n", 4, "--server", "embedded", "-m", "maria/tiny:Q8", "-q")
    assert done.out.splitlines()[-1] == (
        "magpie-ollama generate -l it -m maria/tiny:Q8 -s system -n 100 --server embedded"
    )


def test_interrupted_it_names_no_next_command(run: Runner) -> None:
    left = iter([signal.SIGINT])

    def interrupting(ask: Ask) -> Reply:
        if ask.options.get("seed") == 6:
            for number in left:
                os.kill(os.getpid(), number)
        return script(ask)

    with FakeOllama(models=[FakeModel("m:1b")], script=interrupting) as fake:
        done = run("compare", "-l", "it,nl", "-s", "system", "-n", 400, "--json", "--host", fake.url)
    result = json.loads(done.out)
    assert (done.code, result["next"]) == (130, [])
    assert len(result["cells"]) == 1
    assert "magpie-ollama generate" not in Path("compare.html").read_text("utf-8")


def test_without_any_success_it_says_so(run: Runner) -> None:
    with FakeOllama(models=[FakeModel("m:1b")]) as fake:
        fake.script = lambda ask: Reply(question(int(ask.options.get("seed", 0)), "en"))
        done = run("compare", "-l", "it", "-s", "system", "-n", 4, "--host", fake.url)
    assert done.code == 0
    assert done.out.splitlines()[-1] == "Italian: no steering gave a useful instruction; try another model"


def test_where_the_model_does_not_write_the_language_no_run_is_advised(run: Runner) -> None:
    def seldom(ask: Ask) -> Reply:
        seed = int(ask.options.get("seed", 0))
        return Reply(question(seed, "en" if seed % 8 else "it"))

    with FakeOllama(models=[FakeModel("m:1b")], script=seldom) as fake:
        done = run("compare", "-l", "it", "-s", "system", "-n", 32, "--host", fake.url)
    assert done.code == 0 and "does not write Italian: 4 of 32" in done.out
    assert done.out.splitlines()[-1] == "Italian: m:1b does not write it; try a larger model"


@pytest.mark.parametrize(
    ("options", "code", "words"),
    [
        (("-l", "itlian"), 2, ("itlian", "Italian")),
        (("-l", "it", "-s", "magic"), 2, ("magic", "exemplar+opener")),
        (("-l", ","), 2, ("-l is empty",)),
        (("-l", "it", "-o", "none/such"), 2, ("none does not exist", "mkdir -p none")),
        (("-l", "it", "-o", "."), 2, (". is a folder", "-o compare")),
        (("-l", "it", "-o", "sub/"), 2, ("sub/ is a folder", "-o sub/compare")),
        (("-l", "it", "-o", "../work"), 2, ("../work is a folder", "-o ../work/compare")),
        (("-l", "it", "-o", "-"), 2, ("names no file", "-o compare", "--json")),
        (("-l", "it", "-o", ""), 2, ("names no file", "-o compare")),
        (("-l", "it", "-o", ".jsonl"), 2, ("names no file", "-o compare")),
        (("-l", "it", "-m", "nosuch"), 3, ("nosuch",)),
    ],
)
def test_bad_input(run: Runner, options: tuple[str, ...], code: int, words: tuple[str, ...]) -> None:
    with FakeOllama(models=[FakeModel("m:1b")]) as fake:
        done = run("compare", *options, "-n", 2, "--host", fake.url, "-q")
    check_error(done, code, *words)


def test_a_seed_out_of_range_is_refused(run: Runner) -> None:
    done = run("compare", "-l", "it", "--seed", 2**30 + 1, "--host", "127.0.0.1:1")
    assert (done.code, done.out) == (2, "")
    assert "0<=x<=1073741824" in done.err


def test_where_no_display_is_lines_tell_how_far_it_is(run: Runner, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(live, "PLAIN_SECONDS", 0.0)
    with FakeOllama(models=[FakeModel("m:1b")], script=script, delay=0.02) as fake:
        done = run("compare", "-l", "it", "-s", "none,system", "-n", 6, "--host", fake.url)
        quiet = run("compare", "-l", "it", "-s", "none,system", "-n", 9, "-q", "--host", fake.url)
    assert done.code == 0
    lines = [line for line in done.err.splitlines() if "/12 attempts (" in line]
    assert lines
    assert all(re.match(r"\d+/12 attempts \(\d+ %\) · \d+ useful · \d+ tokens/s", line) for line in lines)
    assert quiet.err == ""


def test_a_model_that_is_missing_is_told_before_the_others_are_asked(run: Runner) -> None:
    with FakeOllama(models=[FakeModel("m:1b")]) as fake:
        done = run("compare", "-m", "m:1b,nosuch", "-l", "it", "-s", "system", "-n", 5, "--host", fake.url)
        check_error(done, 3, "'nosuch'")
        assert not generating(fake)


def test_a_model_that_fails_takes_nothing_from_the_others(run: Runner) -> None:
    with FakeOllama(models=[FakeModel("good:1b"), FakeModel("none:1b", base_model())]) as fake:
        fake.script = script
        done = run("compare", "-m", "good:1b,none:1b", "-l", "it", "-s", "system", "-n", 5, "--host", fake.url)
    assert done.code == 3
    assert "none:1b has no chat template" in done.err
    assert re.search(r"★ +system", done.out)
    assert "good:1b" in Path("compare.html").read_text("utf-8")


def test_a_page_that_is_not_its_own_is_not_replaced(run: Runner) -> None:
    Path("compare.html").write_text("hello", encoding="utf-8")
    with FakeOllama() as fake:
        check_error(run("compare", "-l", "it", "-n", 2, "--host", fake.url), 2, "compare.html is there already", "-o")
    assert Path("compare.html").read_text("utf-8") == "hello"


def test_a_folder_of_its_name_is_in_nobodys_steering(run: Runner) -> None:
    Path("compare").mkdir()
    Path("sub/it").mkdir(parents=True)
    with FakeOllama(models=[FakeModel("m:1b")], script=script) as fake:
        base = ("compare", "-l", "it", "-s", "system", "-n", 2, "--host", fake.url, "-q")
        assert run(*base).code == run(*base, "-o", "sub/it.jsonl").code == 0
        check_error(run(*base, "-o", "sub/it"), 2, "sub/it is a folder", "-o sub/it/compare")
    assert Path("compare.html").exists()
    assert len(records("sub/it.jsonl")) == 2


def test_the_next_command_carries_the_limit_of_tokens_over(run: Runner) -> None:
    with FakeOllama(models=[FakeModel("m:1b")], script=script) as fake:
        base = ("compare", "-l", "it", "-s", "system", "-n", 2, "--host", fake.url, "-q")
        done = run(*base, "--max-instruction-tokens", 40)
    assert done.out.splitlines()[-1].endswith(f"--host {fake.url} --max-instruction-tokens 40")


def test_the_live_picture_tells_how_far_it_is(run: Runner, monkeypatch: pytest.MonkeyPatch) -> None:
    console = Console(file=io.StringIO(), width=100)

    class Drawn(live.Showing):
        async def close(self) -> None:
            console.print(self._picture(100))
            await super().close()

    monkeypatch.setattr(live, "Showing", Drawn)
    with FakeOllama(models=[FakeModel("m:1b")], script=script) as fake:
        assert run("compare", "-l", "it", "-s", "none,system", "-n", 2, "--host", fake.url).code == 0
    assert "4/4 attempts (100 %)" in console.file.getvalue()  # type: ignore[attr-defined]


def test_a_model_without_a_name_makes_no_title(run: Runner) -> None:
    with FakeOllama(models=[FakeModel("m:1b")], script=script) as fake:
        base = ("compare", "-l", "it", "-s", "system", "-n", 2, "--host", fake.url)
        assert "Comparing" not in run(*base).err
        assert "Comparing m:1b\n" in run(*base, "-m", "m:1b").err
