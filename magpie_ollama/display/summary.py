"""What a run came to, at its end."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Console
from rich.text import Text

from magpie_ollama.corpus.rejections import unwanted_beside
from magpie_ollama.display import variety
from magpie_ollama.display.consoles import say, show_facts
from magpie_ollama.display.words import counted, duration, rate, share
from magpie_ollama.records import KEPT, UNWANTED
from magpie_ollama.run import report
from magpie_ollama.run.progress import Progress
from magpie_ollama.run.session import Session


def show(session: Session, console: Console) -> None:
    say(console, _headline(session.progress))
    show_facts(_rows(session), console)


def show_languages(done: Sequence[Mapping[str, Any]], console: Console) -> None:
    """A row for each language of a command that had several."""
    rows = {}
    for one in done:
        funnel = one["funnel"]
        kept = f"{one['kept']} of {one['target']} kept"
        rows[one["language"]] = f"{kept}, {share(funnel['kept'], funnel['attempts'])} of {funnel['attempts']} attempts"
    show_facts(rows, console)


def _headline(progress: Progress) -> Text:
    if not progress.attempts_here and progress.kept >= progress.target:
        return Text(
            f"Nothing to do: the run has its {counted(progress.kept, 'record')}. The same command adds more.", "bold"
        )
    pace = ""
    if progress.kept_here:
        told = f"{duration(progress.seconds)} ({rate(progress.records_per_minute())})"
        pace = f" in {told if progress.seconds >= 1 else 'less than a second'}"
    of = f"; the run has {progress.kept} of {progress.target}" if progress.kept != progress.kept_here else ""
    return Text.assemble((f"Kept {progress.kept_here} of {counted(progress.target, 'record')}{pace}{of}.", "bold"))


def _rows(session: Session) -> dict[str, str]:
    funnel = session.progress.funnel
    tried = funnel.attempts
    outcomes = [f"{funnel.kept} kept ({share(funnel.kept, tried)})", *(f"{n} {name}" for name, n in funnel.rejected())]
    rows = {"attempts": f"{tried}: {' · '.join(outcomes)}"}
    if (unwanted := funnel.outcomes[UNWANTED]) and session.corpus.path is not None:
        rows["unwanted"] = (
            f"{counted(unwanted, 'record')}, which the judge held back: {unwanted_beside(session.corpus.path)}"
        )
    if funnel.unknown_language:
        rows["language"] = f"{funnel.unknown_language} kept whose text is too short, or all code, to tell it"
    if funnel.unjudged_words:
        rows["words"] = f"{funnel.unjudged_words} kept whose words nothing could judge: too few, or without a list"
    if len(funnel.steerings) > 1:
        rows["steering"] = " · ".join(
            f"{steering} {share(n, funnel.steerings.total())}" for steering, n in funnel.steerings.most_common()
        )
    if session.progress.variety.instructions:
        rows["variety"] = variety.told(session.progress.variety)
    for name, topic in report.topics(session).items():
        kept, tried_on = topic["kept"], topic["attempts"]
        rows[name] = (
            f"{kept} kept ({share(kept, funnel.kept)}; asked for: {100 * topic['share']:.3g} %) of {tried_on} "
            f"({share(kept, tried_on)}), {100 * topic['distinct']:.0f} % distinct"
        )
    if funnel.kept:
        rows["tokens"] = (
            f"{funnel.all_tokens:,} generated, {funnel.all_tokens / funnel.kept:,.0f} a record, "
            f"{share(funnel.tokens[KEPT], funnel.all_tokens)} of them in kept records"
        )
    elif funnel.all_tokens:
        rows["tokens"] = f"{funnel.all_tokens:,} generated, none of them in kept records"
    if (found := session.progress.ability) is not None:
        rows["verdict"] = found.told(session.model.name, session.settings.language.english)
    if rates := session.progress.rates:
        measured = " · ".join(f"{level}: {found:.0f}" for level, found in rates.items())
        rows["in flight"] = f"{session.progress.level} (tokens/s with {measured})"
    version = f" ({session.model.version})" if session.model.version else ""
    rows["model"] = f"{session.model.name} on {session.model.server.kind}{version}"
    if session.responder is not session.model:
        rows["answers by"] = f"{session.responder.name} on {session.responder.server.kind}"
    if session.corpus.path is not None and session.corpus.records:
        rows["corpus"] = f"{session.corpus.path} ({counted(session.corpus.records, 'record')})"
    return rows
