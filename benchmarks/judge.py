"""The one screen that all systems' pairs pass or fail, outside every pipeline."""

from __future__ import annotations

from magpie_ollama.method.duplicates import DuplicateIndex
from magpie_ollama.method.extraction import extract
from magpie_ollama.method.languages import Language
from magpie_ollama.method.reasons import Reason
from magpie_ollama.method.screening import Rules, screen_instruction, screen_response
from magpie_ollama.method.steering import Steered
from magpie_ollama.method.template import Template

from baselines import Pair  # isort: skip


class Judge:
    """Judges the pairs of one system in one language: a pair is useful once.

    The instruction must be a whole user's turn in the language that was not there before; the response must be in the
    language, end by itself, and neither loop, nor repeat the instruction. What copies any exemplar of the language,
    or its system message, is not useful, whoever wrote it.
    """

    def __init__(self, language: Language, template: Template) -> None:
        """``template`` is the model's own, without anything in front."""
        self._rules = Rules(language)
        self._template = template
        self._shown = Steered("", ({"role": "system", "content": language.system},), exemplars=language.exemplars)
        self._seen = DuplicateIndex()

    def __call__(self, pair: Pair) -> Reason | None:
        """None for a useful pair, else what is wrong with it."""
        extracted = extract(pair.instruction, "stop" if pair.ended else "length", self._template)
        if extracted.reason is not None:
            return extracted.reason
        verdict = screen_instruction(extracted.text, self._rules, self._shown, self._seen)
        if verdict.reason is not None:
            return verdict.reason
        self._seen.add(extracted.text)
        return screen_response(
            pair.response, pair.finish_reason, extracted.text, self._rules, self._shown, self._template
        )
