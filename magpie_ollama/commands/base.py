"""The class of all commands: their help in groups and with examples, and the user's own defaults."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import click
from click.core import ParameterSource

from magpie_ollama.commands import configuration
from magpie_ollama.errors import MagpieError

GROUPS = {
    "Server and model": "model server host model_path pull num_ctx keep_alive options template response_model "
    "response_server response_host",
    "What is asked for": "steering topics system difficulty exemplars only_instructions language_file bootstrap turns "
    "end_with include_system one_line examples systems document no_passage think openers",
    "Sampling": "temperature later_temperature top_p top_k min_p repeat_penalty max_instruction_tokens "
    "response_temperature response_top_p response_top_k response_min_p response_repeat_penalty max_response_tokens "
    "seed",
    "Screening": "min_words max_words min_confidence keep_truncated retries_response keep_rejected tries retry",
    "The run": "parallel max_attempts sync preview dry_run",
    "Output": "in_place force skip_bad quiet no_progress as_json debug help",
}
"""Titles, each with the options below it, by the names of their values: one of a name means the same in all commands.
Any other stands first, under "Options"."""

FEW = 12
"""So many options are read at a glance, and are not grouped."""


EVERYWHERE = "Defaults and environment variables: magpie-ollama config"


class Command(click.Command):
    """``examples`` are command lines without the program's name, for the end of the help."""

    def __init__(self, *given: Any, examples: Sequence[str] = (), **settings: Any) -> None:
        super().__init__(*given, **settings)
        self.examples = examples

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        try:
            ctx.default_map = configuration.defaults(self.params)
        except MagpieError:
            if not ctx.resilient_parsing and not {"-h", "--help"} & set(args):
                raise
        rest = super().parse_args(ctx, args)
        configuration.keep_together(ctx)
        return rest

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except MagpieError as error:
            taken = {name: ctx.get_parameter_source(name) for name in ctx.default_map or ()}
            given = {name for name, source in taken.items() if source is ParameterSource.DEFAULT_MAP}
            configuration.blame(error, {name: str(ctx.params[name]) for name in given})
            raise

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        titles = {name: title for title, names in GROUPS.items() for name in names.split()}
        groups: dict[str, list[tuple[str, str]]] = {title: [] for title in ("Options", *GROUPS)}
        options = [param for param in self.get_params(ctx) if isinstance(param, click.Option)]
        for option in options:
            record = option.get_help_record(ctx)
            if record is not None:
                groups[titles.get(option.name or "", "Options") if len(options) > FEW else "Options"].append(record)
        for title, records in groups.items():
            if records:
                with formatter.section(title):
                    formatter.write_dl(records)

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        program = ctx.find_root().command_path
        with formatter.section("Examples"):
            for line in self.examples:
                formatter.write(f"{'':{formatter.current_indent}}{program} {line}\n")
        formatter.write_paragraph()
        formatter.write_text(EVERYWHERE)


class Group(click.Group):
    command_class = Command
