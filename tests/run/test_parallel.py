"""--parallel auto: the ladder on simulated servers, the throttle on a simulated run, the pipeline for real."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest
from fake_ollama import FakeOllama, Reply, question
from fake_ollama.generation import Ask
from fake_ollama.kind import Own

from magpie_ollama.run import parallel
from magpie_ollama.run.parallel import AGAIN, FORGET, MOST, SHORT, TICK, Ladder, Throttle, throttle_for
from magpie_ollama.servers.embedded import USUAL_SLOTS, EmbeddedServer
from magpie_ollama.servers.ollama import OllamaServer
from magpie_ollama.servers.openai import OpenAIServer

from .support import generate, generating, settings

Curve = Callable[[int], float]
"""Tokens a second with so many in flight."""

MEASURED: dict[str, Curve] = {
    "ollama 0.33": lambda level: {1: 150, 2: 149, 4: 202}.get(level, 198),
    "ollama 0.24": lambda level: {1: 102, 2: 114, 4: 152}.get(level, 145),
}
CURVES: dict[str, Curve] = {
    **MEASURED,
    "one at a time": lambda level: 75,
    "grows to 64": lambda level: 20 * min(level, 64),
    "gains less and less": lambda level: {1: 76, 2: 145, 4: 230, 8: 339, 16: 460, 32: 589}.get(level, 620),
    "disturbed": lambda level: {1: 75, 2: 13, 4: 94}.get(level, 95),
    "collapses": lambda level: {1: 40, 2: 70, 4: 110, 8: 20}.get(level, 5),
}


EMBEDDED: Curve = lambda level: {1: 72, 2: 78, 4: 84, 8: 97, 16: 105}.get(level, 106)  # noqa: E731
"""Measured too. No doubling gives a tenth but one, all together a half: with noise it cannot always be told."""


def climbed(curve: Curve, noise: float = 0.0, seed: int = 0, most: int = MOST) -> Ladder:
    draw = random.Random(seed)
    ladder = Ladder(most)
    while not ladder.decided:
        ladder.feed(ladder.level, round(2000 * curve(ladder.level) * (1 + draw.uniform(-noise, noise))), 2000.0)
    return ladder


@pytest.mark.parametrize(
    ("name", "taken", "measured"),
    [
        ("ollama 0.33", 4, [1, 2, 4, 8, 16]),  # the first doubling gave nothing, the second did
        ("ollama 0.24", 4, [1, 2, 4, 8, 16]),
        ("one at a time", 1, [1, 2, 4]),
        ("grows to 64", 64, [1, 2, 4, 8, 16, 32, 64, 128, 256]),
        ("gains less and less", 32, [1, 2, 4, 8, 16, 32, 64, 128]),
        ("disturbed", 4, [1, 2, 4, 8, 16]),
        ("collapses", 4, [1, 2, 4, 8]),  # and 16 is not even tried
    ],
)
def test_the_smallest_level_that_is_as_good_as_the_best(name: str, taken: int, measured: list[int]) -> None:
    ladder = climbed(CURVES[name])
    assert (ladder.level, list(ladder.rates)) == (taken, measured)


def test_small_gains_add_up() -> None:
    ladder = climbed(EMBEDDED)
    assert (ladder.level, list(ladder.rates)) == (16, [1, 2, 4, 8, 16, 32])
    assert sum(EMBEDDED(climbed(EMBEDDED, 0.10, seed).level) >= 0.9 * 106 for seed in range(500)) >= 400


@pytest.mark.parametrize("name", CURVES)
def test_noise_of_ten_percent(name: str) -> None:
    """In 99 of 100 runs what is taken makes at least nine tenths of the best there is."""
    curve = CURVES[name]
    best = max(curve(2**power) for power in range(9))
    good = sum(curve(climbed(curve, 0.10, seed).level) >= 0.9 * best for seed in range(500))
    assert good >= 495


def test_one_window_in_ten_that_is_worth_nothing() -> None:
    """Another program took the machine for two seconds: the windows disagree, so more are taken, and their median."""

    def go(seed: int) -> int:
        draw = random.Random(seed)
        ladder = Ladder()
        while not ladder.decided:
            hiccup = 0.3 if draw.random() < 0.1 else 1.0
            ladder.feed(ladder.level, round(1000 * hiccup * MEASURED["ollama 0.33"](ladder.level)), 1000.0)
        return ladder.level

    assert sum(go(seed) in (4, 8, 16) for seed in range(500)) >= 475


def test_a_spoilt_first_look_is_made_up_for() -> None:
    """Another program runs for the first windows; then with 4 in flight this server would make a third more."""
    curve = MEASURED["ollama 0.33"]
    ladder = Ladder()
    levels = []
    for window in range(2 * AGAIN):
        disturbed = 0.2 if 2 <= window < 20 and ladder.level > 1 else 1.0
        levels.append(ladder.level)
        ladder.feed(ladder.level, round(2000 * disturbed * curve(ladder.level)), 2000.0)
    assert levels[AGAIN - 1] == 1, "what it decided at first"
    assert (ladder.level, ladder.decided) == (4, True)
    assert levels.count(4) > 0.9 * AGAIN, "the second look is short"


def test_the_second_look_finds_the_same_on_a_server_that_is_the_same() -> None:
    ladder = climbed(MEASURED["ollama 0.33"])
    found = dict(ladder.settled)
    levels = set()
    for _ in range(AGAIN + 30):
        levels.add(ladder.level)
        ladder.feed(ladder.level, round(2000 * MEASURED["ollama 0.33"](ladder.level)), 2000.0)
    assert (ladder.level, levels) == (4, {2, 4, 8, 16})
    assert ladder.settled == {level: found[level] for level in (2, 4, 8, 16)}


def test_no_level_above_the_most() -> None:
    assert list(climbed(CURVES["grows to 64"], most=10).rates) == [1, 2, 4, 8]
    assert list(climbed(CURVES["grows to 64"], most=1).rates) == [1]


def test_windows_of_another_level_do_not_count() -> None:
    ladder = Ladder()
    for _ in range(9):
        assert ladder.feed(2, 1000, 2.0) == 1
    assert not ladder.rates


def test_a_refusal_ends_the_climb_and_the_room_below_it_is_found() -> None:
    """Eleven are refused, and the rate has grown all the way."""
    ladder = Ladder()
    seen = []
    for _ in range(60):
        seen.append(ladder.level)
        if ladder.level > 10:
            ladder.refuse()
        else:
            ladder.feed(ladder.level, 40 * ladder.level, 2.0)
    assert max(seen) == 16 and seen.count(16) == 1
    assert seen.count(11) == 1, "the ceiling is remembered"
    assert seen[-1] == 10


def test_a_refusal_where_more_would_give_nothing() -> None:
    ladder = Ladder()
    while ladder.level < 16:
        ladder.feed(ladder.level, round(2 * MEASURED["ollama 0.33"](ladder.level)), 2.0)
    assert ladder.refuse() == 4
    for _ in range(3 * FORGET):
        assert ladder.feed(4, 400, 2.0) == 4


def test_a_busy_hour_is_forgotten() -> None:
    """Later refusals halve the level; with quiet it comes back, at last to where it was."""
    ladder = climbed(CURVES["grows to 64"])
    assert (ladder.refuse(), ladder.refuse(), ladder.refuse()) == (32, 16, 8)
    for _ in range(8):
        ladder.feed(ladder.level, 1000, 2.0)
    assert ladder.level == 15, "below the ceiling by one a window"
    for _ in range(FORGET):
        ladder.feed(ladder.level, 1000, 2.0)
    assert 15 <= ladder.level <= 17, "beyond it slowly"
    for _ in range(60 * FORGET):
        ladder.feed(ladder.level, 1000, 2.0)
    assert ladder.level == 64


def test_with_one_in_flight_there_is_nothing_to_halve() -> None:
    assert Ladder().refuse() == 1


class Run:
    """A run that a throttle looks at: each attempt takes ``tokens``, of the curve's rate; ``slots`` write at once."""

    def __init__(self, throttle: Callable[[Callable[[], float]], Throttle], curve: Curve, slots: int = MOST) -> None:
        self.now = self.made = 0.0
        self.throttle = throttle(lambda: self.now)
        self.curve, self.slots = curve, slots
        self.asked = self.throttle.level
        self.largest = 0

    def go(self, seconds: float, tokens: float = 200, seen: bool = True) -> None:
        end = self.now + seconds
        ended = self.made // tokens
        while self.now < end:
            self.now += TICK
            self.made += TICK * self.curve(self.asked)
            level = self.throttle.level
            if level > self.asked:
                self.asked = level  # new ones begin at once ...
            elif self.made // tokens > ended and level < self.asked:
                self.asked -= 1  # ... and those too many are let end
            ended = self.made // tokens
            shown = self.made if seen else ended * tokens
            self.throttle.look(self.asked, min(self.asked, self.slots) if seen else 0, int(shown), int(ended))
            self.largest = max(self.largest, self.asked)


def simulated(curve: Curve, slots: int = MOST, unseen: bool = False, most: int = MOST) -> Run:
    return Run(lambda clock: Throttle(Ladder(most), unseen, clock), curve, slots)


def test_a_climb_takes_half_a_minute() -> None:
    run = simulated(MEASURED["ollama 0.33"])
    run.go(30)
    assert run.throttle.level == 4
    assert run.throttle.found() == {
        level: pytest.approx(MEASURED["ollama 0.33"](level), rel=0.05) for level in (1, 2, 4, 8, 16)
    }
    assert run.largest == 16
    run.go(60)
    assert run.asked == 4


def test_a_slow_server_is_measured_too() -> None:
    run = simulated(lambda level: 3.0)
    run.go(100)
    assert run.throttle.level == 1
    assert list(run.throttle.found()) == [1, 2, 4]


@pytest.mark.parametrize(("slots", "curve"), [(1, "one at a time"), (4, "ollama 0.33")])
def test_slots_are_seen_by_who_writes(slots: int, curve: str) -> None:
    run = simulated(CURVES[curve], slots=slots)
    run.go(60)
    assert run.throttle.slots == slots
    advice = run.throttle.advice(OllamaServer())
    assert f"runs {slots} at once" in advice
    assert f"OLLAMA_NUM_PARALLEL={2 * slots}" in advice
    other = run.throttle.advice(OpenAIServer("http://127.0.0.1:1"))
    assert f"runs {slots} at once" in other and "OLLAMA" not in other
    assert run.throttle.advice(Own({})) == f"The parrot has {slots} beaks", "each kind says its own"


def test_a_machine_at_its_limit_is_no_matter_of_slots() -> None:
    """All write at once, only slower: more slots would give nothing."""
    run = simulated(MEASURED["ollama 0.33"])
    run.go(60)
    assert run.throttle.found()
    assert run.throttle.advice(OllamaServer()) == ""


def test_slots_beyond_what_the_machine_gains_from_are_no_advice() -> None:
    run = simulated(lambda level: {1: 50}.get(level, 100), slots=4)
    run.go(60)
    assert (run.throttle.level, run.throttle.slots) == (2, 4)
    assert run.throttle.advice(OllamaServer()) == ""


def test_the_embedded_engine_tells_its_slots() -> None:
    server = EmbeddedServer(Path("tiny.gguf"), 0)
    assert server.slots == USUAL_SLOTS == throttle_for(server, 1000, False)._ladder._most
    for curve, advised in (("grows to 64", True), ("one at a time", False)):
        run = simulated(CURVES[curve], most=server.slots)
        run.go(60)
        assert run.largest == USUAL_SLOTS
        assert ("--parallel 8" in run.throttle.advice(server)) is advised


def test_a_crowd_of_refusals_is_one_step() -> None:
    run = simulated(CURVES["grows to 64"])
    while run.throttle.level < 32:
        run.go(TICK)
    run.go(TICK)
    assert [run.throttle.refuse() for _ in range(20)] == [16] * 20
    run.go(TICK)
    assert run.throttle.refuse() == 16, "those too many are still there"
    while run.asked > 16:
        run.go(TICK)
    assert run.throttle.refuse() == 8
    assert "with 16 in flight" in run.throttle.advice(OllamaServer())


def test_nothing_is_measured_while_attempts_wait_for_room() -> None:
    run = simulated(MEASURED["ollama 0.33"])
    for _ in range(500):
        run.now += TICK
        run.throttle.look(0, 0, int(run.now * 100), 0)
    assert run.throttle.level == 1
    assert not run.throttle.found()


def test_reasoning_that_is_counted_at_its_end_is_measured_in_long_windows() -> None:
    run = simulated(lambda level: 50 * min(level, 4), unseen=True)
    run.go(300, tokens=300, seen=False)
    assert run.throttle.level == 4
    run.go(600, tokens=300, seen=False)
    assert run.throttle.level == 4, "and again after the second look"
    assert run.throttle.advice(OllamaServer()) == "", "who writes was not seen"


@pytest.mark.parametrize(("missing", "level"), [(1, 1), (3, 3), (SHORT - 1, 4), (SHORT, 1), (1000, 1)])
def test_a_short_run_measures_nothing(missing: int, level: int) -> None:
    throttle = throttle_for(OllamaServer(), missing, False)
    assert throttle.level == level
    run = Run(lambda clock: Throttle(throttle._ladder, False, clock), lambda level: 100.0)
    run.go(60)
    assert (run.throttle.found() == {}) is (missing < SHORT)


# The pipeline, with shorter windows.


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parallel, "WINDOW_SECONDS", (0.2, 1.0))
    monkeypatch.setattr(parallel, "WINDOW_TOKENS", 4)
    monkeypatch.setattr(parallel, "WINDOWS", (1, 1))  # so that a busy machine, too, is done before the run is
    monkeypatch.setattr(parallel, "FILL_SECONDS", (0.02, 0.3))
    monkeypatch.setattr("magpie_ollama.run.pipeline.TICK", 0.01)


def brief(ask: Ask) -> Reply:
    assert ask.seed is not None
    return Reply(question(ask.seed)) if ask.kind == "raw" else Reply("Begin early. Keep notes, and ask a friend.")


@pytest.mark.usefixtures("quick")
def test_the_pipeline_measures_while_it_makes_its_records(tmp_path: Path) -> None:
    with FakeOllama(parallel=4, delay=0.02, script=brief) as fake:
        made = generate(settings(fake, 40, parallel=0, seed=0), tmp_path / "en.jsonl")
    assert made.error is None
    assert len(made.records) == made.progress.kept == 40
    assert Counter(made.outcomes)["kept"] == 40
    assert len({record["id"] for record in made.records}) == 40
    assert [attempt["index"] for attempt in made.attempts] == list(range(len(made.attempts)))
    assert made.progress.rates != {}


@pytest.mark.usefixtures("quick")
def test_a_number_that_is_given_stays(tmp_path: Path) -> None:
    with FakeOllama(parallel=3, delay=0.02, script=brief) as fake:
        made = generate(settings(fake, 16, parallel=6, seed=0), tmp_path / "en.jsonl")
    assert made.error is None
    assert (len(made.records), made.progress.level, fake.max_in_flight) == (16, 6, 6)
    assert made.progress.rates == {}
    assert not any("at once" in notice or "refused" in notice for notice in made.progress.notices)


@pytest.mark.usefixtures("quick")
def test_a_server_that_refuses_is_asked_less(tmp_path: Path) -> None:
    """One is answered and none may wait: the second is refused, and nothing is lost by that."""
    with FakeOllama(parallel=1, max_queue=0, delay=0.005, script=brief) as fake:
        made = generate(settings(fake, 24, parallel=0, seed=0), tmp_path / "en.jsonl")
    refused = [exchange for exchange in fake.requests if exchange.status == 503]
    assert made.error is None
    assert refused
    assert len(made.records) == 24
    assert set(made.outcomes) <= {"kept", "dropped"}
    assert made.progress.level == 1
    (told,) = [notice for notice in made.progress.notices if " refused requests with " in notice]
    assert "with 2 in flight; there were 1 at the end" in told


@pytest.mark.usefixtures("quick")
def test_a_short_run_begins_with_four(tmp_path: Path) -> None:
    with FakeOllama(parallel=8, delay=0.002) as fake:
        made = generate(settings(fake, 9, parallel=0), tmp_path / "en.jsonl")
    assert made.error is None
    assert len(made.records) == 9
    assert fake.max_in_flight == made.progress.level == 4
    assert [exchange.path for exchange in generating(fake)][:4] == ["/api/generate"] * 4
