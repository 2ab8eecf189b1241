"""``magpie-ollama generate``: the main job."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import click

from magpie_ollama.asking.settings import INSTRUCTION, RESPONSE, Settings
from magpie_ollama.commands.options import (
    FloatRange,
    option,
    output_options,
    parallel_option,
    server_choice,
    server_options,
)
from magpie_ollama.corpus.corpus import Corpus, StdoutCorpus
from magpie_ollama.corpus.runs import MAX_SEED
from magpie_ollama.display import consoles, live, summary
from magpie_ollama.display.plan import show_plan
from magpie_ollama.display.words import counted
from magpie_ollama.errors import INTERRUPTED, UsageError
from magpie_ollama.method import languages
from magpie_ollama.method.screening import Rules
from magpie_ollama.method.steering import EXEMPLARS, default_steering, parse_steering
from magpie_ollama.run.interrupts import on_interrupt, run
from magpie_ollama.run.progress import Progress
from magpie_ollama.run.session import open_session
from magpie_ollama.servers.base import Sampling


@click.command()
@option("-l", "--language", default="en", help="Code, English or native name; see `magpie-ollama languages`.")
@option("-n", "--count", type=click.IntRange(min=1), default=20, help="Records to make.")
@option("-o", "--output", default="", help="The corpus, a JSONL file; - for stdout. Default: <language>.jsonl.")
@server_options("Ollama, else the embedded engine for a new corpus")
@option(
    "-s",
    "--steering",
    default="",
    help="none, auto, or parts joined by +: prefix, system, exemplar, opener. Default: none in English, else auto.",
)
@option("--system", default="", help="A system message of your own, in front whatever the steering.")
@option("--exemplars", type=click.IntRange(1, 8), default=EXEMPLARS, help="Exchanges that an exemplar steering shows.")
@option("--bootstrap", is_flag=True, help="Use accepted records of the run as exemplars too.")
@option("--language-file", type=click.Path(path_type=Path), help="A language of your own, instead of -l.")
@option("--temperature", type=FloatRange(0, 5), default=INSTRUCTION.temperature, help="Of instructions.")
@option("--top-p", type=FloatRange(0, 1), default=INSTRUCTION.top_p, help="Of instructions.")
@option("--top-k", type=click.IntRange(min=0), default=INSTRUCTION.top_k, help="Of instructions; 0 is off.")
@option("--min-p", type=FloatRange(0, 1), default=INSTRUCTION.min_p, help="Of instructions; 0 is off.")
@option("--repeat-penalty", type=FloatRange(0, 5), default=INSTRUCTION.repeat_penalty, help="Of instructions.")
@option(
    "--max-instruction-tokens",
    type=click.IntRange(min=1),
    default=INSTRUCTION.max_tokens,
    help="An instruction that reaches them is rejected as truncated.",
)
@option("--response-temperature", type=FloatRange(0, 5), default=RESPONSE.temperature, help="Of responses.")
@option("--response-top-p", type=FloatRange(0, 1), default=RESPONSE.top_p, help="Of responses.")
@option("--response-top-k", type=click.IntRange(min=0), default=RESPONSE.top_k, help="Of responses.")
@option("--response-min-p", type=FloatRange(0, 1), default=RESPONSE.min_p, help="Of responses.")
@option("--response-repeat-penalty", type=FloatRange(0, 5), default=RESPONSE.repeat_penalty, help="Of responses.")
@option(
    "--max-response-tokens",
    type=click.IntRange(min=1),
    default=RESPONSE.max_tokens,
    help="Of a response, its reasoning included.",
)
@option("--think", is_flag=True, help="Let the model reason before its response; kept in `reasoning`.")
@option("--min-words", type=click.IntRange(min=1), default=3, help="Of an instruction.")
@option("--max-words", type=click.IntRange(min=1), default=300, help="Of an instruction.")
@option("--min-confidence", type=FloatRange(0, 1), default=0.0, help="Of an instruction; see docs/steering.md.")
@option("--keep-truncated", is_flag=True, help="Keep responses that the token limit cut.")
@option("--seed", type=click.IntRange(0, MAX_SEED), help="Of the first attempt. Default: drawn.")
@parallel_option
@option(
    "--max-attempts",
    type=click.IntRange(min=1),
    help="Stop after so many in one go. Default: 10 a record, at least 100.",
)
@option(
    "--sync",
    type=click.Choice(["always", "second", "never"]),
    default="second",
    help="How often records are forced to the disk.",
)
@option("--dry-run", is_flag=True, help="Show the prompt and what is left to do; generate nothing.")
@output_options
def command(**given: Any) -> int:
    """Make instruction data: the model writes users' instructions, then answers them.

    Records are appended to a JSONL corpus. The same command again continues an unfinished run, or adds
    as many records once more.
    """
    shortest, longest = given["min_words"], given["max_words"]
    if shortest > longest:
        raise UsageError(
            f"--min-words {shortest} is more than --max-words {longest}: no instruction can pass.",
            f"give --max-words {shortest} or more, or a smaller --min-words",
        )
    settings = _settings(given)
    output = given["output"] or f"{settings.language.code}.jsonl"
    if output == "-" and given["as_json"]:
        raise UsageError("--json and -o - both want stdout.", "leave out one of the two")
    return run(_generate(settings, output, given))


async def _generate(settings: Settings, output: str, given: dict[str, Any]) -> int:
    console = consoles.stderr()
    shared = output == "-" and consoles.stdout().is_terminal  # records would be written over the display
    mode = live.mode(console, quiet=given["quiet"], plain=given["no_progress"] or shared)
    progress = Progress(target=settings.target)
    title = f"{settings.language.english} · {settings.steering} · {output}"
    interrupted = False
    with StdoutCorpus() if output == "-" else Corpus.open(Path(output), sync=given["sync"]) as corpus:
        async with (
            live.Display(progress, title, console, mode) as display,
            open_session(settings, corpus, progress) as session,
        ):
            if given["dry_run"]:
                plan = await session.plan()
                await display.close()
                show_plan(plan, session, consoles.stdout(), given["as_json"])
                return 0

            def stop() -> str:
                nonlocal interrupted
                interrupted = True
                waiting = session.stop()
                return f"Stopping: {counted(waiting, 'response')} in flight to finish, Ctrl-C again leaves now."

            try:
                with on_interrupt(lambda: progress.notices.append(stop())):
                    await session.generate()
            except asyncio.CancelledError:
                if not interrupted:
                    raise
            finally:
                await display.close()
                if session.run is not None and mode != "quiet":
                    summary.show(session, console)
                if given["as_json"] and session.run is not None:
                    consoles.show_json(summary.as_dict(session))
    if not interrupted or (session.run is not None and session.run.kept >= session.run.target):
        return 0
    if mode != "quiet" and corpus.path is not None:
        console.print("Stopped. The same command continues where it stopped.")
    return INTERRUPTED


def _settings(given: dict[str, Any]) -> Settings:
    if given["language_file"] is not None:
        language = languages.load_file(given["language_file"])
        languages.check_texts(language, given["language_file"])
    else:
        language = languages.find(given["language"])
    return Settings(
        server=server_choice(given),
        language=language,
        steering=parse_steering(given["steering"] or default_steering(language)),
        target=given["count"],
        system=given["system"],
        exemplars=given["exemplars"],
        bootstrap=given["bootstrap"],
        instruction=Sampling(
            temperature=given["temperature"],
            top_p=given["top_p"],
            top_k=given["top_k"],
            min_p=given["min_p"],
            repeat_penalty=given["repeat_penalty"],
            max_tokens=given["max_instruction_tokens"],
        ),
        response=Sampling(
            temperature=given["response_temperature"],
            top_p=given["response_top_p"],
            top_k=given["response_top_k"],
            min_p=given["response_min_p"],
            repeat_penalty=given["response_repeat_penalty"],
            max_tokens=given["max_response_tokens"],
        ),
        rules=Rules(
            language,
            min_words=given["min_words"],
            max_words=given["max_words"],
            keep_truncated=given["keep_truncated"],
            min_confidence=given["min_confidence"],
        ),
        think=given["think"],
        seed=given["seed"],
        parallel=given["parallel"],
        max_attempts=given["max_attempts"] or 0,
    )
