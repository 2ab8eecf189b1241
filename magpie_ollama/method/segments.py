"""What of a text is prose, and where its sentences end.

A question about numpy is in the language of its sentences, not in the language of its code. So
fenced and indented code, markup, URLs, paths, identifiers, formulae and short quoted names are set
aside before a language is looked for. Nothing here knows any language.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import lru_cache

from magpie_ollama.method.writing import letters_by_script

_UNSEEN = re.compile("[\u00ad\u200b\u2060\ufeff]")
"""Signs inside words that nobody sees: where a word may be broken, and where not."""

_FENCE = re.compile(r"```.*?(?:```|\Z)|^[ \t]*~~~.*?(?:~~~|\Z)", re.DOTALL | re.MULTILINE)
"""An open fence runs to the end: the text may still be being written. Within a line "~~~" is a drawn-out tone."""

_ASIDE = re.compile(
    r"""
      `[^`\n]{1,200}` | `[^`\s]{1,60}\Z              # inline code, still open at the end too
    | \$\$.*?\$\$ | \\\[(?:(?!\\\[).){0,1000}?\\\] | \\\((?:(?!\\\().){0,1000}?\\\)  # LaTeX
    | \$[^$\n]{1,200}?\$
    | \\[A-Za-z]+(?:\{[^{}\n]*\})*
    | </?[A-Za-z][^<>\n]{0,200}>                    # HTML tags
    | (?:https?|ftp|file)://\S+ | www\.\S+          # addresses
    | (?<![\w.+-])[\w.+-]++@[\w-]+\.[\w.-]+
    | (?<!\w)(?:[A-Za-z]:\\|~?/)[\w.\\/-]*[\w\\/]   # paths
    | (?<!\w)--?[A-Za-z][\w-]*                      # command line flags
    | (?<!\w)[A-Za-z_]\w*(?:\.[A-Za-z_]\w*){0,8}\([^()\n]*\)  # calls: f(x), np.mean(a)
    | (?<!\w)[A-Za-z]+(?:_[A-Za-z0-9]+)+            # snake_case
    | (?<!\w)[a-z]+[A-Z]\w*                         # camelCase
    | (?<![A-Za-z\d])[A-Za-z]*\d[A-Za-z\d]*         # 12, 3rd, x1, utf8
    | (?<!\w)[A-Za-z]+(?:\.[A-Za-z]+){0,8}\.(?:py|js|ts|json|csv|txt|html|css|md|pdf|exe|com|org|net|io)\b
    """,
    re.VERBOSE | re.DOTALL,
)
"""Its time grows with the length of the text alone, as that of ``_CODE_LINE`` does: nothing without a bound is looked
for again from each character of a run ("____", "e.g.e.g."), as models in a loop write them."""

_ASIDE_SIGN = re.compile(r"[`$\\<@_/()\d]|www\.|[a-z][A-Z]|\.[a-z]|(?<!\w)-")
"""Some part of every match of ``_ASIDE``: most sentences have none, and are spared the long pattern."""

_QUOTED = re.compile(
    r"""
      "[^"\n]{1,200}" | “[^”\n]{1,200}” | «[^»\n]{1,200}» | „[^“”"\n]{1,200}[“”"]
    | 「[^」\n]{1,200}」 | 『[^』\n]{1,200}』 | ‹[^›\n]{1,200}› | ›[^‹›\n]{1,200}‹ | »[^«»\n]{1,200}«
    | ”[^”\n]{1,200}” | (?<!\w)״[^״\n]{1,200}״(?!\w)
    | (?<![\w'])'(?=[^\W\d]|[¿¡])(?:[^'\n]|(?<=\w)'(?=\w)){1,200}'(?!\w)    # not an apostrophe
    | [‘‚](?=[^\W\d]|[¿¡])(?:[^‘’\n]|(?<=\w)’(?=\w)){1,200}[’‘](?!\w)
    | \*[^*\n]{1,60}\*(?!\*)
    | ^[ \t]*>[^\n]{1,1000}                       # a quotation of several lines, as mail has it
    """,
    re.VERBOSE | re.MULTILINE,
)
_QUOTE_SIGN = re.compile(r"""["“«„»”‹›「『״‘‚*>]|(?<!\w)'""")
_QUOTING = re.compile(r"""(?:(?<!\S)["“«„»”‘‚‹]|(?<!\w)'(?=\w))[^"“”«»„‘’‚‹›'\n]{1,200}\Z""")

_CODE_LINE = re.compile(
    r"""
      (?:def|class|import|from|return|elif|else:|try:|except|for|while|if|function|const|let|var|public|private
        |static|void|int|SELECT|INSERT|UPDATE|DELETE|CREATE|FROM|WHERE|print|console|@\w+)\b.*[:;{}()\[\]=*]
    | (?:import|from)\s+[\w.]+(?:\s+(?:import|as)\s+[\w.*,][\w.*, ]*)?
    | SELECT\s.*\sFROM\s.* | \#include.* | \#!.* | (?:>>>|\.\.\.|\$|\#)\s[^=(){}\[\]/|-]*[=(){}\[\]/|-].*
    | (?:pip|npm|apt|apt-get|sudo|git|docker|cd|conda)\s+\S.*
    | [^=(\[{<>]*[=(\[{<>].*; | \W*\w+; | .*[{}]        # not a list whose items end in a semicolon
    | [\w.\[\]"']+\s*(?:[-+*/]?=|:=)\s*\S.*
    | [\W\d]*
    """,
    re.VERBOSE,
)
_ERROR = re.compile(
    r"(?:(?<![\w.])(?:[A-Za-z_]\w*\.){0,8}[A-Z]\w*(?:Error|Exception)\b|\bException\ in\b"
    r"|(?:^|(?<=[?:.;]))[ ]?(?:\w{1,20}[ ])?(?:(?:error|Error|ERROR|fatal|FATAL|panic)(?:\ \w+){0,4}:|ERR!)).*",
    re.MULTILINE,
)
"""What a program says went wrong, up to the end of the line."""
_PROSE_ENDS = tuple(".!?…。！？।؟")

ENOUGH = 7
"""Letters outside its quotations by which a text is judged, however long they are."""
LONG = 160
_STATEMENT = (".", "!", "…", "。", "！", "।", "۔", "։", "።", "။")
"""A line that ends in one of these announces nothing, where it does not ask."""
ASKS = frozenset("?？؟՞")
ORDER = 36
"""Letters of a first sentence below which it may be an order to do something with the next line, full stop or not."""
COLONS = (":", "：", "՝", "፡", " -", " –", " —")
_COLON = re.compile(r"(?<=[:՝፡])\s+|(?<=：)|(?<=[^\W\d_]:)(?=[^\W\d_])|(?<=\s[-–—])\s+")
_TITLE = re.compile(
    r"(?<![\w'’])[A-Z][\w'’.-]*(?:(?:[ &-]{1,3}[a-z]{1,4}){0,2}[ &-]{1,3}[A-Z\d][\w'’-]*)+(?!\w)", re.ASCII
)
"""Words with capitals, short ones between them: the titles of works, in Latin letters."""
_COMMA = re.compile(r"[,;،](?=\s)|[，、；]")
_SENTENCE = re.compile(r"(?<=[.!?…।؟։۔])[\"'”»)\]]*\s+|(?<=[。！？])|\n+|(?<=[;:])\s+(?=[^\W\d_a-z])")


@lru_cache(maxsize=64)  # the detector and the list of words ask for the same text
def prose(text: str, *, unfinished: bool = False) -> str:
    """``text`` without what is in no language, and without its quotations where enough is left.

    In an ``unfinished`` text a quotation may be open at the end.
    """
    text = _UNSEEN.sub("", text)
    if "```" in text or "~~~" in text:
        text = _FENCE.sub("\n", text)
    if "\n" in text or text[:1] in " \t":
        text = "\n".join(_without_code(text.split("\n")))
    if _ASIDE_SIGN.search(text):
        text = _ASIDE.sub(" ", text)
    unquoted = _QUOTED.sub(" ", text) if _QUOTE_SIGN.search(text) else text
    if unfinished:
        unquoted = _QUOTING.sub(" ", unquoted)
    left = letters(unquoted)
    # A text that is nearly all quotation is judged by it.
    return unquoted if left >= ENOUGH or left * 2 >= letters(text) else text


def without_errors(text: str) -> str:
    """``text`` without the error messages of programs in it."""
    return _ERROR.sub(" ", text)


def quotations(text: str) -> list[str]:
    """What ``text`` quotes, in its marks: each up to 200 characters long."""
    return _QUOTED.findall(text) if _QUOTE_SIGN.search(text) else []


def parts(text: str, titles: bool = True) -> list[tuple[str, bool]]:
    """The sentences of ``text``, cut at colons too, and whether a colon or a line break that may announce words in
    another language stands before each. Without ``titles`` those of works are left out, or what looks like them."""
    found: list[tuple[str, bool]] = []
    opened = False
    for line in text.split("\n"):
        for chunk in _COLON.split(line):
            for sentence in sentences(chunk):
                part = sentence if titles else _TITLE.sub(" ", sentence)
                if any(map(str.isalpha, part)):
                    found.append((part, opened))
                opened = False
            opened = opened or chunk.rstrip().endswith(COLONS)
        announces = (
            not line.rstrip().endswith(_STATEMENT)
            or not ASKS.isdisjoint(line)
            or (not found[1:] and letters(line) < ORDER)
        )
        opened = opened or (announces and bool((line if titles else _TITLE.sub("", line)).strip(" -*•")))
    return found


def sentences(text: str) -> list[str]:
    """The sentences and lines of ``text`` that hold a letter, in order, stripped.

    One of more than ``LONG`` characters is cut at commas too, into parts of at least half of that: a
    model that changes language does not always end its sentence first.
    """
    found: list[str] = []
    for piece in _SENTENCE.split(text):
        part = piece.strip()
        while len(part) > LONG and (cut := _COMMA.search(part, LONG // 2, len(part) - LONG // 4)):
            found.append(part[: cut.end()])
            part = part[cut.end() :].lstrip()
        found.append(part)
    return [part for part in found if any(map(str.isalpha, part))]


def _is_code(line: str) -> bool:
    line = line.strip()
    return not line.endswith(_PROSE_ENDS) and _CODE_LINE.fullmatch(line) is not None


def _without_code(lines: list[str]) -> Iterator[str]:
    inside = False
    for line in lines:
        if line.strip():
            # What is indented below a line of code goes with it.
            inside = (inside and line[0] in " \t") or _is_code(line)
        if not inside:
            yield line


def letters(text: str) -> int:
    return sum(letters_by_script(text).values())
