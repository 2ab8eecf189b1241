"""Each command that README, docs and the examples of the help show, run in this process on mocked servers: a page's in
their order, in a folder that has what its reader has. Only the numbers are smaller. The recipes: test_recipes.py."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Iterator
from contextlib import nullcontext, suppress
from pathlib import Path

import pyarrow
import pyarrow.parquet
import pytest
import uvicorn
from commands.support import Runner, stand_in
from commands.test_help import walk
from commands.test_push import hub  # noqa: F401, a fixture
from commands.test_recipes import judging
from corpus.support import record
from docs.pages import PAGES, ROOT, commands
from fake_ollama import Ask, FakeModel, FakeOllama, FakeOpenAI, Reply, default_script, embedder, question
from fake_ollama.script import wanted_schema

from magpie_ollama.__main__ import cli
from magpie_ollama.commands.base import Command
from magpie_ollama.corpus import lines
from magpie_ollama.errors import ShortOfTarget

NOT_RUN = {
    "review it.jsonl --order doubt": "a screen and its keys: tests/commands/test_review.py",
    "dedup - -o it.jsonl": "what a pipe brings: tests/commands/test_cleaning.py",
}
"""As they stand on the pages. What they show of docker, vLLM, llama-server and Ray are other programs'."""

FEWER = {"-n": 2, "--total": 10, "-k": 2, "--split": 0.5, "--start": 2, "--parallel": 4}

BEFORE = {
    "docs/training.md": ["generate -l es -n 8 --retries-response 2"],
    "help derive": ["generate -l it -n 8 --retries-response 2"],
    "help check": ["export it.jsonl --for trl"],
    "help config unset": ["config set model llama3.2", "config set folder ."],
}
"""What has been run where the page begins."""

FINE = {"check": (0, 1), "converse": (0, 4)}
"""Exit codes: one may find something, the other leave a conversation as it is."""

LISTS = ("-l", "-s", "--temperature")

TAGS = {"quality": "good", "difficulty": "hard"}

MODELS = ["llama3.2", "qwen2.5:3b", "qwen2.5:7b", "qwen3:8b", "qwen3:14b", "small", "large", "MODEL", "JUDGE"]
USUAL = {
    "MAGPIE_OLLAMA_MODEL": "llama3.2",  # as whoever has one model, or a default
    "MAGPIE_OLLAMA_UNPROVEN": "1",  # the proof has tests of its own
    "MAGPIE_OLLAMA_NO_BROWSER": "1",
    "MAGPIE_OLLAMA_COMPARE_COUNT": "2",
    "MAGPIE_OLLAMA_TRIES": "1",
    "MAGPIE_OLLAMA_SEED": "5",  # the fake model writes by it
}


def shown() -> Iterator[tuple[str, list[list[str]]]]:
    for page in PAGES:
        if page.parent.name != "recipes" and (found := commands(page.read_text("utf-8"))):
            yield str(page.relative_to(ROOT)), found
    for path, command in walk(cli):
        if isinstance(command, Command) and command.examples:
            yield f"help {' '.join(path)}", [shlex.split(line) for line in command.examples]


def small(words: list[str], openai: FakeOpenAI) -> list[str]:
    """With smaller numbers, of each list the first and the last, the mocked servers' address, and a name on its Hub."""
    made = []
    for option, word in zip(["", *words], words, strict=False):
        if option in LISTS:
            word = ",".join(dict.fromkeys(word.split(",")[at] for at in (0, -1)))
        elif word.startswith("http://"):
            word = openai.url
        made.append(re.sub("^me/", "maria/", str(FEWER.get(option, word))))
    return [word for word in made if word != "..."]


def script(ask: Ask) -> Reply:
    """A judge that finds all good and hard, and grades by a token of its own where it is asked to. Every other answer
    to a Spanish or Italian question comes in English at first."""
    if "top_logprobs" in ask.body:
        grade = str(1 + len(str(ask.messages)) % 5)
        return Reply(grade, top={grade: -0.1})
    told = default_script(ask)
    if ask.kind != "chat":
        return told
    if wanted_schema(ask.body) is not None:
        return Reply(json.dumps({**json.loads(told.text), **TAGS}))
    first = not ask.body.get("options", {}).get("temperature")
    foreign = "¿" in ask.prompt or "come" in ask.prompt.casefold()
    if first and foreign and len(ask.prompt) % 2:
        return Reply("I am sorry, but I would rather answer this question in English, as I do every day.")
    return told


@pytest.fixture(scope="module")
def ollama() -> Iterator[FakeOllama]:
    models = [*map(FakeModel, MODELS), embedder("bge-m3")]
    with FakeOllama(models=models, script=script) as fake:
        yield fake


@pytest.fixture(scope="module")
def openai() -> Iterator[FakeOpenAI]:
    model = FakeModel("large")
    model.name = "large"  # no tag
    with FakeOpenAI("llama-server", models=[model], script=script) as fake:
        yield fake


@pytest.fixture
def there(own_folder: Path) -> None:
    """What the readers of the pages have already."""
    first, second = "4950479a0dfe4739e389ea4a4b28dc47", "a" * 32
    for name, count in {"it": 9, "en": 4, "es": 4, "it-train": 3, "it-test": 3}.items():
        ids = [first, second, *(f"{number:032}" for number in range(2, count))]
        made = (
            record(text=question(seed, name[:2]), language=name[:2], steering="none", id=one, model="llama3.2:latest")
            for seed, one in enumerate(ids)
        )
        Path(f"{name}.jsonl").write_bytes(b"".join(lines.encode(one.to_dict()) for one in made))
    rows = [{"instruction": question(seed, "it"), "output": "Con un poco di pazienza."} for seed in range(20, 26)]
    Path("magpie.jsonl").write_text("".join(f"{json.dumps(row)}\n" for row in rows), "utf-8")
    Path("alpaca.json").write_text(json.dumps(rows), "utf-8")
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), "others.parquet")
    Path("questions.csv").write_text(f'frage,question\n"{question(1, "de")}","{question(2, "de")}"\n', "utf-8")
    Path("prompts.txt").write_text(f"{question(1, 'it')}\n{question(2, 'it')}\n", "utf-8")
    Path("gsm8k-test.jsonl").write_text('{"question": "How many apples has she after giving two away?"}\n')
    Path("bad.txt").write_text(f"{second}\n")
    pair = json.dumps({"prompt": rows[0]["instruction"], "chosen": "Sì.", "rejected": "No."})
    Path("it-pairs.jsonl").write_text(pair)
    Path("dpo.jsonl").write_text(pair)
    Path("data").mkdir()


@pytest.mark.parametrize(("page", "asked"), [pytest.param(*one, id=one[0]) for one in shown()])
def test_each_command_that_is_shown_runs(
    page: str,
    asked: list[list[str]],
    run: Runner,
    there: None,
    ollama: FakeOllama,
    openai: FakeOpenAI,
    request: pytest.FixtureRequest,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(uvicorn.Server, "run", lambda server, sockets: [one.close() for one in sockets])
    if any(words[0] == "push" for words in asked):
        request.getfixturevalue("hub")
    ran = [shlex.split(line) for line in BEFORE.get(page, ())]
    ran += [small(words, openai) for words in asked if " ".join(words) not in NOT_RUN]
    for line in dict.fromkeys(map(shlex.join, ran)):
        words = shlex.split(line)
        usual = {name: value for name, value in USUAL.items() if "--server" not in words or "MODEL" not in name}
        with monkeypatch.context() as patch:
            if "embedded" in words:
                stand_in(patch, openai)
            done = run(*words, OLLAMA_HOST=ollama.url, **usual)
        assert done.code in FINE.get(words[0], (0,)), f"magpie-ollama {line}\n{done.out}{done.err}"


PYTHON = [page for page in PAGES if "from magpie_ollama import" in page.read_text("utf-8")]


@pytest.mark.parametrize("page", PYTHON, ids=lambda page: str(page.relative_to(ROOT)))
@pytest.mark.filterwarnings("ignore::UserWarning")  # the notes of a run
def test_each_piece_of_python_that_is_shown_runs(
    page: Path, there: None, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """But for ``to_dataset``, whose library takes seconds to load: tests/api/test_reading.py."""
    Path("hard.jsonl").write_bytes(Path("en.jsonl").read_bytes())
    names: dict[str, object] = {}
    models = [*map(FakeModel, MODELS)]
    with FakeOllama(models=models, script=judging) as many, FakeOllama(script=judging) as one:
        for piece in re.findall(r"^```python\n(.*?)^```", page.read_text("utf-8"), re.MULTILINE | re.DOTALL):
            if "class " in piece or "to_dataset" in piece:
                continue
            monkeypatch.setenv("OLLAMA_HOST", many.url if "model=" in piece else one.url)
            with suppress(ShortOfTarget) if "converse(" in piece else nullcontext():  # as in FINE
                exec(re.sub('"it", [0-9]+', '"it", 2', piece).replace("200", "10"), names)
