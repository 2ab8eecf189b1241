"""The experiment against a fake server whose languages depend on the way that its prompt shows."""

from __future__ import annotations

import asyncio
import json
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from fake_ollama import Ask, FakeModel, FakeOllama, Reply, question
from run.support import settings

from magpie_ollama.asking.opening import opened
from magpie_ollama.asking.settings import Settings
from magpie_ollama.comparison.experiment import Asked, Cell, Experiment, Results, Tried, fingerprint
from magpie_ollama.comparison.findings import best_of, findings
from magpie_ollama.corpus import runs
from magpie_ollama.errors import CorpusError
from magpie_ollama.method import languages
from magpie_ollama.run import measurements
from magpie_ollama.run.choosing import Arm
from magpie_ollama.run.prepared import Prepared
from magpie_ollama.run.progress import Progress
from magpie_ollama.servers.base import ServerChoice

ITALIAN = languages.load("it")


def script(ask: Ask) -> Reply:
    """Italian with the system message in three of four seeds; English otherwise; with the prefix cut by the limit."""
    seed = int(ask.options["seed"])
    if ask.kind == "chat":
        return Reply("Certo che si può: basta cominciare presto e avere un po' di pazienza ogni giorno.")
    if "italian:" in ask.prompt:
        return Reply(question(seed, "it"), done_reason="length")
    steered = ITALIAN.system in ask.prompt and seed % 4
    return Reply(question(seed, "it" if steered else "en"))


def run(
    fake: FakeOllama,
    path: Path,
    attempts: int,
    steerings: tuple[str, ...],
    told: list[str] | None = None,
    **changes: object,
) -> Results:
    """The results; ``told`` gets the notices."""
    asked_settings = settings(fake, attempts, language="it", steering=steerings[0], seed=0, **changes)
    asked = Asked([ITALIAN], steerings, [1.0], attempts, with_responses=False)

    async def go() -> Results:
        results = Results(path, fingerprint(asked_settings, False))
        try:
            progress = Progress()
            async with opened(asked_settings.server, asked_settings.parallel, progress) as model:
                await Experiment(Prepared(asked_settings, model, progress), asked, results).run()
                if told is not None:
                    told.extend(progress.notices)
        finally:
            results.close()
        return results

    return asyncio.run(go())


def test_each_cell_has_its_attempts_and_the_best_steering_is_found(tmp_path: Path) -> None:
    with FakeOllama(models=[FakeModel("m:1b")]) as fake:
        fake.script = script
        results = run(fake, tmp_path / "c.jsonl", 40, ("none", "system", "prefix"))
    found = {finding.cell.steering: finding for finding in findings(results.rows)}
    assert [finding.attempts for finding in found.values()] == [40, 40, 40]
    assert (found["none"].identified, found["none"].useful, found["none"].useful_per_1000_tokens) == (0, 0, 0.0)
    assert found["none"].identified_interval == pytest.approx((0.0, 0.0876), abs=0.0001)
    assert found["system"].identified == found["system"].useful == 30
    assert found["system"].best and not found["system"].like_best
    assert not found["none"].like_best and not found["prefix"].like_best
    assert found["prefix"].identified == 40 and found["prefix"].complete == 0
    low, high = found["system"].useful_interval
    assert low < found["system"].useful_per_1000_tokens < high
    assert found["system"].distinct == 1.0 and found["system"].confidence > 0
    best = best_of(list(found.values()), "it")
    assert best is not None and best.cell.steering == "system"
    assert best_of(list(found.values()), "es") is None


def test_steerings_that_are_alike_are_not_told_apart(tmp_path: Path) -> None:
    with FakeOllama(models=[FakeModel("m:1b")]) as fake:
        fake.script = script
        results = run(fake, tmp_path / "c.jsonl", 20, ("system", "exemplar"))
    marks = sorted((finding.best, finding.like_best) for finding in findings(results.rows))
    assert marks == [(False, True), (True, False)]


def test_it_continues_where_it_stopped(tmp_path: Path) -> None:
    path = tmp_path / "c.jsonl"
    with FakeOllama(models=[FakeModel("m:1b")]) as fake:
        fake.script = script
        run(fake, path, 10, ("system",))
        before = path.read_text("utf-8")
        path.write_text(before + '{"half a li')
        asked_before = len(fake.requests_to("/api/generate"))
        results = run(fake, path, 16, ("system",))
        assert len(fake.requests_to("/api/generate")) - asked_before == 6 + 1  # and one that loads the model
    rows = results.rows[Cell("m:1b", "it", "system")]
    assert sorted(row.index for row in rows) == list(range(16))
    assert path.read_text("utf-8").startswith(before)


def test_a_model_made_anew_under_its_name_has_cells_of_its_own(tmp_path: Path) -> None:
    path = tmp_path / "c.jsonl"
    with FakeOllama(models=[FakeModel("m:1b")], script=script) as fake:
        first = run(fake, path, 6, ("system",))
        fake.models[0].digest = "feed" * 16
        told: list[str] = []
        second = run(fake, path, 6, ("system",), told)
        assert told == [
            f"m:1b is another model than it was in 6 attempts of {path}: they stay there, and its cells begin anew."
        ]
        assert [len(rows) for rows in second.rows.values()] == [6]
        assert {row.digest for rows in second.rows.values() for row in rows} == {"feed" * 16}
        lines = path.read_text("utf-8").splitlines()
        assert len(lines) == 12
        assert len({json.loads(line)["digest"] for line in lines}) == 2
        # As an earlier version wrote them: they go on, whichever model it was.
        path.write_text("".join(json.dumps({**json.loads(line), "digest": ""}) + "\n" for line in lines[:6]), "utf-8")
        path.write_text(path.read_text("utf-8").replace(', "digest": ""', ""), "utf-8")
        third = run(fake, path, 8, ("system",))
    assert [len(rows) for rows in first.rows.values()] == [6]
    assert [len(rows) for rows in third.rows.values()] == [8]


def test_rows_of_other_settings_do_not_count(tmp_path: Path) -> None:
    path = tmp_path / "c.jsonl"
    with FakeOllama(models=[FakeModel("m:1b")]) as fake:
        fake.script = script
        first = run(fake, path, 6, ("system",))
        second = run(fake, path, 6, ("system",), exemplars=2)
    assert first.settings != second.settings
    assert [len(rows) for rows in second.rows.values()] == [6]
    assert len(path.read_text("utf-8").splitlines()) == 12


def test_auto_is_a_steering_too_and_learns_within_its_cell(tmp_path: Path) -> None:
    with FakeOllama(models=[FakeModel("m:1b")]) as fake:
        fake.script = script
        results = run(fake, tmp_path / "c.jsonl", 60, ("auto",))
    rows = results.rows[Cell("m:1b", "it", "auto")]
    drawn = [row.drawn for row in rows]
    assert len(set(drawn)) > 2
    assert sum("system" in steering or "exemplar" in steering for steering in drawn[-30:]) > 20


def test_what_it_measured_is_there_for_auto(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MAGPIE_OLLAMA_DATA_DIR", str(tmp_path / "data"))
    with FakeOllama(models=[FakeModel("m:1b", digest="d" * 64)]) as fake:
        fake.script = script
        run(fake, tmp_path / "c.jsonl", 12, ("system", "none"))
        run(fake, tmp_path / "c.jsonl", 4, ("system",), exemplars=2)
        model = measurements.Model("m:1b", digest="d" * 64)
    found = measurements.load(model, "it")
    system, none = found[Arm("system", 1.0)], found[Arm("none", 1.0)]
    assert (system.attempts, system.kept) == (12, 9)
    assert (none.attempts, none.kept) == (12, 0)
    assert 0 < system.worth < 9 and none.lost_tokens > 0


def test_a_cell_with_more_rows_than_asked_takes_no_time_from_the_others(tmp_path: Path) -> None:
    row = Tried("s", "m", "it", "system", 0, 0, "system", "kept", "yes", True, 0.5, 20, 0, 1.0, "", "")
    results = Results(tmp_path / "c.jsonl", "s")
    results.of(Cell("m", "it", "system")).extend(replace(row, index=number) for number in range(9))
    prepared: Any = SimpleNamespace(model=SimpleNamespace(name="m", digest=""), progress=Progress())
    experiment = Experiment(prepared, Asked([ITALIAN], ("system", "none"), [1.0], 2, False), results)
    assert experiment.seconds_expected(10.0) == pytest.approx(2 * 70 / 10)


def test_another_server_or_file_is_another_experiment() -> None:
    plain = Settings(ServerChoice(), ITALIAN, "system", 10)
    given: list[dict[str, Any]] = [{"host": "http://there:11434"}, {"kind": "openai"}, {"model_path": Path("m.gguf")}]
    others = [fingerprint(replace(plain, server=ServerChoice(**one)), False) for one in given]
    assert len({fingerprint(plain, False), *others}) == 4
    earlier = {"language", "language_data", "steering"}
    identity = {key: value for key, value in plain.identity("", "").items() if key not in earlier}
    del identity["instruction"]["temperature"]  # which is a cell's
    assert fingerprint(plain, False) == runs.fingerprint({**identity, "with_responses": False}), "files go on"


def test_a_line_that_no_reader_takes_is_passed_over(tmp_path: Path) -> None:
    path = tmp_path / "c.jsonl"
    path.write_text("[" * 100_000 + "\n\n")
    assert Results(path, "x").rows == {}


def test_a_foreign_file_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "c.jsonl"
    path.write_text('{"messages": []}\n')
    with pytest.raises(CorpusError, match="line 1, is no row of an experiment"):
        Results(path, "x")
    assert path.read_text() == '{"messages": []}\n'


def test_findings_of_rows_that_copy_each_other(tmp_path: Path) -> None:
    row = Tried("s", "m", "it", "system", 0, 0, "system", "kept", "yes", True, 0.5, 20, 0, 1.0, "", "")
    texts = ["Come posso imparare il tedesco?", "come posso imparare il tedesco", "Dove si trova il lago più grande?"]
    rows = [replace(row, index=number, text=text) for number, text in enumerate(texts)]
    (found,) = findings({Cell("m", "it", "system"): rows})
    assert (found.distinct, found.apart) == (pytest.approx(2 / 3), pytest.approx(2 / 3))
    assert json.loads(json.dumps(found.to_dict()))["steering"] == "system"
