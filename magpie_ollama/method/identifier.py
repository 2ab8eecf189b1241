"""py3langid's model, for the languages this project steers to, and nothing but its scores.

``scores`` is what ``LanguageIdentifier.rank`` computes, without sorting 142 languages for each sentence.
Loading takes 0.5 s and 100 MB, so it happens at the first question and not at import.
"""

from __future__ import annotations

import re
import tempfile
import unicodedata
from functools import cache, lru_cache
from typing import TYPE_CHECKING, Any

from magpie_ollama.errors import MagpieError
from magpie_ollama.method.writing import NEIGHBOURS, SCRIPTS

if TYPE_CHECKING:
    from collections.abc import Callable

_ARABIC_FORMS = str.maketrans({"ي": "ی", "ك": "ک", "ى": "ی"})
_PERSIAN = re.compile(r"[پچژگ]|(?<!\w)(?:از|را|است|شود|كه|مي|مى|هاي|هاى|يك)(?!\w)")
"""Letters and small words of Persian that Arabic has not."""


@cache
def _scorer() -> Callable[[str], dict[str, float]]:
    import numpy as np
    from py3langid.langid import MODEL_FILE, LanguageIdentifier, visit_counts

    try:
        model: Any = LanguageIdentifier.from_model_file(MODEL_FILE)
    except OSError as error:  # it is unpacked into a temporary file
        raise MagpieError(
            f"The language identifier cannot be unpacked in {tempfile.gettempdir()}: {error.strerror}.",
            "free 70 MB there, or point TMPDIR elsewhere, then run the same command again",
        ) from error
    columns = [i for i, code in enumerate(model.nb_classes) if code in SCRIPTS or code in NEIGHBOURS]
    codes = [model.nb_classes[i] for i in columns]
    # A code may head two columns (Serbian in either script): the better one counts.
    again = [(k, code) for k, code in enumerate(codes) if codes.index(code) < k]
    table = np.ascontiguousarray(model.nb_ptc[:, columns])
    prior = model.nb_pc[columns]
    nextmove, output = model.tk_nextmove, model.tk_output
    rows = [row << 8 for row in model.tk_row]

    def score(text: str) -> dict[str, float]:
        visits = visit_counts(nextmove, rows, output, text.encode("utf-8", "surrogatepass"))
        if not visits:
            return {}
        index = np.fromiter(visits.keys(), dtype=np.intp, count=len(visits))
        counts = np.fromiter(visits.values(), dtype=np.float32, count=len(visits))
        values = (np.log1p(counts) @ table[index].astype(np.float32) + prior).tolist()
        found = dict(zip(reversed(codes), reversed(values), strict=True))  # of two columns the first
        for k, code in again:
            found[code] = max(found[code], values[k])
        return found

    return score


@lru_cache(maxsize=1024)  # in several languages, a sentence is scored once for all of them
def scores(text: str) -> dict[str, float]:
    """Log-likelihood of ``text`` by language of ``SCRIPTS`` (nb is part of no), or nothing; not to be changed.

    Persian typed with the Arabic forms of yeh and kaf, as older systems do, is read with its own.
    """
    if _PERSIAN.search(text):
        text = text.translate(_ARABIC_FORMS)
    # As the model was trained: composed characters, capitals only where they are not the most. A line of SQL has more
    # of them than small letters, and would be English in small ones.
    shouted = sum(map(str.isupper, text)) > 2 * sum(map(str.islower, text))
    return _scorer()(unicodedata.normalize("NFC", text.lower() if shouted else text))
