"""The settings as people say them, each once: an option of the command line, a keyword in Python, a place in
``Settings``."""

from __future__ import annotations

import numbers
import random
import re
from collections.abc import Callable
from typing import Any, NamedTuple, Self

from magpie_ollama.errors import UsageError
from magpie_ollama.method.steering import EXEMPLARS
from magpie_ollama.records import MAX_SEED
from magpie_ollama.servers.base import Sampling

INSTRUCTION = Sampling(temperature=1.0, max_tokens=256)
"""Hot instructions (the Magpie paper: temperature 1.0 to 1.25, top_p 1.0) ..."""

RESPONSE = Sampling(temperature=0.0, max_tokens=1024, repeat_penalty=1.1)
"""... and cool responses. The paper's penalty of 1.0 let 18 of 31 responses of a small model end in a loop; with 1.1,
28 of 31 ended by themselves (SmolLM2-135M)."""


class Turns(NamedTuple):
    """How many turns of the user a conversation has: ``most``, or where it ends earlier at least ``least``."""

    least: int = 1
    most: int = 1

    @classmethod
    def read(cls, said: str | int) -> Self:
        """Of "3", or "2-4". Raises ``UsageError``."""
        found = re.fullmatch(r"\s*(\d+)\s*(?:-\s*(\d+)\s*)?", str(said), re.ASCII)
        least, most = (int(found[1]), int(found[2] or found[1])) if found else (0, 0)
        if not 1 <= least <= most <= MOST_TURNS:
            raise UsageError(
                f"--turns {said} is no number of turns.", f"give N or A-B, from 1 to {MOST_TURNS}, for example 2-4"
            )
        return cls(least, most)

    def draw(self, seed: int) -> int:
        return random.Random(seed).randint(*self)


MOST_TURNS = 100
ONE_TURN = Turns()


TRIES = 3
"""Of a row of a user's file, before it is passed to the next run."""

KEEP_REJECTED = 10_000
"""Rejected responses beside a corpus: of 1.3 kB each, as a small model's are, 13 MB."""


class Setting(NamedTuple):
    """``name`` is the keyword, and with dashes the option; ``path`` leads to its field. Numbers are at least ``low``
    and at most ``high``. ``default`` None stands for "found out", which ``words`` explain. A text that says more than
    itself has its form, and is ``read``."""

    name: str
    path: str
    default: Any
    words: str
    low: int | None = None
    high: int | None = None
    found_out: type = int
    """The type of a value where the default is None."""
    form: str = ""
    read: Callable[[Any], Any] | None = None

    @property
    def kind(self) -> type:
        return self.found_out if self.default is None else type(self.default)

    @property
    def option(self) -> str:
        return f"--{self.name.replace('_', '-')}"

    def check(self, value: Any) -> Any:
        """What its field gets of ``value``, if that may stand here. Raises ``UsageError``."""
        if value is None and self.default is None:
            return value
        if self.read is not None:
            return self.read(value)
        kind = self.kind
        if kind is bool or kind is str:
            fits, wanted = isinstance(value, kind), "true or false" if kind is bool else "a text"
        else:
            number = numbers.Real if kind is float else numbers.Integral
            wanted = "a number" if kind is float else "a whole number"
            fits = isinstance(value, number) and not isinstance(value, bool)
            fits = fits and (self.low is None or value >= self.low) and (self.high is None or value <= self.high)
            wanted += f", {self.low} or more" if self.low is not None else ""
            wanted += f", at most {self.high}" if self.high is not None else ""
        if not fits:
            raise UsageError(f"{self.name} must be {wanted}, not {value!r:.40}.", f"mend it, or leave out {self.name}")
        return value


def _sampling(prefix: str, path: str, whose: str, limit: str, shipped: Any) -> tuple[Setting, ...]:
    return (
        Setting(f"{prefix}top_p", f"{path}.top_p", shipped.top_p, f"Of {whose}.", 0, 1),
        Setting(f"{prefix}top_k", f"{path}.top_k", shipped.top_k, f"Of {whose}; 0 is off.", 0),
        Setting(f"{prefix}min_p", f"{path}.min_p", shipped.min_p, f"Of {whose}; 0 is off.", 0, 1),
        Setting(f"{prefix}repeat_penalty", f"{path}.repeat_penalty", shipped.repeat_penalty, f"Of {whose}.", 0, 5),
        Setting(f"max_{path}_tokens", f"{path}.max_tokens", shipped.max_tokens, limit, 1),
    )


def _last(said: str) -> str:
    if said not in ("assistant", "user"):
        raise UsageError(f"Nobody is called {said!r:.40}, whose turn --end-with would make the last.", "give user")
    return said


DIFFICULTIES = ("easy", "medium", "hard")


def _difficulty(said: str) -> str:
    if said and said not in DIFFICULTIES:
        raise UsageError(f"There is no difficulty {said!r:.40}.", f"choose {', '.join(DIFFICULTIES)}")
    return said


SETTINGS = (
    Setting(
        "topics", "topics", "", "A mixture, a topic, a TOML file of either, or maths:2,code:1; see docs/topics.md."
    ),
    Setting("system", "system", "", "A system message of your own, in front whatever the steering."),
    Setting(
        "difficulty",
        "difficulty",
        "",
        "A sentence on how hard the questions are, behind the system message.",
        form="|".join(DIFFICULTIES),
        read=_difficulty,
    ),
    Setting("exemplars", "exemplars", EXEMPLARS, "Exchanges that an exemplar steering shows.", 1, 8),
    Setting("bootstrap", "bootstrap", False, "Use accepted records of the run as exemplars too."),
    Setting(
        "turns",
        "turns",
        "1",
        "Turns of the user in a conversation. Of A to B each draws one, and is kept from A on.",
        form="N|A-B",
        read=Turns.read,
    ),
    Setting(
        "end_with",
        "end_with",
        "assistant",
        "Whose turn is the last; user makes a set of prompts.",
        form="assistant|user",
        read=_last,
    ),
    Setting("include_system", "include_system", False, "Keep the system message that was used as the first turn."),
    Setting("one_line", "one_line", False, "A line break ends the user's turn, for models that go on writing."),
    Setting(
        "temperature",
        "instruction.temperature",
        None,
        f"Of instructions. Default: {INSTRUCTION.temperature}; of generate's auto, the best of 0.5, 0.7 and 1.0.",
        0,
        5,
        float,
    ),
    Setting(
        "later_temperature",
        "later_temperature",
        None,
        "Of the user's later turns. Default: that of the first.",
        0,
        5,
        float,
    ),
    *_sampling(
        "", "instruction", "instructions", "An instruction that reaches them is rejected as truncated.", INSTRUCTION
    ),
    Setting("response_temperature", "response.temperature", RESPONSE.temperature, "Of responses.", 0, 5),
    *_sampling("response_", "response", "responses", "Of a response, its reasoning included.", RESPONSE),
    Setting("think", "think", False, "Let the model reason before its response; kept in `reasoning`."),
    Setting("min_words", "rules.min_words", 3, "Of an instruction.", 1),
    Setting("max_words", "rules.max_words", 300, "Of an instruction.", 1),
    Setting("min_confidence", "rules.min_confidence", 0.0, "Of an instruction; see docs/steering.md.", 0, 1),
    Setting("keep_truncated", "rules.keep_truncated", False, "Keep responses that the token limit cut."),
    Setting(
        "retries_response",
        "retries",
        0,
        "Tries more of a rejected response, each with another seed and hotter; see docs/training.md.",
        0,
        20,
    ),
    Setting(
        "keep_rejected",
        "keep_rejected",
        KEEP_REJECTED,
        "Rejected responses are kept beside the corpus until there are so many; 0 keeps none.",
        0,
    ),
    Setting("seed", "seed", None, "Of the first attempt. Default: drawn.", 0, MAX_SEED),
    Setting(
        "max_attempts", "max_attempts", None, "Stop after so many in one go. Default: 10 a record, at least 100.", 1
    ),
)
"""In the order of the help."""

BY_NAME = {setting.name: setting for setting in SETTINGS}
BY_PATH = {setting.path: setting for setting in SETTINGS}
