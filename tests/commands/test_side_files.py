"""Damaged side files under the commands that read them: an error or a note, and never a traceback, a hang, a lost or
doubled record, or one with nonsense in it."""

from __future__ import annotations

import json
import random
import re
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from commands.support import TARGET, Runner, records
from fake_ollama import FakeOllama

from magpie_ollama import prompts
from magpie_ollama.corpus import Corpus

WRONG = [None, True, -1, 1.5, 1e400, float("nan"), 10**30, 2**63, "", "../../x", "\ud800", "[/]", [], {}, [[None]]]
WHOLE = [b"", b"[" * 100_000, b'{"a":' * 3000 + b"1" + b"}" * 3000, b"\0" * 500, b"\xff\xfe", b"9" * 5000, b'"\\ud800"']
TOML = [
    b"1",
    b"nan",
    b"9" * 5000,
    b"[]",
    b"{}",
    b'""',
    b'"../../x"',
    b"1979-05-27",
    b'[["a"]]',
    b"[" * 400 + b"]" * 400,
]

Damage = Callable[[bytes, random.Random], bytes]


def of_json(data: bytes, chance: random.Random) -> bytes:
    """With one value replaced, or under another name; cut short; or something else."""
    if chance.random() < 0.3:
        return chance.choice([*WHOLE, data[: chance.randrange(len(data) + 1)], data + data])
    lines = data.splitlines() if b"\n{" in data else [data]
    number = chance.randrange(len(lines))
    value = json.loads(lines[number])
    table = chance.choice(list(tables(value)))
    key = chance.choice(list(table))
    if chance.random() < 0.2:
        table[f"{key}x"] = table.pop(key)
    else:
        table[key] = chance.choice(WRONG)
    lines[number] = json.dumps(value).encode()
    return b"\n".join(lines) + b"\n"


def tables(value: Any) -> Iterator[dict[str, Any]]:
    if isinstance(value, dict) and value:
        yield value
        for inner in value.values():
            yield from tables(inner)


def of_cache(data: bytes, chance: random.Random) -> bytes:
    """Its first line is JSON behind a checksum, which holds or does not."""
    checksum, _, rest = data.partition(b" ")
    return checksum + b" " + of_json(rest.splitlines()[0], chance)


def of_toml(data: bytes, chance: random.Random) -> bytes:
    if chance.random() < 0.3:
        return chance.choice([b"", b"a = " + b"[" * 100_000, b"\0", b"\xff", data[: chance.randrange(len(data))]])
    key = chance.choice(re.findall(rb"(?m)^([a-z_]+) = ", data))
    found = re.search(rb"(?ms)^" + key + rb" = .*?(?=^[a-z_]+ = |^\[|\Z)", data)
    assert found
    return data[: found.start()] + key + b" = " + chance.choice(TOML) + b"\n" + data[found.end() :]


BESIDE = f"{TARGET}.magpie"
MORE = ("generate", "-n", 4, "--seed", 5, "-s", "none", "--max-attempts", 9)
OWN = ("generate", "-n", 1, "-o", "own.jsonl", "--max-attempts", 3)
KINDS: dict[str, tuple[str, Damage, tuple[tuple[object, ...], ...]]] = {
    "manifest": (f"{BESIDE}/runs/*.json", of_json, (("stats", TARGET), ("push", TARGET, "a/b", "--dry-run"), MORE)),
    "journal": (f"{BESIDE}/runs/*.attempts.jsonl", of_json, (("stats", TARGET), MORE)),
    "cache": (f"{BESIDE}/cache/opening", of_cache, (MORE,)),
    "lock": (f"{BESIDE}/lock.json", of_json, (MORE,)),
    "tags": (f"{BESIDE}/tags.jsonl", of_json, (("tag", TARGET, "-o", "again.jsonl", "--unproven"),)),
    "compare": ("compare.jsonl", of_json, (("compare", "-l", "it", "-s", "prefix", "-n", 2),)),
    "measured": ("data/measurements/*.json", of_json, (("generate", "-n", 1, "-l", "it", "--max-attempts", 9),)),
    "language": ("own.toml", of_toml, ((*OWN, "-s", "exemplar+opener", "--language-file", "own.toml"),)),
    "template": ("mine.toml", of_toml, ((*OWN, "-s", "system", "--template", "mine.toml"),)),
}


@pytest.mark.timeout(300)
@pytest.mark.parametrize("kind", KINDS)
def test_damaged(run: Runner, own_folder: Path, monkeypatch: pytest.MonkeyPatch, kind: str) -> None:
    monkeypatch.setenv("MAGPIE_OLLAMA_DATA_DIR", "data")
    pattern, damage, commands = KINDS[kind]
    with FakeOllama() as fake:
        to = ("--host", fake.url)
        prepare(run, kind, to)
        whole = own_folder.with_name("whole")
        shutil.copytree(own_folder, whole)
        name = min(own_folder.glob(pattern))
        for number in range(6):
            shutil.rmtree(own_folder)
            shutil.copytree(whole, own_folder)
            monkeypatch.chdir(own_folder)
            damaged = damage(name.read_bytes(), random.Random(f"{kind} {number}"))
            name.write_bytes(damaged)
            for command in commands:
                done = run(*command, *(() if command[0] in ("stats", "push") else to))
                said = f"{command} on {damaged[:300]!r}: {done.err}"
                assert done.code in range(5), said
                assert "Traceback" not in done.err and "this is a bug" not in done.err, said
                assert ("error: " in done.err) == ("   next: " in done.err), said
                check((whole / TARGET).read_bytes(), said)


def prepare(run: Runner, kind: str, to: tuple[object, ...]) -> None:
    """What the commands of a kind read, whole."""
    assert run("generate", "-n", 3, "--seed", 5, "-s", "none", "--max-attempts", 3, *to).code in (0, 4)
    if kind == "measured":
        run("generate", "-n", 2, "-l", "it", *to)
    elif kind == "compare":
        assert run("compare", "-l", "it", "-s", "prefix", "-n", 2, *to).code == 0
    elif kind == "tags":
        assert run("tag", TARGET, "-o", "tagged.jsonl", "--unproven", *to).code == 0
    elif kind == "cache":
        with Corpus.open(Path(TARGET)) as corpus:
            corpus.remember(b"state")
    elif kind == "lock":
        owner = {"pid": 4711, "host": "far", "started": "2026-11-22T10:15:00+00:00"}
        Path(BESIDE, "lock.json").write_text(json.dumps(owner), "utf-8")
    shutil.copy(prompts.folder("languages") / "en.toml", "own.toml")
    shutil.copy(prompts.folder("templates") / "chatml.toml", "mine.toml")


def check(before: bytes, said: str) -> None:
    """Every record is there as it was, none twice, and none with what no record has."""
    assert Path(TARGET).read_bytes().startswith(before), said
    for one in (one for path in Path().glob("*.jsonl") if path.name != "compare.jsonl" for one in records(path)):
        assert re.fullmatch(r"\d{8}-\d{6}-[0-9a-f]{4}", one["run"]), said
        assert 0 <= one["seed"] < 2**31 and one["response_tokens"] >= 0 and 0 <= one["confidence"] <= 1, said
    own = records(TARGET)
    assert len({(one["run"], one["seed"]) for one in own}) == len(own), said
    assert len({one["messages"][0]["content"] for one in own}) == len(own), said
