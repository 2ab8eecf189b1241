"""What a run came to, at its end."""

from __future__ import annotations

from typing import Any

from rich.console import Console
from rich.text import Text

from magpie_ollama.display.words import duration, rate, share
from magpie_ollama.run.funnel import KEPT, Progress
from magpie_ollama.run.session import Session


def as_dict(session: Session) -> dict[str, Any]:
    """The summary as values: the run's funnel and cost, and where the records are."""
    run, progress = session.run, session.progress
    funnel = progress.funnel
    return {
        "run": run.id if run else "",
        "status": run.status if run else "",
        "output": str(session.corpus.path or "-"),
        "records": session.corpus.records,
        "kept": run.kept if run else 0,
        "target": progress.target,
        "language": session.settings.language.code,
        "steering": session.settings.steering,
        "model": session.model.name,
        "model_digest": session.model.digest,
        "server": session.server.kind,
        "server_version": session.version,
        "seconds": round(progress.seconds, 1),
        "kept_here": progress.kept_here,
        "attempts_here": progress.attempts_here,
        "tokens_per_kept": round(funnel.all_tokens / funnel.kept, 1) if funnel.kept else 0.0,
        "token_yield": round(funnel.tokens[KEPT] / funnel.all_tokens, 3) if funnel.all_tokens else 0.0,
        "funnel": funnel.to_dict(),
    }


def show(session: Session, console: Console) -> None:
    for line in _lines(session.progress, session):
        console.print(line, soft_wrap=True)


def _lines(progress: Progress, session: Session) -> list[Text]:
    funnel = progress.funnel
    tried = funnel.attempts - funnel.outcomes["dropped"]
    lines = [
        Text.assemble(
            (f"Kept {funnel.kept} of {tried} attempts", "bold"),
            f" ({share(funnel.kept, tried)}) in {duration(progress.seconds)}: {rate(progress.records_per_minute())}.",
        )
    ]
    if rejected := funnel.rejected():
        lines.append(Text("  rejected   " + " · ".join(f"{count} {name}" for name, count in rejected)))
    if funnel.unknown_language:
        lines.append(Text(f"  language   {funnel.unknown_language} kept that are too short, or all code, to tell it"))
    if len(funnel.ways) > 1:
        ways = " · ".join(f"{way} {share(count, funnel.attempts)}" for way, count in funnel.ways.most_common())
        lines.append(Text(f"  steering   {ways}"))
    if funnel.kept:
        lines.append(
            Text(
                f"  tokens     {funnel.all_tokens:,} generated, {funnel.all_tokens / funnel.kept:,.0f} a record, "
                f"{share(funnel.tokens[KEPT], funnel.all_tokens)} of them in kept records"
            )
        )
    lines.append(Text(f"  model      {session.model.name} on {session.server.kind} ({session.version})"))
    if session.corpus.path is not None:
        lines.append(Text(f"  corpus     {session.corpus.path} ({session.corpus.records:,} records)"))
    return lines
