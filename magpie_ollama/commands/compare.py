"""``magpie-ollama compare``: which steering works for which language, measured on one's own models."""

from __future__ import annotations

import asyncio
from collections.abc import Collection
from dataclasses import asdict, replace
from datetime import datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import click
from click.core import ParameterSource
from rich.console import Console, Group, RenderableType
from rich.text import Text

from magpie_ollama.api.comparing import SHARED, asked_of, listed, name_of, settings_for
from magpie_ollama.api.keywords import STEERINGS
from magpie_ollama.asking.opening import check_models, opened
from magpie_ollama.asking.said import BY_NAME
from magpie_ollama.asking.settings import HIDDEN, Settings, without_secrets
from magpie_ollama.commands.base import Command
from magpie_ollama.commands.options import (
    in_flight,
    language_file_option,
    option,
    output_options,
    parse_options,
    server_choice,
    server_options,
    setting_options,
)
from magpie_ollama.comparison.experiment import Asked, Experiment, Results, Tried, fingerprint
from magpie_ollama.comparison.findings import CellFigures, abilities, findings
from magpie_ollama.display import consoles, live
from magpie_ollama.display.characters import inline
from magpie_ollama.display.findings import LEGEND, next_commands, so_far, table
from magpie_ollama.display.words import counted, duration
from magpie_ollama.errors import INTERRUPTED, MagpieError, UsageError
from magpie_ollama.method.languages import Language
from magpie_ollama.method.screening import prepare
from magpie_ollama.records import MAX_SEED
from magpie_ollama.run.interrupts import on_interrupt, run
from magpie_ollama.run.prepared import Prepared
from magpie_ollama.run.progress import Progress
from magpie_ollama.servers import registry
from magpie_ollama.web.comparing import page

REFRESH_SECONDS = 0.5
"""Of the table, whose intervals cost up to 0.1 s."""


@click.command(
    cls=Command, examples=("compare -l it,nl -s system,opener -n 50", "compare -m llama3.2,qwen2.5:3b -l it")
)
@option(
    "-l",
    "--language",
    "spoken",
    default="",
    envvar="MAGPIE_OLLAMA_COMPARE_LANGUAGE",
    help="Languages, separated by commas: it,nl,ja.",
)
@language_file_option
@option(
    "-s",
    "--steering",
    default=STEERINGS,
    envvar="MAGPIE_OLLAMA_COMPARE_STEERING",
    help="Steerings, separated by commas; auto is one too.",
)
@option(
    "-n",
    "--count",
    type=click.IntRange(min=2),
    default=50,
    envvar="MAGPIE_OLLAMA_COMPARE_COUNT",
    help="Attempts in each cell.",
)
@option(
    "-o",
    "--output",
    default="compare",
    envvar="MAGPIE_OLLAMA_COMPARE_OUTPUT",
    help="Where: NAME.jsonl (every instruction) and NAME.html (the page).",
)
@server_options()
@option("--with-responses", is_flag=True, help="Ask for the responses of useful instructions too.")
@setting_options(*SHARED)
@option(
    "--temperature",
    default="1.0",
    envvar="MAGPIE_OLLAMA_COMPARE_TEMPERATURE",
    help="Of instructions; several, separated by commas, are cells of their own, and auto's choice: 0.5,0.7,1.0.",
)
@option("--seed", type=click.IntRange(0, MAX_SEED), default=0, help="Of each cell's first attempt.")
@option("--parallel", type=in_flight, metavar="auto|N", default="auto", help="Attempts in flight; auto is 4 here.")
@output_options
def command(**given: Any) -> int:
    """Measure which steering works for which language: as many attempts for each model, language and steering.

    -m may name several models, separated by commas. The same command again continues. What it finds
    is used by `generate --steering auto`.
    """
    asked, own = asked_of(given["spoken"], given["count"], given)
    settings = settings_for(server_choice(given), asked, given)
    context = click.get_current_context()
    if context.get_parameter_source("temperature") is not ParameterSource.DEFAULT:
        settings = replace(settings, temperatures=tuple(asked.temperatures))
    source = context.get_parameter_source("output")
    name = given["output"] = name_of(given["output"], chosen=source is not ParameterSource.DEFAULT)
    if Path(f"{name}.html").exists() and not Path(f"{name}.jsonl").exists():
        raise UsageError(f"{name}.html is there already, and not from compare", "choose another -o, or remove it")
    return run(_compare(settings, asked, own, listed(given["model"], "-m") or [""], given))


async def _compare(
    settings: Settings, asked: Asked, own: Language | None, models: list[str], given: dict[str, Any]
) -> int:
    console = consoles.stderr()
    name = given["output"]
    results = Results(Path(f"{name}.jsonl"), fingerprint(settings, asked.with_responses, own))
    report = Path(f"{name}.html")
    interrupted, failed, server = False, None, ""
    asked_as: dict[str, str] = {}
    task = asyncio.current_task()
    assert task is not None

    def stop() -> None:
        nonlocal interrupted
        interrupted = True
        task.cancel()

    try:
        with on_interrupt(stop):
            await check_models(settings.server, models)
            for model in models:
                chosen = replace(settings, server=replace(settings.server, model=model))
                server = await _one_model(chosen, asked, results, asked_as, console, given)
    except asyncio.CancelledError:
        if not interrupted:
            raise
    except MagpieError as error:
        failed = error
    finally:
        results.close()
    found = _of_these(results, asked_as)
    if failed is not None and not found:
        raise failed
    named = {language.code: ["-l", language.code] for language in asked.languages}
    if own is not None:
        named[own.code] = ["--language-file", str(given["language_file"])]
    told = abilities(found, results.rows)
    carried = _carried(given, server)
    commands = [] if interrupted or failed else next_commands(found, named, asked_as, carried, told)
    names = ", ".join(language.english for language in asked.languages)
    if found:
        facts = {"server": server, "date": f"{datetime.now():%Y-%m-%d %H:%M}", "version": version("magpie-ollama")}
        _write(report, page(found, results.rows, told, f"Steering in {names}", commands, facts))
    out = consoles.stdout()
    if given["as_json"]:
        verdicts = [{"model": model, "language": code, **asdict(verdict)} for (model, code), verdict in told.items()]
        cells = [finding.to_dict() for finding in found]
        consoles.show_json({"cells": cells, "verdicts": verdicts, "next": commands})
    elif found:
        out.print(table(found, out.width, told))
        consoles.say(out, Text(LEGEND, style="dim"))
        consoles.say(out, Text(f"Every instruction: {results.path}. The page: {report}"))
    if failed is not None:
        raise failed
    if interrupted:
        consoles.say(console, Text("Stopped. The same command continues where it stopped."))
        return INTERRUPTED
    for line in [] if given["as_json"] else commands:
        out.print(Text(line), soft_wrap=True)  # a command to copy stays in one piece
    return 0


async def _one_model(
    settings: Settings,
    asked: Asked,
    results: Results,
    asked_as: dict[str, str],
    console: Console,
    given: dict[str, Any],
) -> str:
    """Runs the cells of one model, whose ``-m`` it adds to ``asked_as``; returns the kind of its server."""
    progress = Progress(target=asked.attempts)
    mode = live.mode(console, quiet=given["quiet"], plain=given["no_progress"])
    title = f"Comparing {settings.server.model}" if settings.server.model else ""
    async with (
        live.Display(progress, title, console, mode) as steps,
        opened(
            settings.server,
            settings.parallel,
            progress,
            spoken=asked.languages,
            meanwhile=lambda: prepare(settings.language),
        ) as model,
    ):
        asked_as[model.name] = settings.server.model
        experiment = Experiment(Prepared(settings, model, progress), asked, results)
        progress.enter("Measuring the server's speed")
        expected = experiment.seconds_expected(await experiment.tokens_per_second())
        await steps.close()
        if mode != "quiet":
            cells = f"{counted(len(experiment.cells()), 'cell')} of {asked.attempts} attempts"
            consoles.say(console, Text(f"{model.name}: {cells}, about {duration(expected)} left"))

        def rows() -> list[Tried]:
            return [row for cell in experiment.cells() for row in results.of(cell)[: asked.attempts]]

        total, before = len(experiment.cells()) * asked.attempts, len(rows())

        def line() -> str:
            return so_far(rows(), total, before, progress)

        def picture(width: int) -> RenderableType:
            newest = Text(inline(progress.newest), style="italic green", overflow="ellipsis", no_wrap=True)
            return Group(table(_of_these(results, asked_as), width), Text(line()), newest)

        progress.enter("")
        progress.begin()
        async with live.Showing(progress, console, mode, picture, line, seconds=REFRESH_SECONDS, told=steps.told):
            await experiment.run()
        return model.server.kind


def _of_these(results: Results, models: Collection[str]) -> list[CellFigures]:
    """The findings of some models only: the file may have others' rows, of other servers and files of weights."""
    return [finding for finding in findings(results.rows) if finding.cell.model in models]


def _carried(given: dict[str, Any], server: str) -> list[str]:
    """What the next command must say again, to ask the same model in the same way."""
    words = registry.option(server)
    for name, default in (
        ("host", ""),
        ("model_path", None),
        ("template", ""),
        ("num_ctx", None),
        *((name, BY_NAME[name].default) for name in SHARED),
    ):
        if given[name] != default:
            words += ["--" + name.replace("_", "-"), str(given[name])]
    for pair in given["options"]:
        values = parse_options((pair,), None)
        words += ["--option", pair if without_secrets(values) == values else f"{next(iter(values))}={HIDDEN}"]
    return words


def _write(path: Path, text: str) -> None:
    try:
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise MagpieError(f"{path} cannot be written: {error.strerror}.", "choose another place with -o") from error
