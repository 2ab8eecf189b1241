"""What a run is asked to do."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

from magpie_ollama.asking.said import BY_NAME, INSTRUCTION, KEEP_REJECTED, ONE_TURN, RESPONSE, Turns
from magpie_ollama.corpus.voice import NOTHING, Own
from magpie_ollama.errors import UsageError
from magpie_ollama.method import languages
from magpie_ollama.method.languages import OPENER_KINDS, Language
from magpie_ollama.method.screening import Rules
from magpie_ollama.method.steering import AUTO, EXEMPLARS, how_hard
from magpie_ollama.method.topics import RULES, WITHOUT_DATA, Mixture, Topic, mix
from magpie_ollama.servers.base import Sampling, ServerChoice

STEP = 0.4
HOTTEST = 1.0
"""What each further trial of a response adds to the temperature, and how far: the same greedy one would come again."""


def hotter(sampling: Sampling, trial: int) -> Sampling:
    """The sampling of a response's trial, counted from 0.

    >>> [hotter(RESPONSE, trial).temperature for trial in range(4)]
    [0.0, 0.4, 0.8, 1.0]
    """
    heat = min(HOTTEST, sampling.temperature + STEP * trial)
    return replace(sampling, temperature=round(max(sampling.temperature, heat), 2)) if trial else sampling


AUTO_TEMPERATURES = (0.5, 0.7, 1.0)
"""Where no temperature is given. A weak model writes real words at a lower one (SmolLM2-135M in Spanish: 27 of 30 texts
at 0.5, 8 at 1.0), a strong one at any, and more various texts at the highest."""


@dataclass(frozen=True, slots=True)
class Settings:
    """All that makes a run what it is. ``steering`` is a canonical name or "auto"; ``system`` is the user's own system
    message; ``topics`` is what ``topics.mix`` takes, ``topic`` the one of them that these settings are for; ``own``
    comes from files, and ``keep_passage`` says whether a record holds its passage; ``target`` records are wanted; at
    most ``max_attempts`` are tried in one go (0: ten for each record, at least 100); ``seed`` None draws one;
    ``parallel`` attempts are in flight (0: as many as it pays to have, found by the run). Auto chooses among
    ``temperatures`` of instructions. A ``responder`` answers in place of the model that asks. ``end_with`` is the role
    of a record's last turn; with ``include_system`` its first one is the system message that was used; with
    ``one_line`` a line break ends the user's turn. A rejected response is tried again so often (``retries``), and kept
    beside the corpus until there are ``keep_rejected``. ``in_turn`` are the languages of one command, where it has
    several.
    """

    server: ServerChoice
    language: Language
    steering: str
    target: int
    system: str = ""
    topics: str = ""
    topic: str = ""
    own: Own = NOTHING
    keep_passage: bool = True
    exemplars: int = EXEMPLARS
    bootstrap: bool = False
    difficulty: str = ""
    later_temperature: float | None = None
    turns: Turns = ONE_TURN
    end_with: str = "assistant"
    include_system: bool = False
    one_line: bool = False
    instruction: Sampling = INSTRUCTION
    response: Sampling = RESPONSE
    rules: Rules | None = None
    think: bool = False
    seed: int | None = None
    parallel: int = 0
    max_attempts: int = 0
    temperatures: tuple[float, ...] = AUTO_TEMPERATURES
    responder: ServerChoice | None = None
    in_turn: tuple[str, ...] = ()
    retries: int = 0
    keep_rejected: int = KEEP_REJECTED

    @property
    def screening(self) -> Rules:
        return self.rules or Rules(self.language)

    @property
    def attempt_bound(self) -> int:
        return self.max_attempts or max(100, 10 * self.target)

    @property
    def measured_as(self) -> str:
        """What its steerings are measured as: the language's code; with a digest behind it where the prompts or the
        sampling of instructions are not those that the package ships."""
        code = self.language.code
        shipped = code in languages.codes() and self.language == languages.load(code)
        sampling = replace(self.instruction, seed=0, temperature=INSTRUCTION.temperature)  # an arm has its own
        own = None if shipped else self.language
        given = (self.system, self.exemplars, sampling, own, self.one_line, self.turns, self.end_with, self.difficulty)
        shipped_with = ("", EXEMPLARS, INSTRUCTION, None, False, ONE_TURN, "assistant", "")
        return code if given == shipped_with else f"{code}-{_digest(given)[:8]}"

    @property
    def mixture(self) -> Mixture | None:
        """Raises ``UsageError``."""
        return mix(self.topics) if self.topics else None

    def how_hard(self, system: str) -> str:
        """The system message with a sentence on the difficulty behind it, where one is asked for."""
        return f"{system} {how_hard(self.difficulty, self.language.code)}" if self.difficulty else system

    def on(self, topic: Topic) -> Settings:
        """For the one topic, whose words stand in for the language's, and its message in front of every steering."""
        spoken = topic.spoken(self.language)
        rules = replace(self.screening, language=spoken, **{rule: getattr(topic, rule) for rule in RULES})
        steering = self.steering if self.language.code in topic.voices else WITHOUT_DATA
        if self.own.passages:  # the topic's openers stand in front of one
            spoken = replace(spoken, openers=dict.fromkeys(OPENER_KINDS, self.language.openers["questions"]))
        return replace(
            self, language=spoken, steering=steering, system=spoken.system, topics="", topic=topic.name, rules=rules
        )

    def identity(self, model: str, server_kind: str) -> dict[str, Any]:
        """What two runs have in common that are one and the same: all that decides what is generated and kept, and not
        how many, how fast, and at which address."""
        rules = asdict(self.screening)
        for key in ("language", *RULES):
            del rules[key]
        instruction, response = asdict(self.instruction), asdict(self.response)
        del instruction["seed"], response["seed"]
        if self.steering == AUTO:
            instruction["temperature"] = list(self.temperatures) if len(self.temperatures) > 1 else self.temperatures[0]
        return {
            "language": self.language.code,
            "language_data": _digest(self.language),
            "steering": self.steering,
            "system": self.system,
            "difficulty": self.difficulty,
            "later_temperature": self.later_temperature,
            "exemplars": self.exemplars,
            "bootstrap": self.bootstrap,
            "turns": list(self.turns),
            "end_with": self.end_with,
            "include_system": self.include_system,
            "one_line": self.one_line,
            "model": model,
            "server": server_kind,
            "template": self.server.template,
            "options": without_secrets(self.server.options),
            "instruction": instruction,
            "response": response,
            "rules": rules,
            "think": self.think,
            "seed": self.seed,
            **({"retries": self.retries} if self.retries else {}),  # a run from before there were any goes on
            **({"files": dict(self.own.digests)} if self.own.digests else {}),
            **({} if self.keep_passage else {"keep_passage": False}),
            **({"topics": self.topics, "topic_data": _digest(mixture)} if (mixture := self.mixture) else {}),
        }


def settings_of(
    server: ServerChoice, language: Language, steering: str, target: int, said: Mapping[str, Any], parallel: int = 0
) -> Settings:
    """``said`` holds settings by their names, and who answers; those that are left out have their defaults. Raises
    ``UsageError`` for a value that may not stand there."""
    responder = responder_of(server, said)
    made = Settings(server, language, steering, target, rules=Rules(language), parallel=parallel, responder=responder)
    for name, value in said.items():
        if name in BY_NAME and (checked := BY_NAME[name].check(value)) is not None:
            if name == "temperature":
                made = replace(made, temperatures=(value,))
            made = _set(made, BY_NAME[name].path.split("."), checked)
    shortest, longest = made.screening.min_words, made.screening.max_words
    if shortest > longest:
        raise UsageError(
            f"--min-words {shortest} is more than --max-words {longest}: no instruction can pass.",
            f"give --max-words {shortest} or more, or a smaller --min-words",
        )
    if made.topics and made.system:
        raise UsageError(
            "--topics and --system both want to be the system message.",
            "leave out --system, or write a topic file of your own, as docs/topics.md tells",
        )
    for topic in made.mixture.topics.values() if made.mixture else ():
        topic.spoken(language)
    return made


def responder_of(server: ServerChoice, said: Mapping[str, Any]) -> ServerChoice | None:
    """Another model that answers, beside that of ``server``; None where it answers itself."""
    model, kind, host = (said.get(f"response_{name}") or "" for name in ("model", "server", "host"))
    if (kind or host) and not model:
        raise UsageError(
            "--response-server and --response-host are for another model", "name it: --response-model NAME"
        )
    return server.beside(model, kind, host) if model else None


def _set(whole: Any, path: list[str], value: Any) -> Any:
    first, *rest = path
    return replace(whole, **{first: _set(getattr(whole, first), rest, value) if rest else value})


_SECRET_KEY = re.compile(
    r"^key$|(api|access|private|secret|auth)[-_.]?key|(^|access|auth|api|bearer|refresh|session|hf|secret)[-_.]?token$"
    r"|passw|passphrase|secret|authorization|credential|cookie|bearer",
    re.IGNORECASE,
)
"""Not max_tokens, eos_token or stop_token_ids."""

_SECRET_VALUE = re.compile(
    r"(bearer|basic) \S|(sk|hf|gh[a-z]|glpat|xox[a-z])[-_][\w-]{12,}$|eyJ\w{12}|\w+://[^/\s]*@", re.I
)

HIDDEN = "***"


def without_secrets(value: Any, key: str = "") -> Any:
    """Options to be shown or kept: what is a secret by its key or its form is ``HIDDEN``.

    >>> without_secrets({"api_key": "segreto", "headers": {"X-Auth": "Bearer segreto"}, "max_tokens": 7})
    {'api_key': '***', 'headers': {'X-Auth': '***'}, 'max_tokens': 7}
    """
    if isinstance(value, Mapping):
        return {name: without_secrets(one, str(name)) for name, one in value.items()}
    if isinstance(value, list):
        return [without_secrets(one, key) for one in value]
    secret = _SECRET_KEY.search(key) or (isinstance(value, str) and _SECRET_VALUE.match(value))
    return HIDDEN if secret and value not in (None, "", True, False) else value


def _digest(value: object) -> str:
    """Tells two states of a value apart, as of a language's steering data: a manifest says which one a run used."""
    return hashlib.sha256(repr(value).encode()).hexdigest()[:12]
