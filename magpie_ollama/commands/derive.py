"""``magpie-ollama derive``: preference data out of what a run rejected."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click
from rich.text import Text

from magpie_ollama.commands.base import Command
from magpie_ollama.commands.cleaning import STREAM, file_argument
from magpie_ollama.commands.options import OutputPath, debug_option, option, quiet_option
from magpie_ollama.corpus import rejections
from magpie_ollama.corpus.appender import cause_and_remedy
from magpie_ollama.corpus.lines import encode_quickly
from magpie_ollama.corpus.reading import is_stream
from magpie_ollama.corpus.rewriting import new_file, same_file
from magpie_ollama.curation.deriving import Deriving, parse_reasons
from magpie_ollama.curation.export import ReasoningFound
from magpie_ollama.display import consoles, removals
from magpie_ollama.display.progress import reading_rows
from magpie_ollama.display.words import counted
from magpie_ollama.errors import CorpusError, UsageError
from magpie_ollama.method.reasons import EXPLANATIONS


@click.command(cls=Command, examples=("derive it.jsonl --to dpo", "derive it.jsonl --to kto -o kto.jsonl"))
@file_argument
@option(
    "--to",
    envvar="MAGPIE_OLLAMA_DERIVE_TO",
    type=click.Choice(["kto", "dpo", "pairs"]),
    required=True,
    help="kto: kept responses labelled true, rejected ones false; dpo: chosen and rejected of one instruction; pairs: "
    "the same, those in a wrong language or of invented words first.",
)
@option(
    "-o",
    "--output",
    envvar="MAGPIE_OLLAMA_DERIVE_OUTPUT",
    type=OutputPath(),
    help="The new file; - for stdout. Default: FILE-TO.jsonl.",
)
@option(
    "--reason",
    "reasons",
    multiple=True,
    help="Rejected for these reasons: wrong_language,echo. Repeatable. Default: any.",
)
@option("--force", is_flag=True, help="Replace the file of -o.")
@option("--skip-bad", is_flag=True, help="Pass over lines that are no records.")
@option("--json", "as_json", is_flag=True, help="The report as JSON on stdout (stderr with -o -).")
@quiet_option
@debug_option
def command(file: Path, to: str, output: Path | None, reasons: tuple[str, ...], **given: Any) -> None:
    """Make preference data of a corpus and of the responses that its runs rejected, without a judge.

    FILE is a corpus that `generate` or `respond` made: they keep what they reject in the folder beside it.
    """
    if is_stream(file):
        raise UsageError("What was rejected lies beside a corpus, and nothing lies beside a stream", "name a file")
    output = output or file.with_name(f"{file.stem}-{to}.jsonl")
    if same_file(output, file):
        raise UsageError(f"{output} is the input itself", "choose another name with -o")
    wanted = parse_reasons(name for given_ in reasons for name in given_.split(",") if name.strip())
    try:
        made = _written(file, to, output, wanted, None, given)
    except ReasoningFound:
        made = _written(file, to, output, wanted, True, given)
    _report(file, to, output, made, given)


def _written(
    file: Path, to: str, output: Path, reasons: frozenset[str], reasoning: bool | None, given: dict[str, Any]
) -> Deriving:
    quiet = given["quiet"] or output == STREAM
    with reading_rows(file, skip_bad=given["skip_bad"], quiet=quiet) as rows:
        made = Deriving(_rejected(file), reasons, reasoning)
        _check_found(made, file)
        if output == STREAM and reasoning is None:  # what is written there cannot be taken back
            for _ in getattr(made, to)(rows):
                pass
            made = Deriving(_rejected(file), reasons)
        with new_file(output, force=given["force"]) as target:
            for row in getattr(made, to)(rows):
                target.write(encode_quickly(row))
            if to != "kto" and not made.made:
                raise CorpusError(
                    f"None of the {counted(made.found.total(), 'rejected response')} has a kept one beside it",
                    f"--to kto needs none; for pairs, add --retries-response 2 to what made {file}, and run that again",
                )
    return made


def _rejected(file: Path) -> list[rejections.Rejected]:
    path = rejections.path_beside(file)
    try:
        return list(rejections.read(file))
    except FileNotFoundError:
        raise _none(f"No rejected responses lie beside {file}: {path} is not there", file) from None
    except OSError as error:
        raise CorpusError(f"{path} cannot be read: {cause_and_remedy(error)[0]}", "check its rights") from error


def _check_found(made: Deriving, file: Path) -> None:
    if made.found:
        return
    if made.others:
        there = ", ".join(f"{name} ({count:,})" for name, count in made.others.most_common())
        raise UsageError(f"Nothing was rejected for --reason; there is {there}", "name one of these, or leave it out")
    raise _none(f"No response is in {rejections.path_beside(file)}", file)


def _none(cause: str, file: Path) -> CorpusError:
    return CorpusError(cause, f"the command that made {file} keeps what it rejects from now on; run it once more")


def _report(file: Path, to: str, output: Path, made: Deriving, given: dict[str, Any]) -> None:
    total, kept = made.made.total(), made.made[""]
    by_reason = {reason: count for reason, count in made.made.most_common() if reason}
    if given["as_json"]:
        facts = {"input": str(file), "output": str(output), "to": to, "rows": total, "true": kept}
        facts |= {"by_reason": by_reason, "rejected": made.found.total(), "doubled": made.doubled}
        facts |= {"unanswered": made.unanswered, "other_reasons": dict(made.others.most_common())}
        consoles.show_json(facts, err=output == STREAM)
        return
    if given["quiet"]:
        return
    console = consoles.stderr() if output == STREAM else consoles.stdout()
    what = f"{counted(total, 'row')}, {kept:,} labelled true and {total - kept:,} false"
    told = what if to == "kto" else f"{counted(total, 'pair')} of a kept and a rejected response"
    consoles.say(console, Text(f"{told} -> {output if output != STREAM else 'stdout'}", "bold"))
    removals.show_reasons(by_reason, EXPLANATIONS, console)
    alone = made.found.total() - made.doubled - total
    if to != "kto" and alone > 0:
        told = f"{counted(alone, 'rejected response')} without a kept one beside it: --to kto has them"
        consoles.show_notice(consoles.stderr(), told)
    if made.unanswered:
        told = f"Left out {counted(made.unanswered, 'record')} without an answer that is wanted"
        consoles.show_notice(consoles.stderr(), told)
