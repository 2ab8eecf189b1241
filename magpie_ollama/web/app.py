"""The page: one application with three rooms, of a folder and a model on this machine."""

from __future__ import annotations

import json
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, RedirectResponse, Response
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles

from magpie_ollama.corpus import rejections
from magpie_ollama.errors import DecidedMeanwhile, MagpieError, UsageError
from magpie_ollama.servers.base import ServerChoice
from magpie_ollama.web import comparing
from magpie_ollama.web.corpora import SORTS, STATES, Corpora, Opened, Query
from magpie_ollama.web.folder import Folder
from magpie_ollama.web.guard import Access, Guard
from magpie_ollama.web.pages import STATIC, render
from magpie_ollama.web.trying import Trying


def application(root: Path, access: Access, choice: ServerChoice) -> Starlette:
    """The page of the files in ``root`` and of the model of ``choice``, behind its guard."""
    desk = _Desk(Folder(root), access, Trying(root, choice))

    @asynccontextmanager
    async def lifespan(app: Starlette) -> Any:
        yield
        desk.corpora.close()
        await desk.trying.close()

    return Starlette(
        routes=[
            Route("/", lambda request: RedirectResponse("/try", 303)),
            Route("/try", desk.try_room),
            Route("/try/models", desk.models, methods=["POST"]),
            Route("/try/attempt", desk.attempt, methods=["POST"]),
            Route("/try/keep", desk.keep, methods=["POST"]),
            Route("/corpus", desk.files),
            Route("/corpus/{name:path}/charts", desk.charts),
            Route("/corpus/{name:path}/news", desk.news),
            Route("/corpus/{name:path}/record/{entry:int}", desk.record),
            Route("/corpus/{name:path}/decide", desk.decide, methods=["POST"]),
            Route("/corpus/{name:path}/undo", desk.undo, methods=["POST"]),
            Route("/corpus/{name:path}/apply", desk.apply, methods=["POST"]),
            Route("/corpus/{name:path}", desk.corpus),
            Route("/compare", desk.experiments),
            Route("/compare/{name:path}", desk.compare),
            Mount("/static", StaticFiles(directory=STATIC)),
        ],
        exception_handlers={MagpieError: _failed, HTTPException: _missing, Exception: _broken},
        middleware=[Middleware(Guard, access=access)],
        lifespan=lifespan,
    )


class _Desk:
    """What the routes do."""

    def __init__(self, folder: Folder, access: Access, trying: Trying) -> None:
        self._folder = folder
        self._access = access
        self.corpora = Corpora()
        self.trying = trying

    def _page(self, template: str, room: str, /, **values: Any) -> HTMLResponse:
        return HTMLResponse(render(template, room=room, token=self._access.page_token, **values))

    async def try_room(self, request: Request) -> Response:
        return self._page("try.html", "try", **self.trying.form())

    async def models(self, request: Request) -> Response:
        return JSONResponse(await self.trying.models(await _json(request)))

    async def attempt(self, request: Request) -> Response:
        return await self.trying.attempt(await _json(request))

    async def keep(self, request: Request) -> Response:
        return JSONResponse(await run_in_threadpool(self.trying.keep, await _json(request)))

    def files(self, request: Request) -> Response:
        return self._page("files.html", "corpus", entries=self._folder.entries(), folder=self._folder.root.name)

    def corpus(self, request: Request) -> Response:
        name = request.path_params["name"]
        if comparing.is_experiment(self._folder.file(name)):
            return RedirectResponse(f"/compare/{quote(name)}", 303)
        one, query = self._open(request), Query.of(request.query_params)
        values = {**one.list(query), "rejected": rejections.path_beside(one.path).is_file()}
        return self._page("corpus.html", "corpus", name=one.name, query=query, sorts=SORTS, states=STATES, **values)

    def charts(self, request: Request) -> Response:
        one = self._open(request)
        return self._page("charts.html", "corpus", name=one.name, **one.charts())

    def news(self, request: Request) -> Response:
        one = self._open(request)
        one.look()
        return JSONResponse(one.news())

    def record(self, request: Request) -> Response:
        one = self._open(request)
        one.look()
        return HTMLResponse(render("record.html", record=one.record(request.path_params["entry"])))

    async def decide(self, request: Request) -> Response:
        given = await _json(request)

        def decided() -> Response:
            one = self._open(request)
            try:
                record, told, status = one.decide(given), "", 200
            except DecidedMeanwhile as error:
                record, told, status = one.record(given["entry"]), f"{error.cause}. It is shown as it is now.", 409
            text = render("record.html", record=record)
            return JSONResponse({"record": text, "error": told, **one.news()}, status)

        return await run_in_threadpool(decided)

    async def undo(self, request: Request) -> Response:
        await _json(request)
        one = await run_in_threadpool(self._open, request)
        await run_in_threadpool(one.undo)
        return JSONResponse(one.news())

    async def apply(self, request: Request) -> Response:
        await _json(request)
        one = await run_in_threadpool(self._open, request)
        return JSONResponse({"told": await run_in_threadpool(one.apply)})

    def experiments(self, request: Request) -> Response:
        found = [entry for entry in self._folder.entries() if comparing.is_experiment(self._folder.file(entry.name))]
        return self._page("experiments.html", "compare", entries=found)

    def compare(self, request: Request) -> Response:
        name = request.path_params["name"]
        return self._page("compare.html", "compare", name=name, **comparing.values(self._folder.file(name)))

    def _open(self, request: Request) -> Opened:
        name = request.path_params["name"]
        return self.corpora.open(name, self._folder.file(name))


async def _json(request: Request) -> dict[str, Any]:
    """What the page posted. Raises UsageError."""
    try:
        given = json.loads(await request.body())
    except (ValueError, RecursionError):
        given = None
    if not isinstance(given, dict):
        raise UsageError("The request is no JSON object", "load the page again")
    return given


def _failed(request: Request, error: Exception) -> Response:
    """What every error of ours is told as: to the page's script as JSON, to a reader as a page."""
    assert isinstance(error, MagpieError)
    return _told(request, error.cause, error.remedy, 400 if request.method == "POST" else 404)


def _missing(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    return _told(request, error.detail, "", error.status_code)


def _broken(request: Request, error: Exception) -> Response:
    cause = f"{type(error).__name__}: {error}"
    return _told(request, cause, "this is a bug; run `magpie-ollama serve --debug`, and report what it prints", 500)


def _told(request: Request, cause: str, remedy: str, status: int) -> Response:
    if request.method == "POST" or request.url.path.endswith("/news"):
        return JSONResponse({"error": cause, "next": remedy}, status)
    return HTMLResponse(render("error.html", room="", token="", cause=cause, remedy=remedy), status)
