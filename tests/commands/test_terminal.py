"""Whatever a text from outside holds, no command gives it to the terminal as a command, nor takes it for markup."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from commands.screen import harmless, posix, terminal
from commands.support import Runner
from corpus.support import record
from fake_ollama import Ask, FakeModel, FakeOllama, Fault, Reply, default_script, smollm2

from magpie_ollama.__main__ import COMMANDS
from magpie_ollama.corpus import lines

SEQUENCES = (
    "\x1b[7;7H", "\x1b[5m", "\x1b]52;c;ZXZpbA==\x07", "\x1b]0;title\x1b\\", "\x1b]8;;http:evil\x1b\\x\x1b]8;;\x1b\\",
    "\x1bP1$r\x1b\\", "\x9b7;7H", "\x9d0;t\x9c", "\x85", "\x7f", "\b\b\b", "\r", "\x0e", "\u202etxet\u202c", "\u2067x",
    "[/]", "[link=http:evil]x[/link]", "[bold]", ":smiley:",
)  # fmt: skip
EVIL = " ".join(SEQUENCES)
"""Without a line end, which would be one of ours too."""

NAME = f"x{EVIL.replace('/', '')}.jsonl"

OURS = re.compile(r"\x1b\[[0-9;]*m|\x1b\[\?(?:1|7|12|25|1049|2004)[hl]|\x1b\[[0-9;]*H|\x1b\[[0-9]*[A-DJK]|\r|\x08")
"""What our own displays send to a terminal: colours, the cursor, the alternate screen, lines that are drawn anew."""

ARGUMENTS: dict[str, list[list[str]]] = {
    "generate": [
        ["-n", "2", "-o", f"new{NAME}", "HOST"],
        ["-n", "2", "-o", NAME, "HOST"],
        ["-n", "2", "-o", f"new{NAME}", "HOST", "--no-progress"],
        ["-n", "2", "-o", f"new{NAME}", "--json", "HOST"],
        ["--dry-run", "--language-file", "evil.toml", "--system", EVIL, "HOST", "--option", f"x={EVIL}"],
        ["--dry-run", "--json", "--language-file", "evil.toml", "--system", EVIL, "HOST"],
        ["--dry-run", "--template", "template.toml", "HOST"],
        ["-m", f"none{EVIL}", "HOST"],
        ["--pull", "-m", f"none{EVIL}", "HOST"],
        ["-l", EVIL],
        ["-s", EVIL],
        ["--language-file", f"none{EVIL}"],
        ["--server", EVIL],
        ["--host", EVIL],
    ],
    "compare": [
        ["-l", "en", "-s", "none", "-n", "2", "HOST", "-o", f"c{NAME}"],
        ["-l", "en", "-s", "none", "-n", "2", "HOST", "--json"],
    ],
    "doctor": [["HOST"], ["HOST", "--json"], ["--host", "FAILING"]],
    "template": [
        ["show", "HOST"],
        ["show", "HOST", "--json"],
        ["show", "--template", "template.toml", "HOST"],
        ["list"],
    ],
    "config": [[], ["--json"], ["set", "model", EVIL], ["set", EVIL, "x"], ["set", "folder", NAME], ["unset", EVIL]],
    "completion": [["bash"], [EVIL]],
    "languages": [[], [EVIL], ["it", "--json"]],
    "stats": [["FILE"], ["FILE", "--json"], ["bad.jsonl"], [f"none{NAME}"]],
    "view": [["FILE"], [f"none{NAME}"]],
    "review": [["FILE", "--apply"], ["FILE"], ["FILE", "--apply", "--json"], [f"none{NAME}"]],
    "sample": [["FILE"], ["FILE", "-l", EVIL], ["FILE", "-o", f"s{NAME}"]],
    "filter": [
        ["FILE", "--match", "Chi"],
        ["FILE", "-l", "xx", "--json"],
        ["FILE", "-o", f"f{NAME}", "--match", "Chi"],
        ["FILE", "--tag", EVIL],
    ],
    "upgrade": [["FILE"], ["FILE", "--json"], [f"none{NAME}"]],
    "dedup": [["FILE", "--show"], ["FILE", "--show", "--json"], ["FILE", "-o", f"d{NAME}"]],
    "drop": [
        ["FILE", "--line", "1", "--json"],
        ["FILE", EVIL],
        ["FILE", "--line", EVIL],
        ["FILE", "--ids-from", f"none{EVIL}"],
    ],
    "tag": [["FILE", "-o", f"t{NAME}", "HOST"], ["FILE", "-o", f"u{NAME}", "HOST", "--json", "--unproven"]],
    "import": [
        ["FILE", "-o", f"i{NAME}"],
        ["FILE", "-o", f"j{NAME}", "--json"],
        ["FILE", "-o", f"k{NAME}", "-l", EVIL],
    ],
    "export": [["FILE", "-o", f"e{NAME}"], ["FILE", "--json", "-o", f"g{NAME}"], ["FILE", "--split", EVIL]],
    "respond": [
        ["FILE", "-o", f"r{NAME}", "HOST"],
        ["FILE", "-o", f"q{NAME}", "HOST", "--json"],
        ["FILE", "-o", f"p{NAME}", "-l", EVIL],
        ["FILE", "--column", EVIL],
    ],
    "converse": [
        ["FILE", "-o", f"v{NAME}", "HOST", "--turns", "2"],
        ["FILE", "-o", f"w{NAME}", "HOST", "--turns", "2", "--json"],
        ["FILE", "--turns", EVIL],
    ],
    "prefer": [
        ["FILE", "-o", f"k1{NAME}", "HOST", "-k", "2"],
        ["FILE", "-o", f"k2{NAME}", "HOST", "-k", "2", "--json"],
        ["FILE", "--column", EVIL],
    ],
    "derive": [
        ["FILE", "--to", "kto", "-o", f"x{NAME}"],
        ["FILE", "--to", "dpo", "-o", f"y{NAME}", "--json"],
        ["FILE", "--to", EVIL],
    ],
    "check": [["FILE", "--for", "trl"], ["FILE", "--for", "trl", "--json"], [f"none{NAME}", "--for", "trl"]],
    "serve": [[f"none{NAME}"], ["FILE", "--address", EVIL]],
    "push": [["FILE", "a/b", "--dry-run"], ["FILE", "a/b", "--dry-run", "--json"], ["FILE", EVIL]],
}
"""Of each command, calls that show texts of others: the first goes well; then others, as JSON, and errors."""

WALK = [pytest.param(name, call, id=f"{name}-{at}") for name in ARGUMENTS for at, call in enumerate(ARGUMENTS[name])]


def script(ask: Ask) -> Reply:
    if "format" in ask.body:  # a judge
        return Reply(f'{{"quality": "{EVIL}"}}')
    return Reply(f"{default_script(ask).text} {EVIL}")


ENDS = {
    "generate": 4,
    "respond": 4,
    "converse": 4,
    "tag": 3,
    "upgrade": 1,
    "derive": 1,
    "check": 1,
    "prefer": 1,
    "serve": 2,
}
"""Exit codes where all that a model writes is of no use, or a file is not this tool's."""


@dataclass
class World:
    """Servers and files that hold EVIL wherever there is a text."""

    host: str
    failing: str

    def words(self, call: list[str]) -> list[str]:
        words: list[str] = []
        for word in call:
            words += ["--host", self.host] if word == "HOST" else [word]
        return [{"FILE": NAME, "FAILING": self.failing}.get(word, word) for word in words]


@pytest.fixture
def world(own_folder: Path) -> Iterator[World]:
    values = lines.values(record(run=f"r{EVIL}", text=f"Chi sei? {EVIL}", language=EVIL, model=EVIL, steering=EVIL))
    tags = dict.fromkeys(("quality", "difficulty", "category", "safety", "judge"), EVIL)
    other = {"instruction": f"Chi sei? {EVIL}", "output": EVIL, "language": f"{EVIL}2", EVIL: EVIL, "server": EVIL}
    plain = lines.values(record(text=f"Chi sei tu, davvero? {EVIL}", run="made")) | {"tags": tags}
    Path(NAME).write_bytes(b"".join(lines.encode(one) for one in (values, other, plain)))
    Path("bad.jsonl").write_bytes(lines.encode(values) + f"{EVIL}\n".encode())
    runs = Path(f"{NAME}.magpie/runs")
    runs.mkdir(parents=True)
    settings = dict.fromkeys(("language", "steering", "model", "server"), EVIL)
    funnel = {"outcomes": {"kept": 1, EVIL: 2}, "tokens": {"kept": 9, EVIL: 9}, "steerings": {EVIL: 3}}
    manifest = {
        "run": "made", "number": 1, "status": EVIL, "target": 1, "seed": 0, "created_at": EVIL, "fingerprint": EVIL,
        "settings": settings, "funnel": funnel, "seconds": 1.0, "server_version": EVIL,
    }  # fmt: skip
    (runs / "made.json").write_text(json.dumps(manifest), "utf-8")
    (runs / f"b{NAME}.json").write_text("{", "utf-8")
    text = json.dumps(EVIL)  # a string of JSON is one of TOML
    Path("template.toml").write_text(
        f"user = {json.dumps(f'{EVIL}{{content}}{EVIL}')}\nassistant = {json.dumps(f'{EVIL}{{content}}')}\n"
        f"reply = {json.dumps(f'{EVIL}reply')}\n",
        "utf-8",
    )
    openers = "\n".join(f"{kind} = [{text}]" for kind in ("questions", "orders", "needs", "descriptions"))
    exemplars = "".join(f"[[exemplars]]\ninstruction = {text}\nresponse = {text}\n" for _ in range(3))
    Path("evil.toml").write_text(
        f'code = "xx"\nenglish = {text}\nnative = {text}\naliases = []\nscripts = ["Latn"]\nspaces = true\n'
        f"prefix = {text}\nregister = {text}\nsystem = {text}\nsystem_multi_turn = {text}\n"
        f"[openers]\n{openers}\n{exemplars}",
        "utf-8",
    )
    model = FakeModel(name=f"m{EVIL}", template=smollm2().template, parameters=smollm2().parameters)
    with FakeOllama(script=script, models=[model], version=f"0.33.0 {EVIL}") as fake, FakeOllama() as failing:
        failing.fail_next(1000, Fault("status", status=418, text=EVIL))
        yield World(fake.url, failing.url)


def test_every_command_is_walked() -> None:
    assert list(ARGUMENTS.keys() ^ COMMANDS.keys()) == []


@pytest.mark.parametrize(("name", "call"), WALK)
def test_piped(run: Runner, world: World, name: str, call: list[str]) -> None:
    done = run(name, *world.words(call))
    for stream in (done.out, done.err):
        assert harmless(stream.replace("\n", "")), ascii(stream)
    assert "this is a bug" not in done.err
    assert done.code == ENDS.get(name, 0) or call is not ARGUMENTS[name][0], done.err
    if "--json" in call and done.code == 0:
        json.loads(done.out)


@posix
@pytest.mark.parametrize(("name", "call"), WALK)
def test_on_a_terminal(world: World, name: str, call: list[str]) -> None:
    with terminal(name, *world.words(call), columns=100, rows=20) as screen:
        if name in ("view", "review") and call == ["FILE"]:
            screen.wait_for("Chi sei?")
            for at in (2, 3):
                screen.type("\r")
                screen.wait_for(f"{at} of 3")
            screen.type("q")
        screen.end()
        raw = screen.raw.decode()
    assert harmless(OURS.sub("", raw).replace("\n", "")), ascii(raw)
    for sequence in SEQUENCES[:2]:
        assert sequence not in raw
    assert "\x1b]8" not in raw
    assert "this is a bug" not in raw


def test_usage_errors_and_tracebacks(run: Runner, world: World) -> None:
    for words in ([EVIL], ["stats"], ["stats", NAME, EVIL], ["stats", f"--{EVIL}"], ["view", f"none{NAME}", "--debug"]):
        done = run(*words)
        assert done.code != 0
        assert harmless((done.out + done.err).replace("\n", "")), ascii(done.err)


def test_the_page_of_an_experiment(run: Runner, world: World) -> None:
    assert run("compare", *world.words(ARGUMENTS["compare"][0])).code == 0
    text = Path(f"c{NAME}".replace(".jsonl", ".html")).read_text("utf-8")
    assert harmless(text.replace("\n", ""))
    assert "<script" not in text
