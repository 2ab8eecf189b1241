"""From questions to preference pairs: several responses each, a judge's scores, rows. ``prefer`` and ``generate`` share
it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import msgspec
from rich.text import Text

from magpie_ollama.api.wanting import check_proven, own_words
from magpie_ollama.asking.opening import ENGLISH, opened
from magpie_ollama.asking.settings import settings_of
from magpie_ollama.commands.check import show_lengths
from magpie_ollama.commands.cleaning import STREAM
from magpie_ollama.commands.making import make
from magpie_ollama.corpus import files, shapes
from magpie_ollama.corpus.appender import failure
from magpie_ollama.corpus.corpus import Corpus, MemoryCorpus
from magpie_ollama.corpus.lines import encode_quickly
from magpie_ollama.corpus.questions import Questions, answered
from magpie_ollama.corpus.reading import Row, Rows
from magpie_ollama.corpus.rewriting import new_file
from magpie_ollama.curation.checking import Check
from magpie_ollama.curation.ranking import EXPLANATIONS, pairs
from magpie_ollama.display import answers, consoles, ending, live, removals, summary
from magpie_ollama.display.judging import showing
from magpie_ollama.display.words import counted
from magpie_ollama.errors import INTERRUPTED, CorpusError
from magpie_ollama.method.languages import Language
from magpie_ollama.method.steering import NONE
from magpie_ollama.run import report
from magpie_ollama.run.answering import Answering, Job, open_answering
from magpie_ollama.run.interrupts import on_interrupt
from magpie_ollama.run.parallel import USUAL
from magpie_ollama.run.progress import Progress
from magpie_ollama.servers.base import ServerChoice
from magpie_ollama.tagging.judging import JudgingProgress
from magpie_ollama.tagging.scores import SCALE, Scores, Scoring

TEMPERATURE = 0.8
"""Of the responses: where all are greedy, all are the same."""

MARGIN = 0.5
LENGTH_RATIO = 2.0


async def prefer(
    questions: Questions,
    choice: ServerChoice,
    each: int,
    language: Language | None,
    output: Path,
    given: dict[str, Any],
) -> int:
    """``each`` responses to each question, beside its file; a score of each; the pairs of them to ``output``.

    ``given`` are options of the command: settings of ``asking.said``, and judge, margin, length_ratio, temperature (of
    the responses). What is there already is not asked for again. The exit code.
    """
    path = files.folder_beside(questions.path.resolve()) / "candidates.jsonl"
    if not given["dry_run"]:
        try:
            files.make_folder(path.parent)
        except OSError as error:
            raise failure(error, path.parent) from error
    with Corpus.open(path) if path.parent.is_dir() else MemoryCorpus() as corpus:
        job = Job(questions, corpus, language, each=each)
        told: list[dict[str, Any]] = []
        if job.left:
            settings = settings_of(choice, job.languages()[0], NONE, 1, given, given["parallel"])
            settings = replace(settings, response=replace(settings.response, temperature=given["temperature"]))
            progress = Progress(target=sum(1 for _ in job.lacking()))
            title = f"{questions.path.name} · {each} responses each"
            session = open_answering(settings, job, progress)
            tell = None if given["dry_run"] else told.append  # its end is not the command's
            code = await make(
                session, corpus, progress, title, given, partial(_planned, given), summary.show, report.as_dict, tell
            )
            if code:
                return code
        if given["dry_run"]:
            return 0
        there = corpus.records
    asked = {question.key for question in questions.asked}
    rows = [_last(row) for row in Rows(path) if answered(row.line) in asked] if there else []
    scores = await _scored(path, rows, choice, given)
    return INTERRUPTED if scores is None else _written(rows, scores, output, given)


def _last(row: Row) -> Row:
    """With its last answer as the response, and all before it as the instruction: that is what is scored, and a score
    is kept by the two."""
    *before, answer = row.said.turns
    asked = "\n\n".join(turn.text for turn in before)
    return replace(row, said=msgspec.structs.replace(row.said, instruction=asked, response=answer.text))


async def _planned(given: dict[str, Any], session: Answering) -> Callable[[], None]:
    first = await session.check()
    return partial(answers.show_plan, first, session, consoles.stdout(), given["as_json"])


async def _scored(path: Path, rows: list[Row], choice: ServerChoice, given: dict[str, Any]) -> Scores | None:
    """The scores of all rows; None where the user has ended it."""
    console, progress, parallel = consoles.stderr(), JudgingProgress(), given["parallel"] or USUAL
    mode = live.mode(console, quiet=given["quiet"], plain=given["no_progress"])
    judge = choice.beside(given["judge"]) if given["judge"] else choice
    opening = opened(judge, parallel, progress, stands_in=not given["judge"])
    spoken = dict.fromkeys(row.text("language") or ENGLISH for row in rows)
    async with showing(progress, console, mode), opening as model:
        if model.name in {row.text("response_model") or row.model for row in rows}:
            progress.notices.append(own_words(model.name))
        scoring = Scoring(model, parallel, progress)
        await check_proven(scoring, [SCALE], spoken, progress.notices, given["unproven"])
        with Scores(path, scoring.judge, model.name) as scores:

            def stop() -> None:
                scoring.stop()
                progress.notices.append("Stopping. The same command continues; Ctrl-C again leaves now.")

            with on_interrupt(stop):
                await scoring.run(lambda: rows, scores)
    return None if scoring.stopped else scores


def _written(rows: list[Row], scores: Scores, output: Path, given: dict[str, Any]) -> int:
    left_out: Counter[str] = Counter()
    made: list[Row] = []
    with new_file(output, force=given["force"]) as target:
        for pair in pairs(rows, scores.value, given["margin"], given["length_ratio"], left_out):
            line = encode_quickly(pair)
            target.write(line)
            made.append(Row(len(made) + 1, line, pair, shapes.Said("chosen", "", "", ())))
        if not made:
            told = ", ".join(f"{count} {why} ({EXPLANATIONS[why]})" for why, count in left_out.most_common())
            raise CorpusError(
                f"No pair can be made: {told or 'no response passed the screen'}",
                "give a smaller --margin, more responses with -k, or another --judge; nothing was written",
            )
    check = Check("trl", "dpo")
    check.file(output.name, made)
    lengths = check.end()
    if given["as_json"]:
        facts = {"output": str(output), "pairs": len(made), "left_out": dict(left_out), "responses": len(rows)}
        facts |= {"judge": scores.model, "lengths": lengths._asdict() if lengths else None}
        consoles.show_json(facts, err=output == STREAM)
    elif not given["quiet"]:
        console = consoles.stderr() if output == STREAM else consoles.stdout()
        told = f"{counted(len(made), 'pair')} of {counted(len(rows), 'response')}, scored by {scores.model} one by one"
        consoles.say(console, Text(f"{told} -> {output if output != STREAM else 'stdout'}", "bold"))
        removals.show_reasons(dict(left_out.most_common()), EXPLANATIONS, console)
        show_lengths(lengths, console)
    if check.found.counts["length"] and not given["quiet"]:
        told = (
            "Lengths alone tell chosen from rejected: a model may learn no more than these. Try a lower --length-ratio."
        )
        consoles.show_notice(consoles.stderr(), told)
    if output != STREAM and not given["as_json"] and not given["quiet"]:
        shown = (f"{made[0].data['prompt'][-1]['content']}", f"{made[0].data['chosen'][0]['content']}")
        ending.show(consoles.stderr(), shown, "export", str(output), "--for", "trl", "--kind", "dpo")
    return 0
