"""The options of a judge beside a run: another model of the same server, or the run's own."""

from __future__ import annotations

from magpie_ollama.commands.options import option, together

unproven_option = option("--unproven", is_flag=True, help="Take the judge's word without the proof.")
judge_options = together(
    option(
        "--judge", default="", metavar="MODEL", help="Another model of the same server that judges. Default: the same."
    ),
    unproven_option,
)
