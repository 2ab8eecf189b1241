"""A model's judgement on each record, from Python."""

from __future__ import annotations

import shlex
from collections.abc import AsyncGenerator, Iterator, Mapping
from contextlib import AbstractAsyncContextManager, nullcontext
from dataclasses import replace
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any, Unpack

from magpie_ollama.api.keywords import Tagging, choice_of, explicit
from magpie_ollama.api.making import warn, without_async
from magpie_ollama.asking.opening import ENGLISH
from magpie_ollama.corpus.reading import Row, Rows, free_name, is_stream
from magpie_ollama.corpus.rewriting import check_new, same_file
from magpie_ollama.curation.importing import as_record
from magpie_ollama.curation.tagged import write_tagged
from magpie_ollama.errors import CorpusError, NotACorpus, UsageError
from magpie_ollama.records import Record, tags
from magpie_ollama.run import measurements
from magpie_ollama.servers.base import ServerChoice
from magpie_ollama.tagging import scales
from magpie_ollama.tagging.judgements import Judgements
from magpie_ollama.tagging.judging import Judging, JudgingProgress, open_judge
from magpie_ollama.tagging.planted import MOST_GOOD
from magpie_ollama.tagging.proof import Proofs, check, in_short

IN_FLIGHT = 4


@explicit(Tagging)
def atag(file: str | Path, **given: Unpack[Tagging]) -> AsyncGenerator[Record, None]:
    """Lets a model judge the records of ``file``, and yields each with its tags, in their order: quality, difficulty,
    category and safety on Magpie's scales; "" where the judge gave no valid answer.

    Judgements are written down as they come, in FILE.magpie/tags.jsonl, and none is asked for twice. No more are asked
    for than are taken, but for ``parallel`` records at a time (4). ``output`` or ``in_place`` writes the tagged file
    once all are taken. Leave early as with ``agenerate``.

    Raises ``errors.MagpieError``: at once for a file that cannot be read, or an output that is there; later for a judge
    that does not tell good records from those with planted faults, or gives no valid judgements.

    >>> for record in tag("it.jsonl", model="m:1b", unproven=True):
    ...     print(record.instruction, record.tags["quality"])
    Quanto fa due più due? good
    """
    path, output = Path(file), Path(given["output"]) if given["output"] is not None else None
    if output is not None and given["in_place"]:
        raise UsageError("Both output and in_place say where the tagged records go.", "leave one of them out")
    if unknown := {*given["add"]} - {"language", *scales.WORDS}:
        raise UsageError(f"add names {', '.join(sorted(unknown))}.", f"choose of language, {', '.join(scales.WORDS)}")
    check_asked(path, output, given)
    return _tagged(path, output, choice_of(given), given)


tag = without_async(atag)


def check_asked(file: Path, output: Path | None, given: Mapping[str, Any]) -> None:
    """Raises UsageError or CorpusError: now, and not after hours."""
    if given["reward_host"] and not given["reward"]:
        raise UsageError("--reward-host is for a reward model", "name it: --reward MODEL")
    if is_stream(file):
        raise UsageError("Tag reads its file more than once, and stdin or a pipe can be read once", "give it a file")
    if output is not None and output != Path("-"):
        if same_file(output, file):
            raise UsageError(f"{output} is the input itself", "change it with --in-place, which keeps the old one")
        check_new(output, given["force"])
    Rows(file)  # is it there, and of the right kind


def judge_of(
    choice: ServerChoice, given: Mapping[str, Any], progress: JudgingProgress
) -> AbstractAsyncContextManager[Judging]:
    """The judge, and all that is asked for besides."""
    wanted = {*given["add"], *(("explanation",) if given["explain"] else ())}
    words = tuple(key for key in scales.WORDS if key in wanted)
    reward = choice.beside(given["reward"], "openai", given["reward_host"]) if given["reward"] else None
    parallel = given["parallel"] or IN_FLIGHT
    return open_judge(choice, parallel, progress, words, "language" in wanted, given["guard"], reward)


async def proofs_of(file: Path, judging: Judging, given: Mapping[str, Any]) -> Proofs:
    """The judge's proofs in the languages of ``file``, {} where they are not wanted. Raises MagpieError."""
    spoken: dict[str, list[tuple[str, str]]] = {}
    answers = False
    for row in untagged(file, given["skip_bad"]):
        answers = answers or bool(row.response.strip())
        own = spoken.setdefault(row.text("language") or ENGLISH, [])
        if len(own) < MOST_GOOD:
            own.append((row.instruction, row.response))
    if spoken and not answers and "language" in given["add"]:
        write = shlex.join(["magpie-ollama", "respond", str(file), "-o", str(free_name(file, "answered"))])
        raise CorpusError(
            f"No record of {file} has a response whose language could be judged",
            f"have them written first: {write}; or leave --add language out",
        )
    if given["unproven"]:
        return {}
    return await judging.prove(spoken, measurements.path(judging.loaded, "judge"))


def untagged(file: Path, skip_bad: bool) -> Iterator[Row]:
    """The rows, of which none has tags that would be lost."""
    for row in Rows(file, skip_bad=skip_bad):
        scales.check_no_other_tags(row, file)
        yield row


async def _tagged(
    file: Path, output: Path | None, choice: ServerChoice, given: Mapping[str, Any]
) -> AsyncGenerator[Record, None]:
    progress, told = JudgingProgress(), 0
    async with judge_of(choice, given, progress) as judging:
        proofs = await proofs_of(file, judging, given)
        check(judging.model, proofs, "unproven=True", "model")
        with Judgements(file, judging.judge, judging.model) as judgements:
            rows, any_read = untagged(file, given["skip_bad"]), False
            while some := list(islice(rows, given["parallel"] or IN_FLIGHT)):
                any_read = True
                await judging.run(partial(list, some), judgements)
                told = warn(progress.notices, told)
                for row in some:
                    yield _record(row, judgements.tags(scales.key(row)) or scales.unjudged(judging.model, judging.more))
            if not any_read:
                raise NotACorpus(f"{file} holds no records", "make some with `magpie-ollama generate`")
    if output is not None or given["in_place"]:
        reading = nullcontext(Rows(file, skip_bad=given["skip_bad"]))
        write_tagged(file, output, reading, judgements, judging.more, in_short(proofs), force=given["force"])


def _record(row: Row, judgement: scales.Judgement) -> Record:
    record = as_record(row)
    reward = float(judgement["reward"] or 0) if "reward" in judgement else record.reward
    return replace(record, id=record.id or row.id, tags=tags(judgement), reward=reward)
