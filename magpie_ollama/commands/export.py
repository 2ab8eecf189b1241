"""``magpie-ollama export``: the file that a trainer reads."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, cast

import click

from magpie_ollama.commands.base import Command
from magpie_ollama.commands.cleaning import data_argument
from magpie_ollama.commands.options import OutputPath, columns_option, debug_option, option, quiet_option

if TYPE_CHECKING:
    from magpie_ollama.corpus.names import Columns
    from magpie_ollama.corpus.reading import Row
    from magpie_ollama.curation import export
    from magpie_ollama.curation.preferences import Kind
    from magpie_ollama.curation.trainers import Trainer

FORMS = ("messages", "prompt-completion", "alpaca", "sharegpt", "parquet")


@click.command(cls=Command, examples=("export it.jsonl --for trl --split 0.9", "export it.jsonl --to parquet"))
@data_argument
@option(
    "--to",
    "form",
    type=click.Choice(FORMS),
    help="messages (the default) and prompt-completion as TRL reads them; parquet: messages in Parquet.",
)
@option(
    "--for",
    "trainer",
    type=click.Choice(["trl", "axolotl", "llama-factory", "unsloth"]),
    help="What this trainer reads, with the script or config beside it; see docs/training.md.",
)
@option(
    "--kind",
    type=click.Choice(["sft", "dpo", "kto", "prompt"]),
    default="sft",
    help="Of training, with --for: dpo and kto take the rows of `derive`, and preference data of other tools.",
)
@option(
    "-o",
    "--output",
    envvar="MAGPIE_OLLAMA_EXPORT_OUTPUT",
    type=OutputPath(),
    help="The new file; - for stdout. Default: FILE-FORM.jsonl, FILE.parquet.",
)
@option(
    "--split",
    default="",
    metavar="SHARES",
    help="Several files: 0.9 (train, and the rest is test), or train=0.8,validation=0.1,test=0.1.",
)
@option(
    "--seed",
    envvar="MAGPIE_OLLAMA_EXPORT_SEED",
    type=click.IntRange(min=0),
    default=0,
    help="Of the split: another one, other sides.",
)
@option(
    "--reasoning",
    type=click.Choice(["auto", "key", "field", "inline", "drop"]),
    default="auto",
    help="What was thought before an answer. key or field: reasoning_content, in every turn; inline: <think> in the "
    "text; auto: key where a record has some, inline where a form has none.",
)
@columns_option
@option("--force", is_flag=True, help="Replace files that are there.")
@option("--skip-bad", is_flag=True, help="Pass over lines that are no records.")
@quiet_option
@option("--json", "as_json", is_flag=True, help="The report as JSON on stdout (stderr with -o -).")
@debug_option
def command(
    file: Path,
    form: str | None,
    trainer: Trainer | None,
    kind: Kind,
    output: Path | None,
    split: str,
    seed: int,
    reasoning: str,
    columns: str,
    **given: Any,
) -> None:
    """Write the form that a trainer wants: messages, prompt/completion, Alpaca, ShareGPT, Parquet.

    FILE is a corpus, or any other tool's JSONL of instruction data; - is stdin. With --split, equal
    instructions are on the same side, whatever their order and number.
    """
    from magpie_ollama.corpus.forms import Wanted
    from magpie_ollama.corpus.names import parse_columns
    from magpie_ollama.corpus.reading import Rows, is_stream
    from magpie_ollama.corpus.rewriting import new_files
    from magpie_ollama.curation import configs, export
    from magpie_ollama.curation.preferences import LABEL, of_kind
    from magpie_ollama.display.progress import reading_rows
    from magpie_ollama.errors import UsageError

    Rows(file, wanted=Wanted())  # a folder gives no name for the output
    parts = export.parse_split(split)
    named = parse_columns(columns)
    wanted = _wanted(form, trainer, kind)
    if named is not None and kind in ("dpo", "kto"):
        raise UsageError(
            f"--columns names one answer, and --kind {kind} takes more than that",
            "call the columns prompt, chosen and rejected, or prompt, completion and label",
        )
    paths = _paths(file, output, wanted.name, list(parts))
    to_stdout = Path("-") in paths.values()
    quiet = given["quiet"] or to_stdout
    reasoning = "key" if reasoning == "field" else reasoning
    if reasoning == "key" and wanted.reasoning != "key":
        raise UsageError(f"{wanted.option} has no key for reasoning", "choose --reasoning inline, or drop")
    labels: Counter[bool] = Counter()
    example: list[tuple[str, str]] = []

    def companions() -> dict[Path, str]:
        if trainer is None or any(map(is_stream, paths.values())):
            return {}
        there = _info(next(iter(paths.values())).with_name(configs.INFO)) if trainer == "llama-factory" else {}
        return configs.beside(trainer, kind, paths, labels, there)

    own = [path for path in companions() if path.name != configs.INFO]
    shared = [path for path in companions() if path.name == configs.INFO]  # which has others' entries too

    def written(where: export.Reasoning | None) -> tuple[export.Counts, Rows]:
        keys = ("role", "content", export.KEY) if where == "key" else ("role", "content")
        with (
            reading_rows(file, skip_bad=given["skip_bad"], quiet=quiet, columns=named) as rows,
            new_files([*paths.values(), *own], force=given["force"]) as outputs,
            new_files(shared, force=True) as infos,
            ExitStack() as stack,
        ):
            put = {name: _putting(output, form, keys, stack) for name, output in zip(paths, outputs, strict=False)}
            labels.clear()

            def judged() -> Iterator[Row]:
                for row in of_kind(rows, kind):
                    labels[row.data.get(LABEL) is True] += not row.said.reason
                    if not example and not row.said.reason:
                        example.append((row.instruction, row.response))
                    yield row

            counts = export.export(judged(), wanted.form, put, export.Sides(parts, seed), where)
            _check(counts, paths, file)
            texts = companions()
            for output, path in zip([*outputs[len(paths) :], *infos], [*own, *shared], strict=True):
                output.write_bytes(texts[path].encode())
        return counts, rows

    where: export.Reasoning | None = None if reasoning == "auto" else cast(export.Reasoning, reasoning)
    if where is None and wanted.reasoning != "key":
        where = wanted.reasoning
    if where is None and not is_stream(file) and any(map(is_stream, paths.values())):
        where = _needed(file, named, kind)  # what is written there cannot be taken back
    try:
        counts, rows = written(where)
    except export.ReasoningFound:
        if is_stream(file):
            raise UsageError(
                "A record has reasoning, and one before it had none: the lines before it would lack a key",
                "give a file instead of a stream, or say --reasoning key, inline or drop",
            ) from None
        counts, rows = written(where := "key")
    facts = {
        "input": str(file),
        "form": wanted.name,
        "beside": [str(path) for path in (*own, *shared)],
        "files": [{"path": str(path), "split": name, "records": counts.written[name]} for name, path in paths.items()],
        "unanswered": counts.left_out["no_response"],
        "tools": counts.left_out["tool_call"],
        "left_out": dict(counts.left_out.most_common()),
        "no_text": dict(counts.details.most_common()),
        "cut": counts.cut,
        "reasoning": {"records": counts.reasoned, "where": where or ""},
        "bad": len(rows.bad),
    }
    _report(facts, given["as_json"], given["quiet"], to_stdout)
    if not quiet and not given["as_json"]:
        from magpie_ollama.display import consoles, ending

        read_by = trainer or ("trl" if form in (None, "messages", "prompt-completion") else "")
        names = list(map(str, paths.values()))
        kinds = () if kind == "sft" else ("--kind", kind)
        words = ["check", *names, "--for", read_by, *kinds] if read_by else ["view", names[0]]
        ending.show(consoles.stderr(), next(iter(example), None), *words)


class _Wanted(NamedTuple):
    """``name`` is part of the file's, ``reasoning`` where it goes unless somebody says otherwise."""

    name: str
    option: str
    form: export.Form
    reasoning: export.Reasoning


def _wanted(form: str | None, trainer: Trainer | None, kind: Kind) -> _Wanted:
    from magpie_ollama.curation import export
    from magpie_ollama.curation.trainers import SHAPES, form_of
    from magpie_ollama.errors import UsageError

    if trainer is None:
        if kind != "sft":
            raise UsageError(f"--kind {kind} is a trainer's", "name it: --for trl, axolotl, llama-factory or unsloth")
        name = form or "messages"
        where: export.Reasoning = "inline" if name in export.INLINE else "key"
        return _Wanted(name, f"--to {name}", export.FORMS["messages" if name == "parquet" else name], where)
    if form is not None:
        raise UsageError("--to and --for both say which form", "leave out one of the two")
    shape = SHAPES[trainer][kind][0]
    where = "drop" if kind == "prompt" else "key" if shape.has_reasoning else "inline"
    return _Wanted(f"{trainer}-{kind}", f"--for {trainer} --kind {kind}", form_of(shape, kind), where)


def _info(path: Path) -> dict[str, Any]:
    """What LLaMA-Factory's list of files has already."""
    from magpie_ollama.decoding import Misshapen, decode
    from magpie_ollama.errors import UsageError

    try:
        return decode(path.read_bytes(), dict[str, Any])
    except FileNotFoundError:
        return {}
    except (OSError, Misshapen) as error:
        raise UsageError(f"{path} cannot be added to: {error}", "mend it, or name a file in another folder") from None


def _paths(file: Path, output: Path | None, form: str, names: list[str]) -> dict[str, Path]:
    """Where each side of the split goes; the one side without a split is ""."""
    from magpie_ollama.corpus.reading import is_stream
    from magpie_ollama.corpus.rewriting import check_new, same_file
    from magpie_ollama.errors import UsageError

    if output is None:
        if is_stream(file):
            raise UsageError(
                "What comes from stdin or a pipe gives no name for the output", "name it with -o, or -o - for stdout"
            )
        output = file.with_suffix(".parquet") if form == "parquet" else file.with_name(f"{file.stem}-{form}.jsonl")
    if output == Path("-"):
        if names:
            raise UsageError("A split makes several files, and stdout is one", "name a file with -o")
        return {"": output}
    if names:
        check_new(output, force=True)  # a folder has no name to add the side's to
    paths = {name: output.with_name(f"{output.stem}-{name}{output.suffix}") for name in names} or {"": output}
    for path in paths.values():
        if same_file(path, file):
            raise UsageError(f"{path} is the input itself", "choose another name with -o")
    return paths


def _putting(output: Any, form: str | None, keys: Sequence[str], stack: ExitStack) -> Any:
    """The function that takes a line's values."""
    from magpie_ollama.corpus.lines import encode_quickly
    from magpie_ollama.curation.parquet import MessagesTable

    if form == "parquet":
        return stack.enter_context(MessagesTable(output, keys)).add
    return lambda values: output.write(encode_quickly(values))


def _check(counts: Any, paths: dict[str, Path], file: Path) -> None:
    """Raises before any file takes its name."""
    from magpie_ollama.errors import CorpusError, UsageError

    if not counts.written:
        response = "a response that needs no tool" if counts.left_out["tool_call"] else "a response"
        why = "; ".join(_told(counts.left_out, counts.details))
        judged = {"no_rejected": ("a rejected answer", "dpo"), "no_label": ("a label", "kto")}
        lacks, to = next((judged[one] for one in judged if counts.left_out[one]), (response, ""))
        make = f"make such rows of a corpus: magpie-ollama derive {file} --to {to}" if to else "choose another file"
        raise CorpusError(f"No record of {file} has {lacks}: there is nothing to train on. {why}", make)
    for name in paths:
        if not counts.written[name]:
            raise UsageError(
                f"No record falls on the side {name!r}: {counts.written.total()} records are few for this split",
                "give it a larger share, or choose another --seed",
            )


def _report(facts: dict[str, Any], as_json: bool, quiet: bool, to_stdout: bool) -> None:
    from rich.text import Text

    from magpie_ollama.display import consoles
    from magpie_ollama.display.words import counted

    if as_json:
        consoles.show_json(facts, err=to_stdout)
        return
    if quiet:
        return
    console = consoles.stderr() if to_stdout else consoles.stdout()
    for file in facts["files"]:
        consoles.say(
            console,
            Text(f"{counted(file['records'], 'record')} -> {file['path'] if file['path'] != '-' else 'stdout'}"),
        )
    for path in facts["beside"]:
        consoles.say(console, Text(f"and {path}"))
    notices = [f"Left out {told}." for told in _told(facts["left_out"], facts["no_text"])]
    if facts["cut"]:
        parts = "a system message, further turns, " if facts["form"] == "alpaca" else ""
        notices.append(
            f"{counted(facts['cut'], 'record')} lost a part that {facts['form']} has no place for: {parts}turns "
            "without an answer or with one that is labelled as bad, turns before the first question, turns from one on "
            "that is no text, or a tool's, or a column history or tools."
        )
    if reasoned := facts["reasoning"]["records"]:
        where = {"key": "is in reasoning_content", "inline": "is in the text, between <think> and </think>"}
        told = where.get(facts["reasoning"]["where"], "is left out")
        notices.append(f"The reasoning of {counted(reasoned, 'record')} {told}.")
    for notice in notices:
        consoles.show_notice(consoles.stderr(), notice)


def _told(left_out: Mapping[str, int], details: Mapping[str, int]) -> list[str]:
    """The records that were left out, by reason, in words."""
    from magpie_ollama.display.words import counted

    words = {
        "no_response": "without a response",
        "no_instruction": "with an empty instruction",
        "tool_call": "whose first answer needs a tool, which no form can hold",
        "labelled_bad": "labelled as an answer that is not wanted",
        "turns": "of several turns or with a system message, which this form has no place for",
        "no_rejected": "without a rejected answer",
        "no_label": "without a label that is true or false",
        "other_prompt": "whose chosen and rejected answers are to something else",
        "same": "whose chosen and rejected answers are the same",
        "other_speaker": "where somebody speaks before the answer who is neither user nor assistant",
        "no_text": f"that cannot be read: {', '.join(f'{what} ({count:,})' for what, count in details.items())}",
    }
    return [f"{counted(count, 'record')} {words[reason]}" for reason, count in left_out.items()]


def _needed(file: Path, columns: Columns | None, kind: Kind) -> export.Reasoning:
    """Whether a file has reasoning."""
    from magpie_ollama.corpus.forms import Wanted
    from magpie_ollama.corpus.reading import Rows
    from magpie_ollama.curation.preferences import of_kind

    rows = of_kind(Rows(file, skip_bad=True, columns=columns, wanted=Wanted()), kind)
    return "key" if any(turn.reasoning for row in rows for turn in row.said.turns) else "drop"
