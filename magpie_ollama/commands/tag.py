"""``magpie-ollama tag``: a model's judgement on each record."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import click
import msgspec
from rich.text import Text

from magpie_ollama.api.tagging import IN_FLIGHT, check_asked, judge_of, proofs_of, untagged
from magpie_ollama.commands.base import Command
from magpie_ollama.commands.judging import unproven_option
from magpie_ollama.commands.options import OutputPath, model_options, option, output_options, parallel, server_choice
from magpie_ollama.curation.tagged import write_tagged
from magpie_ollama.display import consoles, ending, live
from magpie_ollama.display.judging import show_tags, showing
from magpie_ollama.display.progress import reading_rows
from magpie_ollama.display.words import counted
from magpie_ollama.errors import INTERRUPTED, UsageError
from magpie_ollama.run.interrupts import on_interrupt, run
from magpie_ollama.servers.base import ServerChoice
from magpie_ollama.tagging import scales
from magpie_ollama.tagging.judgements import Judgements
from magpie_ollama.tagging.judging import Judging, JudgingProgress
from magpie_ollama.tagging.proof import Proofs, check, in_short, proof_lines

STREAM = Path("-")


@click.command(cls=Command, examples=("tag it.jsonl --in-place", "tag it.jsonl -m qwen2.5:7b -o tagged.jsonl"))
@click.argument("file", type=click.Path(path_type=Path))
@option(
    "-o",
    "--output",
    envvar="MAGPIE_OLLAMA_TAG_OUTPUT",
    type=OutputPath(),
    help="The tagged file, a new one; - for stdout.",
)
@option("--in-place", is_flag=True, help="Replace FILE in one step; the old one is kept as FILE.bak.")
@option("--force", is_flag=True, help="Replace the file of -o.")
@option("--skip-bad", is_flag=True, help="Pass over lines that are no records.")
@option(
    "--add",
    multiple=True,
    type=click.Choice(["language", *(key for key in scales.WORDS if key != "explanation")]),
    help="Judge this too: whether the response's language is correct and natural; in words, what the user wants, what "
    "one must know, further categories. Repeatable.",
)
@option("--explain", is_flag=True, help="Have the judge give a short reason, kept in FILE.magpie/tags.jsonl.")
@option("--guard", default="", metavar="MODEL", help="A guard model of the same server that tells the safety.")
@option("--reward", default="", metavar="MODEL", help="A reward model that scores the response (vLLM's /score).")
@option("--reward-host", default="", help="Its server's address. Default: --host's.")
@unproven_option
@model_options("Ollama")
@parallel(f"Records in flight. auto: {IN_FLIGHT}.")
@output_options
def command(file: Path, **given: Any) -> int:
    """Let a local model judge quality, difficulty, category and safety.

    The scales are Magpie's. First the judge has to tell good records from some with planted faults, in each language of
    FILE, once a model. Judgements are written down as they come, in FILE.magpie/tags.jsonl: the same
    command again asks for those that are missing only. At the end the records are written with their tags.
    """
    output: Path | None = given["output"]
    if (output is None) != given["in_place"]:
        raise UsageError("Say where the tagged records go", "add either -o FILE or --in-place")
    check_asked(file, output, given)
    return run(_tag(file, server_choice(given), given))


async def _tag(file: Path, choice: ServerChoice, given: dict[str, Any]) -> int:
    console = consoles.stderr()
    mode = live.mode(console, quiet=given["quiet"], plain=given["no_progress"])
    progress = JudgingProgress()
    opening = judge_of(choice, given, progress)
    async with showing(progress, console, mode), opening as judging:
        proofs = await proofs_of(file, judging, given)
        progress.notices += proof_lines(proofs)
        check(judging.model, proofs, "--unproven")

        def stop() -> None:
            judging.stop()
            told = f"Stopping: {progress.in_flight} judgements in flight are finished, Ctrl-C again leaves now."
            progress.notices.append(told)

        with Judgements(file, judging.judge, judging.model) as judgements, on_interrupt(stop):
            try:
                await judging.run(lambda: untagged(file, given["skip_bad"]), judgements)
            except asyncio.CancelledError:
                if not judging.stopped:
                    raise
    if judging.stopped:
        if not given["quiet"]:
            left = progress.total - progress.done  # 0 where the records were not counted yet
            told = f"Stopped: {left:,} are left." if left else "Stopped."
            consoles.say(console, Text(f"{told} The same command continues."))
        return INTERRUPTED
    _finish(file, judgements, judging, progress, given, proofs)
    return 0


def _finish(
    file: Path,
    judgements: Judgements,
    judging: Judging,
    progress: JudgingProgress,
    given: dict[str, Any],
    proofs: Proofs,
) -> None:
    """Writes the tagged file, and tells what is in it."""
    model = judging.model
    output: Path | None = given["output"]
    quiet = given["quiet"]
    reading = reading_rows(file, skip_bad=given["skip_bad"], quiet=quiet or output == STREAM)
    written = write_tagged(file, output, reading, judgements, judging.more, in_short(proofs), force=given["force"])
    counts, example = written.counts, written.example
    unjudged = counts["quality"]["unjudged"]
    if unjudged and not quiet:
        again = "" if given["in_place"] or output == STREAM else ", with --force,"
        told = f"{counted(unjudged, 'record')} got no valid judgement: the same command{again} asks for it again."
        consoles.show_notice(consoles.stderr(), told)
    if given["as_json"]:
        facts = {
            "input": str(file),
            "output": str(output or file),
            "backup": str(written.backup or ""),
            "judge": model,
            "judged": progress.judged,
            "unjudged": unjudged,
            "invalid": progress.invalid,
            "seconds": round(progress.seconds, 1),
            "tags": {key: dict(values.most_common()) for key, values in counts.items()},
            "proof": msgspec.to_builtins(proofs),
        }
        consoles.show_json(facts, err=output == STREAM)
    elif not quiet:
        console = consoles.stderr() if output == STREAM else consoles.stdout()
        show_tags(counts, progress, model, console)
        if output is None:
            change = f"tagged; what it was is kept as {written.backup}" if written.backup else "as it was"
            consoles.say(console, Text(f"{file} is {change}."))
        elif output != STREAM:
            consoles.say(console, Text(f"Written to {output}."))
        if example and output != STREAM:
            there = output or file
            good = str(there.with_name(f"{there.stem}.good.jsonl"))
            words = ("filter", str(there), "--tag", "quality=good,excellent", "-o", good)
            ending.show(consoles.stderr(), example, *words)
