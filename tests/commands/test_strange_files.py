"""Files and options that nobody would write: each command ends with an error of ours or without one, and soon.

FUZZ_INPUTS=2000 makes it long.
"""

from __future__ import annotations

import json
import os
import random
import time
from pathlib import Path
from typing import Any

import pytest
from commands.support import Runner
from corpus.support import record
from fake_ollama import FakeOllama, Reply

INPUTS = int(os.environ.get("FUZZ_INPUTS", "120"))

DEEP: Any = []
for _ in range(400):
    DEEP = [DEEP]

ODD: list[Any] = [
    *(
        None,
        True,
        False,
        0,
        -1,
        2**31,
        2**63,
        2**70,
        10**4000,
        0.1,
        -0.0,
        1e308,
        float("nan"),
        float("inf"),
        -float("inf"),
    ),
    *("", " ", "x", "it", "\ud83d", "\0", "[/]", "[link=x]y[/link]", "\x1b]52;c;eA==\a", "\u202e", "..", "a" * 3000),
    *([], {}, [[]], [None], {"": ""}, {"a": {"b": [1]}}, [{"role": "user"}], [{"role": 3, "content": 4}], DEEP),
    *(["math"], {"quality": 3}, {"quality": "good", "judge": "m"}, {"judge": None}, "\u0130", "é" * 50, "٣", "1e5"),
]
ROWS: list[dict[str, Any]] = [
    {**record(seed=7, text="Come si fa il pane con la farina di segale?").to_dict(), "run": "20261122-162134-cd3d"},
    {"instruction": "Traduci", "input": "Ciao!", "output": "Hello!"},
    {
        "conversations": [{"from": "human", "value": "Chi sei?"}, {"from": "gpt", "value": "Boh."}],
        "task_category": "Math",
    },
    {"prompt": [{"role": "user", "content": "Chi?"}], "completion": [{"role": "assistant", "content": "Io."}]},
    {"instruction": "Elenca:", "response": "Boh.", "tags": {"quality": "good", "judge": "m"}, "label": False},
    {"prompt": "Chi?", "chosen": "Io.", "rejected": "Tu."},
]
KEYS = (
    *(
        "id",
        "messages",
        "conversations",
        "instruction",
        "output",
        "prompt",
        "completion",
        "language",
        "model",
        "model_name",
    ),
    *(
        "server",
        "steering",
        "seed",
        "run",
        "created_at",
        "finish_reason",
        "confidence",
        "schema",
        "tags",
        "uuid",
        "label",
    ),
    *("instruct_reward", "min_similar_uuid", "input_quality", "difficulty", "llama_guard_2", "task_category", "input"),
)
TEXTS = (
    "",
    "0",
    "-1",
    "1",
    "3",
    "99999999999999999999",
    "nan",
    "1e3",
    "it,,es",
    "xx",
    "quality=good",
    "=",
    "٣",
    "\udcff",
)
OPTIONS: dict[str, tuple[str, ...]] = {
    "filter": (
        *(
            "-l",
            "--steering",
            "--model",
            "--min-confidence",
            "--min-words",
            "--max-words",
            "--min-response-words",
            "--match",
        ),
        *("--max-response-words", "--not-match", "--tag", "--longest", "--magpie", "--redetect", "--rescreen"),
    ),
    "dedup": ("--threshold", "--exact", "--show"),
    "drop": ("--line", "--ids-from"),
    "sample": ("-n", "--seed", "-l", "--steering"),
    "stats": ("--near",),
    "push": ("--licence", "--public"),
    "tag": (),
}
FLAGS = {"--magpie", "--redetect", "--rescreen", "--exact", "--show", "--near", "--public"}
PATTERNS = ("(", "a|b", "(?i)CIAO", ".*", "[[a]", r"\1", "x{9999999999}", "(?P<a>.)", "è", r"\Z", "(?#", "'")
ANSWERS = ("", "{", "no", "```json\n{}\n```", '{"quality": NaN}', "[[[[", '{"quality": "good", "difficulty": 3}')
GOOD = '{"quality": "good", "difficulty": "easy", "category": "math", "safety": "safe"}'


def rows(draw: random.Random) -> list[dict[str, Any]]:
    found = []
    for _ in range(draw.randint(1, 8)):
        row = json.loads(json.dumps(draw.choice(ROWS)))
        for _ in range(draw.randint(0, 3)):
            place: Any = row
            turns = next(
                (row[key] for key in ("messages", "conversations", "prompt") if isinstance(row.get(key), list)), []
            )
            if turns and isinstance(turns[0], dict) and draw.random() < 0.3:
                place = draw.choice(turns)
                if isinstance(place, dict):
                    place[draw.choice(["role", "from", "content", "value", "weight", "tool_calls"])] = draw.choice(ODD)
                continue
            place[draw.choice(KEYS)] = draw.choice(ODD)
        found.append(row)
    return found


def damaged(draw: random.Random, data: bytes) -> bytes:
    kind = draw.randrange(10)
    if kind == 0:
        return data[: draw.randrange(len(data))]
    if kind == 1:
        at = draw.randrange(len(data))
        return data[:at] + draw.randbytes(3) + data[at + 1 :]
    if kind == 2:
        return data.replace(b"\n", b"\r\n\n \n")
    return {3: b"\xef\xbb\xbf" + data, 4: data + b"null\n", 5: data + b"[" * 3000}.get(kind, data)


def arguments(draw: random.Random, command: str, file: Path) -> list[str]:
    given = [command, str(file)]
    if command == "push":
        given.append(draw.choice(["maria/x", "x", "a/b/c", "maria/\udcff"]))
        given += ["--dry-run"]
    if command == "drop" and draw.random() < 0.5:
        given += ["--", draw.choice(TEXTS)] if draw.random() < 0.2 else [draw.choice(["x", "line 1", "0", "\udcff"])]
    for name in draw.sample(OPTIONS[command], draw.randint(0, min(3, len(OPTIONS[command])))):
        given.append(name)
        if name not in FLAGS:
            given.append(draw.choice(PATTERNS if "match" in name else TEXTS))
    if "--" not in given:
        given += [
            one
            for one in ("--json", "--skip-bad", "--force", "-q")
            if command not in ("stats", "push") or one != "--force"
            if draw.random() < 0.4
        ]
        if command in ("filter", "dedup", "drop", "tag", "sample") and draw.random() < 0.8:
            in_place = command != "sample" and draw.random() < 0.4
            given += ["--in-place"] if in_place else ["-o", str(file.with_name("new.jsonl"))]
    return given


@pytest.mark.timeout(0 if INPUTS > 1000 else 300)
def test_every_command_ends_with_words_of_ours(run: Runner, own_folder: Path) -> None:
    draw = random.Random(0)
    failed: dict[str, object] = {}
    with FakeOllama(script=lambda ask: Reply(random.Random(ask.index).choice((*ANSWERS, GOOD, GOOD, GOOD)))) as fake:
        for number in range(INPUTS):
            command = draw.choice(list(OPTIONS))
            file = own_folder / f"{number}" / "it.jsonl"
            file.parent.mkdir()
            content = b"".join(json.dumps(row).encode() + b"\n" for row in rows(draw))
            file.write_bytes(damaged(draw, content))
            if draw.random() < 0.3:
                beside = file.with_name("it.jsonl.magpie")
                beside.mkdir()
                for name in ("operations.jsonl", "tags.jsonl"):
                    odd = [
                        {
                            key: draw.choice(ODD)
                            for key in ("command", "rules", "read", "kept", "removed", "at", "record", "judge")
                        }
                    ]
                    (beside / name).write_bytes(damaged(draw, json.dumps(odd[0]).encode() + b"\n"))
            given = arguments(draw, command, file)
            if command == "tag":
                given += ["--host", fake.url, "--no-progress", *["--unproven"] * (number % 4 > 0)]
            started = time.monotonic()
            done = run(*given)
            wrong = "a bug" in done.err or "Traceback" in done.err or time.monotonic() - started > 30
            if wrong or done.code not in (0, 1, 2, 3):
                failed[done.err[-300:]] = (number, given, content[:2000])
    assert not failed, json.dumps(failed, indent=1, default=str)[:6000]
