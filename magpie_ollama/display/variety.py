"""How various instructions are, in one line."""

from __future__ import annotations

from magpie_ollama.display.characters import inline
from magpie_ollama.display.words import share
from magpie_ollama.method.variety import Variety


def told(found: Variety) -> str:
    """
    >>> made = Variety()
    >>> for text in ("How can I cook rice?", "How can I sing?", "Why is the sky blue?"):
    ...     made.count(text, "none", {})
    >>> told(made)
    '67 % begin “how can” · as various as 1.9 starts'
    """
    words, most = found.most
    parts = [
        f"{share(most, 1)} begin “{inline(words)}”" if words else "",
        f"as various as {found.distinct_starts:,.1f} starts",
        f"{share(found.opened, found.instructions)} with an opener of ours" if found.opened else "",
        f"{share(found.taken, found.steered)} on an exemplar's subject" if found.taken else "",
        f"{share(found.near_duplicates, 1)} of the last {len(found.repeats)} repeat others" if found.repeats else "",
    ]
    return " · ".join(filter(None, parts))
