"""What a shell is told of the values that an option may have. A failure of any kind is no value, and no word: it would
be written into the line that somebody is typing."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable

import click
from click.shell_completion import CompletionItem

from magpie_ollama import plugins, prompts

SECONDS = 1.0
"""A server that has not named its models by then is not waited for."""


Found = Callable[[click.Context, str], list[CompletionItem]]


def values(found: Found, ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    try:
        return found(ctx, incomplete)
    except Exception:
        return []
    finally:
        plugins.take_notices()


def _languages(ctx: click.Context, incomplete: str) -> list[CompletionItem]:
    front, begun = _last(incomplete, ",")
    found = []
    for code in prompts.names("languages"):
        if code.startswith(begun):
            text = (prompts.folder("languages") / f"{code}.toml").read_text("utf-8")  # parsing all of them takes 1.1 s
            named = re.search('^english = "(.*)"', text, re.MULTILINE)
            found.append(CompletionItem(front + code, help=named[1] if named else None))
    return found


def _models(ctx: click.Context, incomplete: str) -> list[CompletionItem]:
    import asyncio

    from magpie_ollama.servers import registry
    from magpie_ollama.servers.base import ServerChoice

    kind = ctx.params.get("server") or registry.AUTO
    kind = registry.USUAL if kind == registry.AUTO else kind

    async def asked() -> list[str]:
        async with asyncio.timeout(SECONDS):
            server = await registry.kind(kind).begin(
                ServerChoice(kind=kind, host=ctx.params.get("host") or ""), 1, lambda *said: None
            )
            try:
                return await server.models()
            finally:
                await server.close()

    return _beginning(asyncio.run(asked()), incomplete)


def _steerings(ctx: click.Context, incomplete: str) -> list[CompletionItem]:
    from magpie_ollama.method.steering import AUTO, NONE, PARTS

    front, begun = _last(incomplete, "+,")
    taken = re.split(r"\+", front.rpartition(",")[2])
    names = [name for name in PARTS if name not in taken] + ([] if front.endswith("+") else [AUTO, NONE])
    return _beginning(names, begun, front)


def _topics(ctx: click.Context, incomplete: str) -> list[CompletionItem]:
    front, begun = _last(incomplete, ",")
    names = [*prompts.names("topics"), *plugins.topic_files(), *([] if front else prompts.names("mixtures"))]
    return _beginning(names, begun, front) or _files(ctx, incomplete)


def _templates(ctx: click.Context, incomplete: str) -> list[CompletionItem]:
    return _beginning(prompts.names("templates"), incomplete) + _files(ctx, incomplete)


def _files(ctx: click.Context, incomplete: str) -> list[CompletionItem]:
    return [CompletionItem(incomplete, type="file")]


VALUES: dict[str, Found] = {
    "--language": _languages,
    "--model": _models,
    "--response-model": _models,
    "--steering": _steerings,
    "--topics": _topics,
    "--topic": _topics,
    "--template": _templates,
    "--output": _files,
}
"""By the long names of options."""


def _beginning(names: Iterable[str], begun: str, front: str = "") -> list[CompletionItem]:
    return [CompletionItem(front + name) for name in names if name.startswith(begun)]


def _last(text: str, marks: str) -> tuple[str, str]:
    """What stands up to the last of the marks, and what is begun behind it."""
    end = max(text.rfind(mark) for mark in marks) + 1
    return text[:end], text[end:]
