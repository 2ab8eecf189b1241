"""The dataset card: README.md with its YAML metadata, made from what is counted in a corpus and what its runs tell.

Pure. The metadata's keys are those of the Hugging Face Hub's dataset cards. Nothing is claimed that the records do not
bear out: "synthetic" where they name a model or a run, "Magpie" where they name a run of this tool.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any
from zlib import crc32

from magpie_ollama.corpus.reading import Row
from magpie_ollama.curation.provenance import Operation
from magpie_ollama.curation.statistics import Statistics, quantiles
from magpie_ollama.method import languages
from magpie_ollama.tagging.scales import KEYS

SIZES = ((1_000, "n<1K"), (10_000, "1K<n<10K"), (100_000, "10K<n<100K"), (1_000_000, "100K<n<1M"))
LARGEST = "1M<n<10M"

SHOWN = 600
"""Characters of an instruction, and of a response, that a reader is shown."""

MOST = 12
"""Values told of one field; the rest are counted."""


def card(
    name: str,
    paths: Iterable[str],
    statistics: Statistics,
    runs: Sequence[Mapping[str, Any]],
    licence: str = "",
    operations: Sequence[Operation] = (),
    samples: Sequence[tuple[str, str]] = (),
) -> str:
    """The whole README.md of OWNER/NAME. ``paths`` are those of the data files in the repository,
    data/[CONFIG/]SPLIT.jsonl; ``runs`` are ``PastRun.to_dict``s; ``licence`` is an identifier of the Hub's
    ("cc-by-4.0"), "" where none is given; ``operations`` are what was done with the records since; ``samples`` are
    records to read."""
    title, splits = name.partition("/")[2], _splits(paths)
    runs = [run for run in runs if run["there"]]
    parts = (
        _metadata(title, splits, statistics, licence),
        f"# {_plain(title)}",
        _lead(statistics),
        _load(name, splits),
        _contents(statistics),
        _samples(samples),
        _tags(statistics),
        _making(statistics, runs),
        _operations(operations),
        _limits(statistics),
        _licence(statistics, licence),
    )
    return "\n\n".join(part for part in parts if part) + "\n"


_OF_INSTRUCTIONS = """
- The instructions show what the model expects users to ask, which is not what users ask: some subjects come too often,
  and much that people need is missing. The model's biases are in both texts."""

_LIMITS = f"""- Responses can be wrong, made up or out of date, however sure they sound. They are no source of \
facts.{_OF_INSTRUCTIONS}
- Languages were told by a detector, and duplicates by likeness; both err. Some texts are not quite natural.
- Nothing was filtered for safety, unless tags above say so; and a tag is one model's opinion."""


class Samples:
    """Two records to read: the same ones of the same rows, in whatever order these come."""

    def __init__(self) -> None:
        self._found: list[tuple[int, str, str]] = []

    def seen(self, rows: Iterable[Row]) -> Iterator[Row]:
        """The rows, as they pass."""
        for row in rows:
            if row.response and not row.unwanted:
                drawn = (crc32(row.instruction.encode("utf-8", "replace")), row.instruction, row.response)
                self._found = sorted({*self._found, drawn})[:2]
            yield row

    @property
    def texts(self) -> list[tuple[str, str]]:
        return [(instruction, response) for _, instruction, response in self._found]


def _splits(paths: Iterable[str]) -> dict[str, dict[str, str]]:
    """Paths by config and split."""
    found: dict[str, dict[str, str]] = {}
    for path in paths:
        *config, split = path.removeprefix("data/").removesuffix(".jsonl").split("/")
        found.setdefault(config[0] if config else "default", {})[split] = path
    return found


def _load(name: str, splits: Mapping[str, Mapping[str, str]]) -> str:
    lines = ["from datasets import load_dataset", ""]
    for config, paths in splits.items():
        which = f", {config!r}" if config != "default" else ""
        lines += [f'{split} = load_dataset("{name}"{which}, split="{split}")' for split in paths]
    return "\n".join(["```python", *lines, "```"])


def _samples(samples: Sequence[tuple[str, str]]) -> str:
    parts = ["## Two records" if len(samples) > 1 else "## A record"] if samples else []
    for instruction, response in samples:
        text = "\n\n".join((_cut(instruction), _cut(response)))
        fence = "`" * (max(map(len, re.findall("`+", text)), default=2) + 1)
        parts.append(f"{fence}text\n{text}\n{fence}")
    return "\n\n".join(parts)


def _cut(text: str) -> str:
    text = "".join(sign for sign in text.strip() if sign.isprintable() or sign == "\n")
    return text if len(text) <= SHOWN else f"{text[:SHOWN].rstrip()} ..."


def _metadata(name: str, splits: Mapping[str, Mapping[str, str]], statistics: Statistics, licence: str) -> str:
    codes = sorted({code for part in statistics.parts.values() if (code := _hub_code(part.language))})
    size = next((told for bound, told in SIZES if statistics.records < bound), LARGEST)
    lines = ["---", f"pretty_name: {json.dumps(name, ensure_ascii=False)}"]
    lines += _listed("language", codes)
    if licence:
        lines.append(f"license: {json.dumps(licence)}")
    lines += [*_listed("task_categories", ["text-generation"]), *_listed("size_categories", [size])]
    lines += _listed("language_creators", ["machine-generated"] if _synthetic(statistics) == statistics.records else [])
    own = ["magpie"] if _own(statistics) else []
    own += ["magpie-ollama"] if _own(statistics) or _answered(statistics) else []
    synthetic = ["synthetic"] if _synthetic(statistics) or _answered(statistics) else []
    lines += _listed("tags", [*synthetic, *own, "instruction-tuning"])
    lines.append("configs:")
    for config, paths in splits.items():
        lines += [f"- config_name: {json.dumps(config) if config != 'default' else config}", "  data_files:"]
        for split, path in paths.items():
            lines += [f"  - split: {split}", f"    path: {json.dumps(path)}"]
    return "\n".join([*lines, "---"])


def _listed(key: str, values: Iterable[str]) -> list[str]:
    """Strings of JSON are strings of YAML: "no" is Norwegian and not false."""
    items = [f"- {json.dumps(value)}" for value in values]
    return [f"{key}:", *items] if items else []


def _own(statistics: Statistics) -> int:
    """Records that a run of this tool made, instruction and response."""
    return statistics.kinds["runs"].total() - _answered(statistics)


def _answered(statistics: Statistics) -> int:
    """Records whose response alone a run of this tool made, to what no model wrote."""
    return statistics.kinds["answered"].total()


def _synthetic(statistics: Statistics) -> int:
    """Records that name the model that wrote them, both texts, or the run."""
    return max(_own(statistics), statistics.kinds["models"].total())


def _lead(statistics: Statistics) -> str:
    models, own = _named(statistics, "models"), _own(statistics)
    by = f", written by {models}" if models else ""
    lead = f"{_counted(statistics.records, 'pair')} of instruction and response for fine-tuning chat models{by}."
    if answered := _answered(statistics):
        which = "Their responses" if answered == statistics.records else f"The responses of {answered:,} of them"
        lead += f" {which} were written by {_values(statistics.kinds['answered'])}, with `magpie-ollama respond`, to "
        lead += "questions that no model is named for."
    if not own:
        return lead if answered else f"{lead} The records do not tell how they were made."
    which = "They were" if own == statistics.records else f"{own:,} of them {'was' if own == 1 else 'were'}"
    rest = "" if own + answered == statistics.records else " The others do not tell how they were made."
    return (
        f"{lead} {which} made with magpie-ollama by the Magpie method (Xu et al. 2024, arXiv:2406.08464): an aligned "
        "model is given only the beginning of a user's turn, and writes the instruction itself; then it answers it."
        f"{rest}"
    )


def _limits(statistics: Statistics) -> str:
    written = _synthetic(statistics)
    if written == statistics.records:
        which = (
            "**This data is synthetic.** A language model wrote the instructions as well as the responses; no human "
        )
        which += "being wrote or checked them. So:"
    elif written:
        told = f"{written:,} of the {statistics.records:,} records {'is' if written == 1 else 'are'} synthetic"
        which = f"**At least {told}**: a language model wrote both texts, and no human being checked them. "
        which += "So, for these at least:"
    elif _answered(statistics):
        which = "**The responses are synthetic.** A language model wrote them; no human being checked them. So:"
    else:
        which = "**The records do not tell who wrote them.** If a language model did:"
    limits = _LIMITS if written or not _answered(statistics) else _LIMITS.replace(_OF_INSTRUCTIONS, "")
    return f"## What to know before you use it\n\n{which}\n\n{limits}"


def _contents(statistics: Statistics) -> str:
    rows = []
    for part in sorted(statistics.parts.values(), key=lambda part: -part.records):
        medians = [quantiles(counts, (0.5,))[0] for counts in (part.instruction, part.response)]
        rows.append(
            (_language(part.language), f"{part.records:,}", *(_counted(middle, part.unit[:-1]) for middle in medians))
        )
    told = [_table(("language", "records", "instruction, median", "response, median"), rows[:MOST])]
    if len(rows) > MOST:
        told.append(f"And {_counted(len(rows) - MOST, 'more language')}.")
    if statistics.unwanted:
        told.append(f"Labelled as answers that are not wanted: {_counted(statistics.unwanted, 'record')}.")
    if talks := statistics.records - statistics.turns[1]:
        told.append(f"Conversations of several turns of the user: {talks:,}, of up to {max(statistics.turns)}.")
    if own := _own(statistics) + _answered(statistics):
        told.append(_FORM.format(line="line" if own == statistics.records else "line that magpie-ollama made"))
    return "\n\n".join(("## What is in it", *told))


_FORM = """Each {line} has `messages`, a list of `role` and `content` as TRL and most trainers read it, and beside it
where the pair comes from: `language`, `model`, `server`, `steering` (how the language was brought about), `topic`,
`source` (the row, document or topic file that it is made of), `seed`, `run`, counts of tokens, `finish_reason`, and
`confidence` (how sure the model was of the instruction; 0 where it was not measured)."""


def _tags(statistics: Statistics) -> str:
    found = {key: statistics.judged[key] for key in (*KEYS, "language") if key in statistics.judged}
    if not found:
        return ""
    judges = _values(statistics.judged.get("judge", Counter())) or "a model"
    tagged = max(counts.total() for counts in found.values())
    some = f", to {tagged:,} of the {_counted(statistics.records, 'record')}; shares are of these"
    which = "" if tagged == statistics.records else some
    table = _table(("tag", "values"), [(key, _values(counts)) for key, counts in found.items()])
    return f"## Tags\n\nGiven by {judges} as a judge, on the scales of Magpie{which}.\n\n{table}"


def _making(statistics: Statistics, runs: Sequence[Mapping[str, Any]]) -> str:
    kinds = {"model": "models", "response model": "responders", "server": "servers", "steering": "steerings"}
    kinds["topic"] = "topics"
    facts = [(name, told) for name, kind in kinds.items() if (told := _named(statistics, kind))]
    if not facts:
        return ""
    parts = ["## How it was made", _table(("", ""), facts)]
    if runs:
        parts += _funnel(runs)
    elif _own(statistics) or _answered(statistics):
        parts.append("The runs that made it left no manifest beside the file: what was rejected is not known.")
    return "\n\n".join(parts)


def _operations(operations: Sequence[Operation]) -> str:
    if not operations:
        return ""
    told = "\n".join(f"- {one.at[:10]}: `{_plain(one.told(), 300)}`" for one in operations)
    return f"## What was done with it since\n\nBy commands of magpie-ollama, and how many records each left:\n\n{told}"


def _funnel(runs: Sequence[Mapping[str, Any]]) -> list[str]:
    outcomes: Counter[str] = Counter()
    for run in runs:
        outcomes.update(run["funnel"]["outcomes"])
    del outcomes["dropped"]  # what was in flight at an end came to nothing, but was not rejected
    kept, there = outcomes.pop("kept", 0), sum(run["there"] for run in runs)
    attempts = outcomes.total() + kept
    left = "" if there == kept else f", of which {there:,} are here"
    gave = f"{_counted(attempts, 'attempt')} gave {_counted(kept, 'record')}"
    told = f"In {_counted(len(runs), 'run')}, {gave}{left}."
    if not outcomes:
        return [told]
    rows = [(f"`{_plain(name)}`", f"{n:,}", f"{100 * n / attempts:.1f} %") for name, n in outcomes.most_common()]
    told += " The others were rejected, each for the first reason that was met:"
    return [told, _table(("rejected as", "attempts", "share"), rows)]


def _licence(statistics: Statistics, licence: str) -> str:
    models = " and ".join(filter(None, (_named(statistics, kind) for kind in ("models", "responders"))))
    here = f" (here: {models})" if models else ""
    given = f"The collection is given under `{_plain(licence)}`." if licence else "No licence was chosen for it."
    return (
        f"## Licence\n\n{given} What a model writes may also be subject to that model's own licence{here}, "
        "which can restrict what its output is used for, such as training other models. Read it before you use this."
    )


def _named(statistics: Statistics, kind: str) -> str:
    """``_values`` of a field, with how many records have none; "" where all have none."""
    counts = statistics.kinds[kind]
    none = statistics.records - counts.total()
    names = "names" if none == 1 else "name"
    told = _values(counts, statistics.records)
    return f"{told}; {_counted(none, 'record')} {names} none" if told and none else told


def _values(counts: Mapping[str, int], total: int = 0) -> str:
    """ "llama3.2 (90 %), qwen3:4b (10 %)", the most frequent first; a single value of all alone. Shares are of
    ``total`` records, else of those counted."""
    total = total or sum(counts.values())
    ordered = sorted(counts.items(), key=lambda item: -item[1])
    if len(ordered) == 1 and ordered[0][1] == total:
        return f"`{_plain(ordered[0][0])}`"
    told = [f"`{_plain(value)}` ({100 * n / total:.0f} %)" for value, n in ordered[:MOST]]
    return ", ".join(told) + (f" and {len(ordered) - MOST} more" if len(ordered) > MOST else "")


def _counted(number: int, noun: str) -> str:
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def _language(code: str) -> str:
    if not code:
        return "not named"
    return f"{languages.load(code).english} (`{code}`)" if code in languages.codes() else f"`{_plain(code)}`"


def _hub_code(code: str) -> str:
    """The Hub knows ISO 639 codes, without scripts and regions; "" for what is none."""
    first = re.split("[-_]", code)[0]
    return first if re.fullmatch("[a-z]{2,3}", first) else ""


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    rows = list(rows)
    if not rows:
        return ""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _plain(text: str, most: int = 100) -> str:
    """Text of a file, within Markdown: one line, and nothing that ends a code span or a cell."""
    return " ".join(text.replace("`", "'").replace("|", "/").split())[:most]
