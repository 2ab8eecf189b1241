from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from magpie_ollama.asking.said import INSTRUCTION
from magpie_ollama.asking.settings import Settings
from magpie_ollama.method import languages
from magpie_ollama.run import measurements
from magpie_ollama.run.choosing import Arm, Tally
from magpie_ollama.servers.base import Model, ServerChoice

SYSTEM = Arm("system", 1.0)
MODEL = Model("m:1b", digest="sha256:abc")


@pytest.fixture(autouse=True)
def data(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    monkeypatch.setenv("MAGPIE_OLLAMA_DATA_DIR", str(tmp_path / "data"))
    return tmp_path / "data"


def test_they_add_up_and_belong_to_a_model_and_a_language() -> None:
    measurements.add(MODEL, "it", {SYSTEM: Tally(10, 5, 4, 600, 900, 50), Arm("prefix", 0.5): Tally()})
    measurements.add(MODEL, "it", {SYSTEM: Tally(30, 10, 9, 1800, 2000), Arm("system", 0.5): Tally(1)})
    measurements.add(MODEL, "es", {Arm("prefix", 1.25): Tally(4, 4, 4, 100)})
    assert measurements.load(MODEL, "it") == {
        SYSTEM: Tally(40, 15, 13, 2400, 2900, 50),
        Arm("system", 0.5): Tally(1),
    }
    assert measurements.load(MODEL, "es") == {Arm("prefix", 1.25): Tally(4, 4, 4, 100)}
    assert measurements.load(Model("m:1b", digest="sha256:other"), "it") == {}


def test_old_ones_fade() -> None:
    measurements.add(MODEL, "it", {SYSTEM: Tally(5000, 5000, 5000, 5000)})
    measurements.add(MODEL, "it", {SYSTEM: Tally(500, 0, 0, 500)})
    found = measurements.load(MODEL, "it")[SYSTEM]
    assert found.attempts == measurements.REMEMBERED
    assert found.kept == pytest.approx(250, abs=1)


ITALIAN = languages.load("it")
SETTINGS = Settings(ServerChoice(), ITALIAN, "auto", 10)


@pytest.mark.parametrize(
    "changes",
    [
        {"instruction": replace(INSTRUCTION, seed=3, temperature=0.7)},
        {"seed": 3, "target": 5, "steering": "system", "think": True},
    ],
)
def test_what_the_package_ships_is_measured_as_its_language(changes: dict[str, Any]) -> None:
    assert replace(SETTINGS, **changes).measured_as == "it"


def test_prompts_and_sampling_of_ones_own_are_measured_apart() -> None:
    own: list[dict[str, Any]] = [
        {"system": "You know all about bees."},
        {"exemplars": 2},
        {"instruction": replace(INSTRUCTION, top_p=0.7)},
        {"language": replace(ITALIAN, prefix="italiano:")},
        {"language": replace(ITALIAN, code="it-ch")},
    ]
    names = [replace(SETTINGS, **changes).measured_as for changes in own]
    assert len(set(names)) == 5 and "it" not in names
    assert all(len(name) == len("it-12345678") for name in names[:4])
    assert replace(SETTINGS, **own[0]).measured_as == names[0]


def measured(name: str = "system@1", **changes: object) -> str:
    values = {"attempts": 4.0, "kept": 2.0, "worth": 1.0, "kept_tokens": 9.0, "lost_tokens": 9.0, "prompt_tokens": 9.0}
    return json.dumps({"it": {name: values | changes}})


@pytest.mark.parametrize(
    "content",
    [
        *("", "{", "[]", '{"it": 3}', '{"it": {"system": {"attempts": "many"}}}', "[" * 100_000),
        *(measured(attempts=value) for value in (float("nan"), float("inf"), 0, -1, 501, "4", None)),
        *(measured(kept=value) for value in (float("nan"), 5, -1)),
        *(measured(worth=value) for value in (float("nan"), 3)),
        *(measured(lost_tokens=value) for value in (float("nan"), 1e300, -1)),
        *map(measured, ("system", "system@", "system@nan", "@0.7", "system@0.7@1")),
        measured(prompt_tokens=float("-inf")),
    ],
    ids=lambda content: content[-40:],
)
def test_what_cannot_be_read_is_nothing(data: Path, content: str) -> None:
    measurements.add(MODEL, "it", {SYSTEM: Tally(1, 1, 1, 1)})
    (path,) = (data / "measurements").glob("*.json")
    path.write_text(content)
    assert measurements.load(MODEL, "it") == {}
    measurements.add(MODEL, "it", {SYSTEM: Tally(1, 1, 1, 1)})
    assert measurements.load(MODEL, "it") == {SYSTEM: Tally(1, 1, 1, 1)}


def test_what_an_earlier_version_measured_is_nothing() -> None:
    """Its steerings had no temperatures."""
    place = measurements.folder() / "measurements" / "sha256_abc.json"
    place.parent.mkdir(parents=True)
    place.write_text('{"it": {"system": {"attempts": 4, "passed": 2, "kept": 1, "tokens": 9, "response_tokens": 9}}}')
    assert measurements.load(MODEL, "it") == {}


def test_a_folder_that_cannot_be_written_is_no_error(data: Path) -> None:
    data.write_text("a file, not a folder")
    measurements.add(MODEL, "it", {SYSTEM: Tally(1, 1, 1, 1)})
    assert measurements.load(MODEL, "it") == {}
