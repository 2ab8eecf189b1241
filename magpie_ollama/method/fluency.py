"""How sure a model is of its own text, made comparable over languages, scripts and temperatures.

A confidence, exp(mean log-probability per UTF-8 byte), says little by itself: a letter has one byte in Latin, two in
Greek, three in Hindi; and a model is surer at a lower temperature. Its ratio to the same model's own, of unsteered
draws at the same temperature, both per letter, is near 1 where it writes as well as it can, and near or below a half
where it babbles: .44 for SmolLM2-135M's Italian at temperature 1.0.
"""

from __future__ import annotations

from magpie_ollama.method.duplicates import letters


def fluency(confidence: float, own: float, text: str) -> float:
    """A text's confidence per letter as a share of ``own``, which is the model's own per letter; 0.0 where either is
    not measured (0.0). May be above 1."""
    return round(per_letter(confidence, text) / own, 4) if confidence and own else 0.0


def per_letter(confidence: float, text: str) -> float:
    """Of a text, given per byte. A sign that says as much as several letters counts as many (``duplicates.letters``).

    >>> per_letter(0.5, "abc"), per_letter(0.5, "где")
    (0.5, 0.25)
    """
    count = letters(text)
    return float(confidence ** (len(text.encode("utf-8", "replace")) / count)) if count else 0.0
