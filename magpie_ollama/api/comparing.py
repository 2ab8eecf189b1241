"""Which steering works for which language, from Python."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from shlex import quote
from typing import Any, Unpack

from anyio.from_thread import start_blocking_portal

from magpie_ollama import plugins
from magpie_ollama.api.keywords import Comparing, choice_of, explicit
from magpie_ollama.api.making import warn
from magpie_ollama.asking.opening import check_models, opened
from magpie_ollama.asking.said import BY_NAME
from magpie_ollama.asking.settings import Settings, settings_of
from magpie_ollama.comparison.experiment import Asked, Experiment, Results, fingerprint
from magpie_ollama.comparison.findings import CellFigures, findings
from magpie_ollama.errors import UsageError
from magpie_ollama.method import languages
from magpie_ollama.method.languages import Language
from magpie_ollama.method.screening import prepare
from magpie_ollama.method.steering import parse_steering
from magpie_ollama.run.parallel import USUAL
from magpie_ollama.run.prepared import Prepared
from magpie_ollama.run.progress import Progress
from magpie_ollama.servers.base import ServerChoice

SHARED = ("system", "exemplars", "max_instruction_tokens")
"""The settings that all cells have in common, and the ``generate`` commands that come of them."""


@explicit(Comparing)
async def acompare(language: str = "", n: int = 50, **given: Unpack[Comparing]) -> list[CellFigures]:
    """Makes ``n`` attempts (2 or more) in each cell: a model, a language, a steering and a temperature, of which
    ``model``, ``language``, ``steering`` and ``temperature`` name several, separated by commas. Returns the figures of
    each cell: shares are 0 to 1, ``useful_per_1000_tokens`` counts instructions, ``seconds`` are those of an attempt;
    ``best`` marks the best cell of a model in a language.

    Each attempt is written to ``output`` as it comes: cancelled, or interrupted by Ctrl-C, the same call goes on, and
    so does the command, which makes a page of it.

    Raises ``errors.MagpieError``.

    >>> for cell in compare("it", 4, steering="system", model="m:1b", parallel=1):
    ...     print(cell.cell.steering, cell.attempts, cell.best)
    system 4 True
    """
    if n < 2:
        raise UsageError(f"n must be 2 or more, not {n}.", "mend it")
    asked, own = asked_of(language, n, {**given, "temperature": given["temperature"] or "1.0"})
    settings = settings_for(choice_of(given), asked, {**given, "seed": given["seed"] or 0})
    if given["temperature"]:
        settings = replace(settings, temperatures=tuple(asked.temperatures))
    models = listed(given["model"], "-m") or [""]
    path = Path(f"{name_of(given['output'], chosen=True)}.jsonl")
    results = Results(path, fingerprint(settings, asked.with_responses, own))
    names = set()
    try:
        await check_models(settings.server, models)
        for one in models:
            chosen = replace(settings, server=replace(settings.server, model=one))
            progress = Progress(target=asked.attempts)
            opening = opened(
                chosen.server,
                chosen.parallel,
                progress,
                spoken=asked.languages,
                meanwhile=partial(prepare, chosen.language),
            )
            async with opening as model:
                names.add(model.name)
                await Experiment(Prepared(chosen, model, progress), asked, results).run()
            warn([*progress.notices, *plugins.take_notices()], 0)
    finally:
        results.close()
    return [found for found in findings(results.rows) if found.cell.model in names]


@explicit(Comparing)
def compare(language: str = "", n: int = 50, **given: Unpack[Comparing]) -> list[CellFigures]:
    with start_blocking_portal() as portal:
        return portal.call(partial(acompare, language, n, **given))


compare.__doc__ = acompare.__doc__


def asked_of(spoken: str, attempts: int, given: Mapping[str, Any]) -> tuple[Asked, Language | None]:
    """What the experiment is asked to do, and the language of the user's own. Raises UsageError."""
    own = languages.given("", Path(given["language_file"])) if given["language_file"] is not None else None
    names = [] if own and not spoken else listed(spoken, "-l")
    found = [*map(languages.find, names), *([own] if own else [])]
    asked = Asked(
        list({language.code: language for language in found}.values()),
        list(dict.fromkeys(parse_steering(steering) for steering in listed(given["steering"], "-s"))),
        list(dict.fromkeys(_temperature(one) for one in listed(given["temperature"], "--temperature"))),
        attempts,
        given["with_responses"],
    )
    return asked, own


def settings_for(choice: ServerChoice, asked: Asked, given: Mapping[str, Any]) -> Settings:
    """What all cells share, for no model yet. Raises UsageError."""
    said = {name: given[name] for name in (*SHARED, "seed")}
    server, parallel = replace(choice, model=""), given["parallel"] or USUAL
    return settings_of(server, asked.languages[0], asked.steerings[0], asked.attempts, said, parallel)


def name_of(output: str, chosen: bool) -> str:
    """What both files are called, without their ends. One that was ``chosen`` may be meant for the folder it names."""
    name = output.removesuffix(".jsonl").removesuffix(".html")
    if not name or output == "-":
        instead = "give both files a name, for example -o compare; --json writes the figures to stdout"
        raise UsageError(f"-o {quote(output)} names no file", instead)
    meant = chosen and name == output and Path(name).is_dir()
    if meant or name.endswith(("/", os.sep)) or Path(name).name in ("", ".."):
        raise UsageError(f"{name} is a folder", f"name a file in it: -o {quote((Path(name) / 'compare').as_posix())}")
    return name


def _temperature(text: str) -> float:
    try:
        return float(BY_NAME["temperature"].check(float(text)))
    except (ValueError, UsageError) as error:
        raise UsageError(
            f"--temperature {text!r:.20} is no number from 0 to 5.", "give for example --temperature 0.5,0.7,1.0"
        ) from error


def listed(text: str, name: str) -> list[str]:
    values = [value.strip() for value in text.split(",") if value.strip()]
    if not values and name != "-m":
        raise UsageError(f"{name} is empty.", f"give {name} values separated by commas")
    return values
