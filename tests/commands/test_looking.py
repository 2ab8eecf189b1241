"""stats, sample and view: what they tell of a file, and that nothing in it reaches the terminal as a command."""

from __future__ import annotations

import gzip
import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from commands.screen import harmless, posix, terminal
from commands.support import Runner, check_error, finished, process, records
from corpus.support import PACKAGE, record
from curation.test_foreign import FORMS

from magpie_ollama.corpus import lines
from magpie_ollama.display.progress import LARGE

FILE = Path("it.jsonl")
EVIL = "Chi sei? \x1b[2J\x1b]0;title\x07 \x9b31m \u202etxet"
OF_OTHERS = {
    "instruction": {"instruction": "Chi sei?", "output": "Un modello."},
    "conversations": {
        "conversations": [{"from": "human", "value": "Chi sei?"}, {"from": "gpt", "value": "Un modello."}]
    },
}


def write(*data: dict[str, Any] | bytes, path: Path = FILE) -> Path:
    path.write_bytes(b"".join(one if isinstance(one, bytes) else lines.encode(one) for one in data))
    return path


def corpus(count: int = 20, **changes: Any) -> Path:
    made = (record(seed=n, text=f"Domanda numero {n}, come si fa?", **changes) for n in range(count))
    return write(*(lines.values(one) for one in made))


def twice(path: Path) -> None:
    """So that there are duplicates: questions with other numbers are none."""
    path.write_bytes(path.read_bytes() * 2)


@pytest.mark.parametrize(
    "args",
    [
        *(
            ("stats", "--near"),
            ("view",),
            ("sample", "-n", "12"),
            ("sample", "-n", "12", "--json"),
            ("dedup", "--show"),
        ),
        *(("filter", "--min-words", "1"), ("drop", "--line", "1"), ("export", "-o", "-"), ("push", "a/b", "--dry-run")),
        ("import", "-l", "en", "-o", "new.jsonl"),
    ],
    ids=" ".join,
)
def test_every_command_reads_every_form(run: Runner, args: tuple[str, ...]) -> None:
    FILE.write_text("".join(json.dumps(row) + "\n" for row in FORMS), "utf-8")
    done = run(args[0], FILE, *args[1:])
    assert done.code == 0, done.err


@pytest.mark.parametrize("command", ["stats", "sample", "view"])
@pytest.mark.parametrize(
    ("content", "code", "words"),
    [
        (None, 2, ("cannot be read", "generate")),
        (b"", 1, ("is empty",)),
        (b"\n \n", 1, ("holds no",)),
        (b"a,b\n1,2\n", 1, ("CSV",)),
        (b'{"a": 1}\n', 1, ("line 1 has no instruction",)),
        (b'{"instruction": "caff\xe8"}\n', 1, ("line 1 is not UTF-8",)),
    ],
)
def test_files_that_are_none(
    run: Runner, command: str, content: bytes | None, code: int, words: tuple[str, ...]
) -> None:
    if content is not None:
        FILE.write_bytes(content)
    check_error(run(command, FILE), code, *words)


def test_only_view_wants_a_packed_file_unpacked(run: Runner) -> None:
    FILE.write_bytes(gzip.compress(b'{"instruction": "Chi sei?", "output": "Io."}\n'))
    check_error(run("view", FILE), 1, "gunzip < it.jsonl > it-lines.jsonl")
    assert json.loads(run("stats", FILE, "--json").out)["records"] == 1
    assert "Chi sei?" in run("sample", FILE, "-n", 1).out


@posix
@pytest.mark.parametrize("command", ["stats", "sample", "view"])
@pytest.mark.parametrize("device", ["/dev/zero", "/dev/urandom", "/dev/tty"])
def test_devices_are_no_files(run: Runner, command: str, device: str) -> None:
    check_error(run(command, device), 2, f"{device} is a device", "JSONL")


@posix
@pytest.mark.parametrize("args", [("stats", "-"), ("filter", "-", "-l", "it"), ("import", "-", "-o", "new.jsonl")])
def test_a_device_as_stdin_is_none_either(args: tuple[str, ...]) -> None:
    command = [sys.executable, "-m", "magpie_ollama", *args]
    with Path("/dev/zero").open("rb") as endless:
        done = subprocess.run(
            command, stdin=endless, capture_output=True, text=True, env={**os.environ, "PYTHONPATH": str(PACKAGE)},
            check=False,
        )  # fmt: skip
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("error: Stdin is a device")


@posix
def test_a_line_without_an_end_is_not_read_to_it(tmp_path: Path) -> None:
    line = "printf '{\"instruction\": \"'; exec tr '\\0' x < /dev/zero"
    endless = subprocess.Popen(["sh", "-c", line], stdout=subprocess.PIPE)
    done = subprocess.run(
        [sys.executable, "-m", "magpie_ollama", "stats", "-"], stdin=endless.stdout, capture_output=True, text=True,
        env={**os.environ, "PYTHONPATH": str(PACKAGE)}, check=False,
    )  # fmt: skip
    endless.kill()
    endless.communicate()
    assert done.returncode == 1
    assert "line 1 is longer than 64 MB" in done.stderr


@pytest.mark.parametrize("command", ["stats", "sample"])
def test_bad_lines_are_told_or_skipped(run: Runner, command: str) -> None:
    write(OF_OTHERS["instruction"], b"{broken\n", OF_OTHERS["conversations"])
    check_error(run(command, FILE), 1, "ine 2 of it.jsonl", "--skip-bad")
    done = run(command, FILE, "--skip-bad")
    assert done.code == 0
    assert "Passed over line 2" in done.err
    assert "Passed" not in run(command, FILE, "--skip-bad", "-q").err


@pytest.mark.parametrize("command", ["stats", "sample", "view"])
def test_what_is_in_the_data_moves_no_cursor(run: Runner, command: str) -> None:
    write(
        {"instruction": EVIL, "output": EVIL, "model": EVIL, "language": EVIL, "tags": {EVIL: EVIL}, EVIL: EVIL},
        {"instruction": EVIL, "output": EVIL, "model": f"{EVIL}2", "steering": EVIL, "finish_reason": "\x1b"},
    )
    done = run(command, FILE, FORCE_COLOR="1", NO_COLOR="1", TERM="dumb")
    assert done.code == 0
    assert harmless(re.sub("\x1b\\[[0-9;]*m", "", done.out + done.err).replace("\n", ""))
    assert r"Chi sei? \x1b[2J" in done.out


@pytest.mark.parametrize("shape", OF_OTHERS)
def test_records_of_other_tools(run: Runner, shape: str) -> None:
    write(OF_OTHERS[shape])
    report = json.loads(run("stats", FILE, "--json").out)
    assert (report["records"], report["forms"]) == (1, {shape: 1})
    assert "Un modello." in run("sample", FILE).out
    assert "Un modello." in run("view", FILE).out


def test_stats(run: Runner) -> None:
    corpus()
    done = run("stats", FILE)
    assert done.code == 0
    told = " ".join(done.out.split())
    for words in ("records 20", "duplicates none", "steering system", "model m:1b", "it Italian ██████████ 20 100 %"):
        assert words in told
    assert "5-9 ████████████████████ 20" in told
    assert run("stats", FILE, "--near").out.count("near-duplicates") == 1


def test_stats_from_a_pipe(monkeypatch: pytest.MonkeyPatch) -> None:
    content = corpus().read_bytes()
    done = subprocess.run(
        [sys.executable, "-m", "magpie_ollama", "stats", "-", "--json"],
        input=content,
        capture_output=True,
        env={**os.environ, "PYTHONPATH": str(PACKAGE)},
        check=True,
    )
    report = json.loads(done.stdout)
    assert (report["file"], report["records"], report["runs"]) == ("-", 20, [])


def test_sample_draws_lines_as_they_stand(run: Runner) -> None:
    content = corpus().read_bytes().splitlines()
    done = run("sample", FILE, "-n", 3, "--seed", 4, "-o", "new.jsonl")
    assert "3 of 20 records in new.jsonl; --seed 4 draws them again." in done.err
    drawn = Path("new.jsonl").read_bytes().splitlines()
    assert len(set(drawn)) == 3
    assert set(drawn) <= set(content)
    assert run("sample", FILE, "-n", 3, "--seed", 4, "--json").out.encode().splitlines() == drawn
    assert run("sample", FILE, "-n", 3, "--seed", 4, "-o", "-").out.encode().splitlines() == drawn
    check_error(run("sample", FILE, "-o", "new.jsonl"), 2, "is there already", "--force")
    assert run("sample", FILE, "-n", 1, "-o", "new.jsonl", "--force", "-q").err == ""
    assert len(records("new.jsonl")) == 1
    check_error(run("sample", FILE, "-o", "new.jsonl", "--json"), 2, "--json and -o")


def test_sample_does_not_replace_its_input(run: Runner) -> None:
    before = corpus().read_bytes()
    check_error(run("sample", FILE, "-n", 3, "-o", FILE, "--force"), 2, "the input itself", "-o")
    assert FILE.read_bytes() == before


def test_sample_of_a_language_and_a_steering(run: Runner) -> None:
    values = [lines.values(record(seed=n, language=code, steering=steering)) for n, (code, steering) in enumerate(
        [("it", "system"), ("it", "opener"), ("es", "system"), ("es", "opener")] * 5)]  # fmt: skip
    write(*values)
    drawn = [
        json.loads(line)
        for line in run("sample", FILE, "-n", 99, "-l", "Spanish", "--steering", "opener", "--json").out.splitlines()
    ]
    assert [(value["language"], value["steering"]) for value in drawn] == [("es", "opener")] * 5
    write({**values[0], "steering": "exemplar+opener"})
    assert run("sample", FILE, "--steering", "opener+exemplar", "--json").out
    check_error(run("sample", FILE, "--steering", "sideways"), 2, "sideways")
    check_error(run("sample", FILE, "-l", "de"), 2, "no records of de", "magpie-ollama stats")


def test_view_prints_plainly_where_there_is_no_terminal(run: Runner) -> None:
    corpus(3)
    done = run("view", FILE, "--start", 2)
    assert [line for line in done.out.splitlines() if line.startswith("line ")] == ["line 2", "line 3"]
    assert "  Domanda numero 1, come si fa?\n\nresponse\n  Così. 你好\n" in done.out


def test_view_names_a_start_behind_the_end(run: Runner) -> None:
    corpus(3)
    check_error(run("view", FILE, "--start", 99), 2, "no line 99", "it.jsonl has 3")


def test_colour_makes_no_terminal_of_a_pipe(run: Runner) -> None:
    corpus(3)
    done = run("view", FILE, FORCE_COLOR="1", TERM="xterm")
    assert (done.code, done.err) == (0, "")
    assert "Domanda numero 2" in done.out


def test_no_variable_makes_a_pipe_interactive(run: Runner) -> None:
    corpus(3)
    done = run("view", FILE, TTY_INTERACTIVE="1", TERM="xterm")
    assert (done.code, done.err) == (0, "")
    assert "Domanda numero 2" in done.out


@pytest.mark.parametrize(
    "args",
    [
        ("view",),
        ("sample", "--json", "-n", "9999"),
        ("export", "-o", "-"),
        ("filter", "-l", "it", "-o", "-"),
        ("dedup", "--show"),
    ],
)
def test_a_closed_pipe_ends_it_quietly(args: tuple[str, ...]) -> None:
    twice(corpus(9999))
    started = process(args[0], FILE, *args[1:])
    assert started.stdout is not None
    started.stdout.readline()
    started.stdout.close()
    started.stdout = None
    done = finished(started)
    assert (done.code, done.err) == (0, "")


def test_a_pair_that_cannot_be_shown_ends_dedup_before_anything_is_written() -> None:
    twice(corpus(9999))
    started = process("dedup", FILE, "--show", "-o", "new.jsonl")
    assert started.stdout is not None
    started.stdout.readline()
    started.stdout.close()
    started.stdout = None
    check_error(finished(started), 1, "nothing was written", "--show")
    assert not Path("new.jsonl").exists()


@posix
def test_a_bar_is_for_large_files_on_a_terminal_only() -> None:
    line = lines.encode(OF_OTHERS["instruction"] | {"output": "x" * 100_000})
    write(*[line] * (LARGE // len(line) + 1))
    assert finished(process("stats", FILE)).err == ""
    with terminal("stats", FILE) as screen:
        screen.wait_for("Reading it.jsonl")
        screen.wait_for("records")


@posix
def test_view_on_a_terminal() -> None:
    write(
        lines.values(record(text="Prima domanda?")),
        lines.values(record(text=EVIL)),
        lines.values(record(text="雪は なぜ 白い？ " * 12, language="ja")),
        lines.values(record(text="מה שלומך?", language="he")),
    )
    with terminal("view", FILE) as screen:
        screen.wait_for("Prima domanda?")
        assert b"\x1b[?1049h" in screen.raw
        screen.type("\r")
        screen.wait_for(r"Chi sei? \x1b[2J\x1b]0;title\x07 \x9b31m \u202etxet")
        screen.type("\x1b[C")
        screen.wait_for("雪は なぜ 白い？")
        assert "3 of 4" in screen.rows()[0]
        screen.resize(30, 6)
        screen.wait_for("rows 1-4 of")
        screen.type("/שלומך\r")
        screen.wait_for("מה שלומך?")
        screen.type("1\r")
        screen.wait_for("1 of 4")
        screen.type("q")
        assert screen.end() == 0
        assert screen.given_back


@posix
@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_the_terminal_comes_back_however_view_is_ended(number: int, code: int) -> None:
    corpus(3)
    with terminal("view", FILE) as screen:
        screen.wait_for("Domanda numero 0")
        screen.process.send_signal(number)
        assert screen.end() == code
        assert screen.given_back


def test_view_names_who_speaks_in_a_conversation(run: Runner) -> None:
    turns = [{"role": role, "content": f"{role} {n}"} for n in (1, 2) for role in ("user", "assistant")]
    write({"messages": [{"role": "system", "content": "Sii breve."}, *turns]}, {"messages": turns[:2]})
    told = [line for line in run("view", FILE).out.splitlines() if line.isalpha()]
    assert told == ["system", "user", "assistant", "user", "assistant", "instruction", "response"]


def test_view_shows_the_calls_of_tools_and_every_digit(run: Runner) -> None:
    call = {"id": "c1", "function": {"name": "weather", "arguments": "{}"}}
    turns = [
        {"role": "user", "content": [{"type": "text", "text": "Che tempo fa?"}]},
        {"role": "assistant", "content": None, "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "c1", "content": "Sole."},
    ]
    write({"messages": turns, "number": 2**70})
    told = run("view", FILE).out
    assert "Che tempo fa?" in told
    assert '{"tool_calls": [{"id": "c1", "function": {"name": "weather", "arguments": "{}"}}]}' in told
    assert 'Sole.\n  {"tool_call_id": "c1"}' in told
    assert str(2**70) in told


@pytest.mark.parametrize("deep", [b'{"messages": [{"role": "user", "content": "Chi?", "x": DEEP}]}',
                                  b'{"instruction": "Chi?", "output": "Io.", "x": DEEP}'])  # fmt: skip
def test_view_shows_a_line_however_deep_it_is(run: Runner, deep: bytes) -> None:
    done = run("view", write(deep.replace(b"DEEP", b"[" * 1000 + b"]" * 1000)))
    assert (done.code, done.err) == (0, "")
    assert "Chi?" in done.out


def test_a_confidence_that_is_no_share_is_as_if_not_measured(run: Runner) -> None:
    write(*({"instruction": "Chi?", "output": "Io.", "confidence": value} for value in (10**400, 7, 1, 0.5)))
    told = json.loads(run("stats", FILE, "--json").out)
    assert told["languages"][0]["confidence"]["p5"] == 0.5
    assert run("filter", FILE, "--min-confidence", "0.2").out.startswith("Would keep 4 of 4 records.")


def test_a_table_is_refused_with_the_command_that_makes_lines_of_it(run: Runner, own_folder: Path) -> None:
    source = own_folder / "it.csv"
    source.write_text("instruction,output\nQuanto fa 2 + 2?,4.\n")
    done = run("view", source)
    check_error(done, 1, "is CSV", f"magpie-ollama export {source} -o {own_folder}/it-lines.jsonl")
    assert run("export", source, "-o", "it-lines.jsonl", "-q").code == 0
    assert "Quanto fa 2 + 2?" in run("view", "it-lines.jsonl").out
