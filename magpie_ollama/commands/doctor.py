"""``magpie-ollama doctor``: is all in place, and what would a run take."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import click
from click.core import ParameterSource

from magpie_ollama.asking.settings import Settings
from magpie_ollama.commands import configuration
from magpie_ollama.commands.base import Command
from magpie_ollama.commands.options import debug_option, language_file_option, option, server_choice, server_options
from magpie_ollama.display import consoles, ending
from magpie_ollama.display.diagnosis import show_end, show_finding, under_way
from magpie_ollama.doctor.examination import examine
from magpie_ollama.doctor.findings import Diagnosis, Finding
from magpie_ollama.method import languages
from magpie_ollama.method.steering import default_steering
from magpie_ollama.run.interrupts import run
from magpie_ollama.run.progress import Progress


@click.command(cls=Command, examples=("doctor -l it", "doctor -m llama3.2 --json"))
@option("-l", "--language", default="en", help="Whose steerings are sampled: code, English or native name.")
@language_file_option
@server_options()
@option("--json", "as_json", is_flag=True, help="The findings as JSON on stdout.")
@debug_option
def command(**given: Any) -> int:
    """Check server, model and template, and what a run of 1,000 records would take.

    Every warning and error comes with what to do about it. Nothing is written.
    """
    language = languages.given(given["language"], given["language_file"])
    settings = Settings(server_choice(given), language, default_steering(language), 1)
    return run(_examine(settings, _sources(), given["as_json"]))


def _sources() -> str:
    """Where each setting comes from, of one who has defaults of their own; "" of others."""
    context = click.get_current_context()
    if not context.default_map:
        return ""
    told = []
    for param in context.command.params:
        name = param.name or ""
        where = {
            ParameterSource.COMMANDLINE: param.opts[0],
            ParameterSource.ENVIRONMENT: str(param.envvar),
            ParameterSource.DEFAULT_MAP: str(configuration.path()),
        }.get(context.get_parameter_source(name) or ParameterSource.DEFAULT)
        if name in configuration.KEYS and where:
            told.append(f"{name} {context.params[name]} ({where})")
    return ", ".join(told)


async def _examine(settings: Settings, sources: str, as_json: bool) -> int:
    out, err = consoles.stdout(), consoles.stderr()

    def tell(finding: Finding) -> None:
        if not as_json:
            show_finding(finding, out)

    diagnosis = Diagnosis(tell, Progress())
    if sources:
        diagnosis.ok("settings", sources)
    # A line that is drawn over again must be on the console that the findings go to, where both are one terminal.
    async with under_way(diagnosis.progress, out if out.is_terminal and not as_json else err):
        await examine(settings, diagnosis)
    if as_json:
        consoles.show_json(_values(diagnosis))
    else:
        show_end(diagnosis, out)
        if not diagnosis.exit_code:
            named = ["-m", settings.server.model] if settings.server.model else []
            ending.show(err, None, "generate", "-l", settings.language.code, *named, "-n", "100")
    return diagnosis.exit_code


def _values(diagnosis: Diagnosis) -> dict[str, Any]:
    return {
        "findings": [asdict(finding) for finding in diagnosis.findings],
        "tokens_per_second": _rounded(diagnosis.tokens_per_second, 1),
        "tokens_for_1000": _rounded(diagnosis.tokens_for_1000, 0),
        "seconds_for_1000": _rounded(diagnosis.seconds_for_1000, 0),
        "exit_code": diagnosis.exit_code,
    }


def _rounded(value: float | None, digits: int) -> float | None:
    return None if value is None else round(value, digits)
