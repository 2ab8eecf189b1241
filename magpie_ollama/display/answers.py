"""What became of a user's questions, and how the first one is asked (--dry-run)."""

from __future__ import annotations

from collections import Counter

from rich.console import Console
from rich.text import Text

from magpie_ollama.asking.drafts import Draft
from magpie_ollama.corpus.questions import REASONS
from magpie_ollama.display import summary
from magpie_ollama.display.characters import inline
from magpie_ollama.display.consoles import say, show_facts, show_json
from magpie_ollama.display.words import counted
from magpie_ollama.method.reasons import Reason
from magpie_ollama.run.answering import Answering, Job
from magpie_ollama.run.report import facts, unanswered

SHOWN = 20
"""So many rows are named on the screen; all are in --json, and in the file beside the corpus."""


def show(session: Answering, console: Console) -> None:
    summary.show(session, console)
    show_questions(session.job, console)


def show_questions(job: Job, console: Console) -> None:
    """How many are answered, and each that is not, with its reason."""
    asked = len(job.questions.asked)
    say(
        console,
        Text(f"{asked - len(unanswered(job))} of {counted(asked, 'question')} of {job.questions.path} answered."),
    )
    passed = Counter(one.reason for one in job.questions.passed_over)
    for reason, count in passed.items():
        rows = [one.row for one in job.questions.passed_over if one.reason == reason]
        told = ", ".join(map(str, rows[:SHOWN])) + (", ..." if count > SHOWN else "")
        say(console, Text(f"passed over  {count} {reason}: {REASONS[reason]} (row {told})"))
    words = {reason.value: reason.words for reason in Reason}
    for failed in list(job.failed.values())[:SHOWN]:
        why = f"{failed.reason}: {words.get(failed.reason, '')}"
        say(
            console, Text(f"unanswered   {inline(failed.source)} “{inline(failed.messages[-1]['content'])[:60]}” {why}")
        )
    if len(job.failed) > SHOWN:
        say(console, Text(f"unanswered   and {len(job.failed) - SHOWN} more"))


def show_plan(first: Draft, session: Answering, console: Console, as_json: bool) -> None:
    job = session.job
    values = {
        "server": session.model.server.kind,
        "address": session.model.server.address,
        "model": session.model.name,
        "languages": [language.code for language in job.languages()],
        "messages": first.before(),
        "left": len(job.left),
        **facts(job),
    }
    if as_json:
        show_json(values)
        return
    rows = {
        "server": f"{session.model.server.kind} at {session.model.server.address}",
        "model": f"{session.model.name}, context {session.model.context or 'unknown'}",
        "languages": ", ".join(values["languages"]),
        "first": "\n".join(f"{message['role']}: {inline(message['content'])}" for message in first.before()),
        "output": values["output"],
        "to do": f"{counted(len(job.left), 'question')} of {len(job.questions.asked)}",
    }
    show_facts(rows, console)
    show_questions(job, console)
    console.print("Nothing was asked.")
