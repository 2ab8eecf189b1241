"""What a run would do (--dry-run), and a template, with every character visible."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from rich.console import Console

from magpie_ollama.asking.settings import without_secrets
from magpie_ollama.display.consoles import show_facts, show_json
from magpie_ollama.display.words import counted
from magpie_ollama.method.steering import AUTO
from magpie_ollama.run.session import Plan, Session


def show_plan(plan: Plan, session: Session, console: Console, as_json: bool) -> None:
    values = _values(plan, session)
    if as_json:
        show_json(values)
        return
    steering = plan.steered.steering
    steering = f"auto; shown with {steering}" if session.settings.steering == AUTO else steering
    if plan.steered.opener or plan.steered.exemplars:
        steering += " (openers and exemplars are drawn by each attempt's seed)"
    version = f" ({session.model.version})" if session.model.version else ""
    rows = {
        "server": f"{session.model.server.kind}{version} at {session.model.server.address}",
        "model": f"{session.model.name}, context {session.model.context or 'unknown'}",
        **({"answers by": session.responder.name} if session.responder is not session.model else {}),
        "template": plan.template.source,
        "steering": steering,
        "turns": values["turns"],
        "prompt": visible(plan.prompt),
        "stops": "  ".join(map(visible, plan.template.stops)),
        "instruction": options(values["instruction"]),
        "response": options(values["response"]),
        "options": options(values["options"]) or "none",
        "output": values["output"],
        "to do": counted(max(0, plan.target - plan.kept), "record")
        + (f" (run {plan.continues} has {plan.kept} of {plan.target})" if plan.continues else ""),
    }
    show_facts(rows, console)
    console.print("Nothing was generated.")


def visible(text: str) -> str:
    """``text`` with line ends and other control characters as escapes, spaces at its ends as ␣.

    >>> visible("<|im_start|>user\\n"), visible("[INST] ")
    ('<|im_start|>user\\\\n', '[INST]␣')
    """
    shown = "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)
    stripped = shown.strip(" ")
    left = len(shown) - len(shown.lstrip(" "))
    return "␣" * left + stripped + "␣" * (len(shown) - left - len(stripped))


def options(values: dict[str, Any]) -> str:
    return " ".join(f"{key}={value}" for key, value in values.items())


def _values(plan: Plan, session: Session) -> dict[str, Any]:
    settings = session.settings
    instruction, response = asdict(settings.instruction), asdict(settings.response)
    del instruction["seed"], response["seed"]
    return {
        "server": session.model.server.kind,
        "server_version": session.model.version,
        "address": session.model.server.address,
        "model": session.model.name,
        "response_model": session.responder.name,
        "language": settings.language.code,
        "steering": plan.steered.steering,
        "turns": "-".join(map(str, dict.fromkeys(settings.turns))),
        "template_source": plan.template.source,
        "prompt": plan.prompt,
        "messages": list(plan.steered.messages),
        "stops": list(plan.template.stops),
        "instruction": instruction,
        "response": response,
        "options": without_secrets(settings.server.options),
        "output": str(session.corpus.path or "-"),
        "continues": plan.continues,
        "kept": plan.kept,
        "target": plan.target,
    }
