"""What a run came to, as values: for --json, and for whatever else shows it."""

from __future__ import annotations

from collections import Counter
from dataclasses import asdict
from typing import Any

from magpie_ollama.method.reasons import Reason
from magpie_ollama.records import KEPT, Attempt
from magpie_ollama.run.answering import Answering, Job
from magpie_ollama.run.choosing import passed
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
        "response_model": session.responder.name,
        "server": session.model.server.kind,
        "server_version": session.model.version,
        "seconds": round(progress.seconds, 1),
        "kept_here": progress.kept_here,
        "attempts_here": progress.attempts_here,
        "parallel": progress.level,
        "tokens_per_second_with": {str(level): round(rate, 1) for level, rate in progress.rates.items()},
        "tokens_per_kept": round(funnel.all_tokens / funnel.kept, 1) if funnel.kept else 0.0,
        "token_yield": round(funnel.tokens[KEPT] / funnel.all_tokens, 3) if funnel.all_tokens else 0.0,
        "ability": asdict(progress.ability) if progress.ability else None,
        "variety": progress.variety.to_dict(),
        "topics": topics(session),
        "funnel": funnel.to_dict(),
    }


def topics(session: Session) -> dict[str, dict[str, Any]]:
    """Of each topic: the share that was asked for, what became of its attempts, and which of its instructions that were
    sound were not there before."""
    if (mixture := session.settings.mixture) is None:
        return {}
    found = {}
    for name, wanted in mixture.shares.items():
        outcomes = session.progress.funnel.topics.get(name, Counter[str]())
        kept, attempts = outcomes[KEPT], outcomes.total()
        again = outcomes[Reason.DUPLICATE] + outcomes[Reason.NEAR_DUPLICATE]
        sound = again + sum(n for outcome, n in outcomes.items() if passed(Attempt(0, outcome, "")))
        found[name] = {
            "share": round(wanted, 4),
            "attempts": attempts,
            "kept": kept,
            "yield": round(kept / attempts, 3) if attempts else 0.0,
            "distinct": round(1 - again / sound, 3) if sound else 0.0,
            "has_language": session.settings.language.code in mixture.topics[name].voices,
        }
    return found


def answers(session: Answering) -> dict[str, Any]:
    """The same of a run that answered a user's questions, with what became of each."""
    return as_dict(session) | facts(session.job)


def facts(job: Job) -> dict[str, Any]:
    """What became of each row, as values."""
    answered = len(job.questions.asked) - len(unanswered(job))
    return {
        "input": str(job.questions.path),
        "output": str(job.corpus.path or "-"),
        "questions": len(job.questions.asked),
        "answered": answered,
        "passed_over": [
            {"row": one.row, "source": one.source, "reason": one.reason, "first": one.first}
            for one in job.questions.passed_over
        ],
        "unanswered": [
            {"row": one.row, "source": one.source, "reason": one.reason, "tries": one.tries}
            for one in job.failed.values()
        ],
        "unanswered_file": str(job.path) if job.path and job.failed else "",
    }


def unanswered(job: Job) -> set[bytes]:
    """The keys of the questions that have no answer."""
    return {question.key for question in job.left.values()} | job.failed.keys()
