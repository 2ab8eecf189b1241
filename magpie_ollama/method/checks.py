"""What no text may be: one list of checks, which the watches, the final screens and ``filter --rescreen`` run alike."""

from __future__ import annotations

import re
import sys
import unicodedata
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property

from magpie_ollama import plugins
from magpie_ollama.method import grounding, turns, unseen, vocabulary
from magpie_ollama.method.detection import Framed, Verdict, check, drifted, framed, identify
from magpie_ollama.method.duplicates import DuplicateIndex, copies, echoes, normalise
from magpie_ollama.method.fluency import FLOOR, SOUND, fluency
from magpie_ollama.method.languages import Language
from magpie_ollama.method.naming import named
from magpie_ollama.method.reasoning import shows_reasoning
from magpie_ollama.method.reasons import Reason
from magpie_ollama.method.repetition import babbles, harps, loops
from magpie_ollama.method.segments import letters, quotations
from magpie_ollama.method.steering import Steered
from magpie_ollama.method.template import Template

CAUTION = 2
"""See ``loops``: a text that is being written may still find its way out."""

RECENT = 800
"""Characters at the end of a text being written in which a change of language is looked for; where there seems to be
one, the whole is looked at."""

QUOTE = 200
"""Characters that a longer response may spend in another language, as on an example, before it is lost."""

LONGEST_WORD = 100
LONGEST = 1_000_000
"""Characters that no text of a model has: a server that sends more, in one piece perhaps, heeds no limit."""

_GIVEN = re.compile('[:：\\n"«“„‘「『`]')
"""Where foreign text or code begins, behind the words that say what to do with it."""

GIVEN = 60
"""Letters in another language that are more in a response than an example of a word or a name."""

SAMPLED = 3000
"""Characters of each of four places that a longer text's language is judged by."""


@dataclass(frozen=True, slots=True)
class Rules:
    """What an instruction and a response must be. Words are counted by ``count_words``. The last two are a topic's, as
    ``Topic`` has them."""

    language: Language
    min_words: int = 3
    max_words: int = 300
    keep_truncated: bool = False
    min_confidence: float = 0.0
    foreign_text: bool = False
    code: bool = False


ANY = Rules(Language("und", "", "", (), (), True, "", "", "", "", {}, ()), min_words=0, max_words=sys.maxsize)
UNSTEERED = Steered("")
UNKNOWN = Template("", "", (), "none that is known")


@dataclass(frozen=True)
class Look:
    """A text as it is looked at, by rules that ``ANY`` text keeps where there are none.

    ``confidence`` and ``own_confidence`` are those of ``fluency``, 0.0 where they were not measured. ``steered`` and
    ``seen`` are what it may be a copy of; ``asked`` is the instruction of a response, ``reasoning``
    what the server told beside it. Of a text that is still being written, the first ``known`` characters were looked at
    before, and ``waiting`` must stand behind what speaks against it: 0 says that it is whole.
    """

    text: str
    template: Template = UNKNOWN
    rules: Rules = ANY
    steered: Steered = UNSTEERED
    seen: DuplicateIndex | None = None
    asked: str = ""
    finish: str = "stop"
    reasoning: str = ""
    confidence: float = 0.0
    own_confidence: float = 0.0
    known: int = 0
    waiting: int = 0

    @cached_property
    def sample(self) -> str:
        """The text, or four places of a long one."""
        if len(self.text) <= 4 * SAMPLED:
            return self.text
        last = len(self.text) - SAMPLED
        return "\n".join(self.text[start : start + SAMPLED] for start in (0, last // 3, last // 3 * 2, last))

    @cached_property
    def framed(self) -> Framed:
        language = self.rules.language
        return framed(self.sample, language.code, scripts=language.scripts, opener=self.steered.opener)

    @cached_property
    def in_own_language(self) -> Verdict:
        """A response must not be, for the most part, in another language that nothing in its instruction asks for."""
        verdict, said, given = self.framed
        if not self.asked or letters(given) < max(GIVEN, letters(said)) or self._shown_another_language:
            return verdict
        return Verdict.NO

    @cached_property
    def _shown_another_language(self) -> bool:
        language = self.rules.language
        return bool(
            named(self.asked, language.code)
            or quotations(self.asked)
            or framed(self.asked, language.code, scripts=language.scripts) != (Verdict.YES, self.asked, "")
        )

    @cached_property
    def named_language(self) -> str:
        """Another language that a response is in because its instruction names it, or ``""``."""
        others = named(self.asked, self.rules.language.code) if self.asked else ()
        if not others or self.in_own_language is not Verdict.NO:
            return ""
        return next((code for code in others if check(self.sample, code) is Verdict.YES), "")

    @cached_property
    def in_language(self) -> Verdict:
        return Verdict.YES if self.named_language else self.in_own_language

    @cached_property
    def words(self) -> tuple[bool | None, float]:
        """Whether they are invented, and the share of known ones: see ``vocabulary.judged``. Where they seem to be,
        those in another language that is welcome are judged as words of that one, with the doubt on their side."""
        code, unfinished = self.named_language or self.rules.language.code, self.waiting > 0
        found = vocabulary.judged(self.sample, code, unfinished=unfinished)
        if not found[0] or self.named_language or not self.framed.given:
            return found
        given = vocabulary.judged(self.framed.given, identify(self.framed.given), unfinished=True)
        return found if given[0] else vocabulary.judged(self.framed.said, code, unfinished=unfinished)

    @cached_property
    def fluency(self) -> float:
        return fluency(self.confidence, self.own_confidence, self.text)

    @cached_property
    def twin(self) -> str:
        return "" if self.seen is None else self.seen.find(self.text)


@dataclass(frozen=True, slots=True, eq=False)
class Pace:
    """When a text that is being written is looked at: at ``first`` characters, then whenever ``least`` more are there,
    or one in ``part`` of it. All looks together take time in proportion to the text."""

    first: int
    least: int
    part: int

    def after(self, length: int) -> int:
        return length + max(self.least, length // self.part)


OFTEN = Pace(24, 24, 8)
RARELY = Pace(72, 24, 2)
LATE = Pace(192, 192, 8)
DOUBLED = Pace(72, 72, 1)
"""An instruction's first look is at six tokens, and a language shows from 72 characters on (py3langid: .979 right at
60); what costs much is looked for more rarely. A response is longer, and loops late."""


@dataclass(frozen=True, slots=True, eq=False)
class Check:
    """``finds`` says whether a text is to be rejected for ``reason``, which knows its stage and its words. With a
    ``pace``, what it finds in a text's beginning stays, so that the text may be cut off while it is written. ``twice``:
    from ``QUOTE`` characters on it must find it there again."""

    reason: Reason
    finds: Callable[[Look], bool]
    pace: Pace | None = None
    twice: bool = False


def count_words(text: str, spaces: bool = True) -> int:
    """Words of a text; where a language writes no spaces, two letters count as a word."""
    if spaces:
        return sum(any(map(str.isalnum, word)) for word in text.split())
    return sum(map(str.isalnum, text)) // 2


def _too_long(look: Look) -> bool:
    most, length = look.rules.max_words, len(look.text)
    return length > min(LONGEST_WORD * most, LONGEST) or (
        length > 2 * most and count_words(look.text, look.rules.language.spaces) > most
    )


def _says_nothing(look: Look) -> bool:
    """Whether a response has no letter, digit, sign of mathematics or symbol, each of which can be an answer."""
    return not any(unicodedata.category(char)[0] in "LNS" for char in look.text[:SAMPLED]) and not babbles(look.text)


def _opens_a_turn(look: Look) -> bool:
    # Reasoning may still be followed by its end, and an answer: whatever stands in it goes then.
    return turns.opens_a_turn(look.text, look.template, look.known) and not (
        look.waiting and shows_reasoning(look.text)
    )


def _repeats(look: Look) -> bool:
    if look.waiting:
        return loops(look.text, CAUTION)
    return babbles(look.text) or loops(look.text) or (not look.asked and harps(look.text))


def _in_another_language(look: Look) -> bool:
    """A text that is being written must have left the language, so far that its whole is not in it either."""
    rules, language = look.rules, look.rules.language
    if rules.foreign_text or rules.code:
        if look.waiting or (rules.foreign_text and look.asked):
            return False
        return check(_GIVEN.split(look.text, maxsplit=1)[0], language.code, scripts=language.scripts) is Verdict.NO
    left = not look.waiting or drifted(look.text[-RECENT:], language.code, scripts=language.scripts)
    return left and look.in_language is Verdict.NO


def _is_the_opener(look: Look) -> bool:
    return look.steered.opener != "" and normalise(look.text) == normalise(look.steered.opener)


def _is_invented(look: Look) -> bool:
    """Either most words are in no list; or whether they are is in doubt, and the model was not sure of them: the more
    it is in doubt, the surer it must be, from ``FLOOR`` to ``SOUND``."""
    if look.rules.foreign_text or look.rules.code:
        return False
    invented, share = look.words
    sure = vocabulary.sure(look.rules.language.code)
    if invented is not None and (invented or share >= sure):
        return invented
    doubt = min((sure - share) / (1 - sure), 1.0) if share else 0.0
    return 0.0 < look.fluency < FLOOR + (SOUND - FLOOR) * doubt


def _is_not_grounded(look: Look) -> bool:
    passage = look.steered.passage
    return passage != "" and grounding.grounded(look.sample, f"{passage} {look.asked}") < grounding.FLOOR


def _plugins_object(look: Look) -> bool:
    return plugins.object_to(look.text, look.asked, look.rules.language.code)


EXTRACTING = (
    Check(Reason.BROKEN_OFF, lambda look: look.finish not in ("stop", "length")),
    Check(Reason.EMPTY, lambda look: not any(map(str.isalnum, look.text))),
    Check(Reason.CONTROL_CHARACTERS, lambda look: unseen.forbidden(look.text, look.known), OFTEN),
    Check(Reason.NOT_A_USER, lambda look: turns.speaks_as_assistant(look.text, look.waiting, look.known), OFTEN),
    Check(Reason.RUN_ON, lambda look: turns.runs_on(look.text, look.template, look.waiting, look.known), OFTEN),
    Check(Reason.RUN_ON, lambda look: shows_reasoning(look.text)),
    Check(Reason.TRUNCATED, lambda look: look.finish == "length"),
)
"""Of an instruction with what frames it. Of each list, the first check that finds something gives the reason."""

INSTRUCTIONS = (
    Check(Reason.TOO_LONG, _too_long, RARELY),
    Check(Reason.DUPLICATE, _is_the_opener),
    Check(Reason.TOO_SHORT, lambda look: count_words(look.text, look.rules.language.spaces) < look.rules.min_words),
    Check(Reason.REPETITION, _repeats, RARELY),
    Check(Reason.WRONG_LANGUAGE, _in_another_language, RARELY),
    Check(Reason.INVENTED_WORDS, _is_invented, RARELY),
    Check(
        Reason.NOT_A_USER,
        lambda look: copies(look.text, (turn["content"] for turn in look.steered.messages if turn["role"] == "system")),
    ),
    Check(Reason.DUPLICATE, lambda look: copies(look.text, (shown.instruction for shown in look.steered.exemplars))),
    Check(Reason.DUPLICATE, lambda look: look.twin == "duplicate"),
    Check(Reason.NEAR_DUPLICATE, lambda look: look.twin == "near_duplicate"),
    Check(Reason.LOW_CONFIDENCE, lambda look: 0.0 < look.confidence < look.rules.min_confidence),
    Check(Reason.PLUGIN, _plugins_object),
)

RESPONSES = (
    Check(Reason.RESPONSE_TRUNCATED, lambda look: len(look.text) > LONGEST, DOUBLED),
    Check(Reason.RESPONSE_BROKEN_OFF, lambda look: look.finish not in ("stop", "length")),
    # Reasoning may use up the limit before the response begins.
    Check(Reason.RESPONSE_TRUNCATED, lambda look: look.finish == "length" and _says_nothing(look)),
    Check(Reason.RESPONSE_ALL_REASONING, lambda look: look.reasoning != "" and not look.text.strip()),
    Check(Reason.RESPONSE_EMPTY, _says_nothing),
    Check(Reason.RESPONSE_CONTROL_CHARACTERS, lambda look: unseen.forbidden(look.text, look.known), LATE),
    Check(Reason.RESPONSE_CONTROL_CHARACTERS, lambda look: unseen.forbidden(look.reasoning)),
    Check(Reason.RESPONSE_REASONING, lambda look: shows_reasoning(look.text)),
    Check(Reason.RESPONSE_RUN_ON, _opens_a_turn, LATE),
    Check(Reason.RESPONSE_RUN_ON, lambda look: turns.has_a_dialogue_glued_on(look.text, look.asked)),
    Check(Reason.RESPONSE_REPETITION, _repeats, LATE),
    Check(Reason.RESPONSE_TRUNCATED, lambda look: look.finish == "length" and not look.rules.keep_truncated),
    Check(Reason.RESPONSE_ECHO, lambda look: echoes(look.text, look.asked)),
    Check(Reason.RESPONSE_COPY, lambda look: copies(look.text, (shown.response for shown in look.steered.exemplars))),
    Check(Reason.RESPONSE_NOT_GROUNDED, _is_not_grounded),
    Check(Reason.RESPONSE_WRONG_LANGUAGE, _in_another_language, DOUBLED, twice=True),
    Check(Reason.RESPONSE_INVENTED_WORDS, _is_invented, DOUBLED),
    Check(Reason.RESPONSE_PLUGIN, _plugins_object),
)

CHECKS = (*EXTRACTING, *INSTRUCTIONS, *RESPONSES)


@dataclass(frozen=True, slots=True)
class Verdicts:
    """The screen's word: ``reason`` is None for what passes; ``language`` is the detector's verdict, "" where it was
    not asked. ``known_words`` is their share and ``fluency`` the model's, both 0.0 where they were not measured: for
    the words there is no list, or they are too few."""

    reason: Reason | None
    language: str = ""
    known_words: float = 0.0
    fluency: float = 0.0

    @property
    def unjudged(self) -> bool:
        """Whether nothing says that the words exist: what passes so counts as unknown."""
        return not self.known_words and not self.fluency


def screened(checks: Sequence[Check], look: Look) -> Verdicts:
    """The word of such ``checks`` on a whole text: the first that finds something gives the reason."""
    reason = next((one.reason for one in checks if one.finds(look)), None)
    asked = vars(look)
    known = round(asked.get("words", (None, 0.0))[1], 4)
    return Verdicts(reason, asked.get("in_language", ""), known, look.fluency)
