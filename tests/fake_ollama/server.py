"""A fake Ollama on a real socket, held to recordings of real ones by tests/servers/test_fake_conforms.py."""

from __future__ import annotations

import asyncio
import json
import re
import time
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Final

from aiohttp import web

from . import answers, catalog, gojson, openai_of_ollama
from .answers import Job
from .base import Answer, Exchange, FakeServer
from .embedding import Embed, vector
from .faults import Fault, as_fault
from .generation import Ask, Reply, Script, generate
from .gojson import BadRequest
from .models import FakeModel, smollm2
from .script import default_script
from .templates import chatml

JSON: Final = "application/json; charset=utf-8"
NDJSON: Final = "application/x-ndjson"
RUNNER: Final = ("num_ctx", "num_batch", "num_gpu", "main_gpu", "use_mmap", "num_thread")
DIED: Final = "an error was encountered while running the model: unexpected EOF"
BUSY: Final = "server busy, please try again.  maximum pending requests exceeded"
NO_REGISTRY: Final = "pull model manifest: dial tcp: lookup registry: no such host"


def error(status: int, text: str) -> Answer:
    return web.Response(status=status, body=gojson.dumps({"error": text}), headers={"Content-Type": JSON})


def good(value: object) -> Answer:
    return web.Response(body=gojson.dumps(value), headers={"Content-Type": JSON})


@dataclass(slots=True)
class Loaded:
    runner: tuple[object, ...]
    context: int
    expires: float
    keep: float = 300.0


class FakeOllama(FakeServer):
    """`version` decides the generation: from 0.30 on control tokens are hidden, before 0.11.5 there is no
    rendering, before 0.6.4 no capabilities. `parallel` is OLLAMA_NUM_PARALLEL, `max_queue` OLLAMA_MAX_QUEUE.
    `pullable` are models that /api/pull can fetch. `delay` is the pause before each token.

    `holds` is OLLAMA_MAX_LOADED_MODELS, 0 for no bound: the one loaded first goes first.

    `loads` counts models loaded, `reloads` those loaded anew because a request changed a runner option.
    """

    generating_paths = frozenset({"/api/generate", "/api/chat", "/v1/completions", "/v1/chat/completions"})

    def __init__(
        self,
        *,
        version: str = "0.33.0",
        models: Iterable[FakeModel] | None = None,
        parallel: int = 4,
        max_queue: int = 512,
        delay: float = 0.0,
        script: Script = default_script,
        pullable: Iterable[FakeModel] = (),
        default_context: int = 4096,
        port: int = 0,
        holds: int = 0,
        embed: Embed = vector,
    ) -> None:
        super().__init__(parallel=parallel, max_queue=max_queue, delay=delay, script=script, port=port)
        self.version = version
        self.models = [smollm2()] if models is None else list(models)
        self.pullable = list(pullable)
        self.pull_error = NO_REGISTRY
        self.default_context = default_context
        self.holds = holds
        self.embed = embed
        self.loads = 0
        self.reloads = 0
        numbers = tuple(int(number) for number in re.findall(r"\d+", version)[:3])
        self.new_engine = numbers >= (0, 30)
        self.shows_control_tokens = not self.new_engine
        self._renders = numbers >= (0, 11, 5)
        self._thinks = numbers >= (0, 9)
        self._tells_capabilities = numbers >= (0, 6, 4)
        self._tells_context = self._gives_logprobs = self._can_refuse_long = numbers >= (0, 12, 11)
        self._loaded: dict[str, Loaded] = {}
        self._modified = gojson.now()

    # Routes.

    async def handle(self, exchange: Exchange, request: web.Request) -> Answer:
        route = f"{request.method} {request.path}"
        try:
            match route:
                case "GET /" | "HEAD /":
                    return web.Response(text="Ollama is running")
                case "GET /api/version":
                    return good({"version": self.version})
                case "GET /api/tags":
                    rich = self.new_engine
                    return good({"models": [catalog.tag(m, rich, self._modified) for m in self.models]})
                case "GET /api/ps":
                    return good({"models": self._running()})
                case "POST /api/show":
                    return self._show(exchange)
                case "POST /api/pull":
                    return await self._pull(exchange, request)
                case "POST /api/embed":
                    return self._embed(exchange)
                case "POST /api/generate" | "POST /api/chat":
                    return await self._generate(exchange, request)
            answer = await openai_of_ollama.handle(self, exchange, request)
            if answer is not None:
                return answer
        except BadRequest as refused:
            return error(refused.status, refused.error)
        return web.Response(status=404, body=b"404 page not found", headers={"Content-Type": "text/plain"})

    def failure(self, fault: Fault) -> Answer:
        engine = "llama-server process" if self.new_engine else "llama runner process"
        match fault.kind:
            case "busy":
                return error(503, BUSY)
            case "out_of_memory":
                return error(500, "model requires more system memory (48.2 GiB) than is available (15.1 GiB)")
            case "load_crash":
                return error(500, f"{engine} has terminated: exit status 2")
        return error(fault.status, fault.text)

    # Models.

    def find(self, name: str) -> FakeModel | None:
        wanted = name if ":" in name.rpartition("/")[2] else f"{name}:latest"
        return next((m for m in self.models if m.name.lower() == wanted.lower()), None)

    def _show(self, exchange: Exchange) -> Answer:
        body = gojson.parse(exchange.raw, "ShowRequest", {"model": "string", "name": "string"})
        name = body.get("model") or body.get("name")
        if not name:
            return error(400, "model is required")
        model = self.find(name)
        if model is None:
            told = name if ":" in name or not self.new_engine else f"{name}:latest"
            return error(404, f"model '{told}' not found")
        return good(catalog.show(model, self._tells_capabilities, self._modified))

    def _running(self) -> list[dict[str, Any]]:
        return [
            catalog.loaded(
                model,
                state.context if self._tells_context else None,
                gojson.now(state.expires - time.monotonic()),
            )
            for name, state in self._loaded.items()
            if (model := self.find(name)) and state.expires > time.monotonic()
        ]

    async def _pull(self, exchange: Exchange, request: web.Request) -> Answer:
        body = gojson.parse(exchange.raw, "PullRequest", {"model": "string", "stream": "bool"})
        name = body.get("model") or body.get("name") or ""
        if not name:
            return error(400, "invalid model name")
        wanted = name if ":" in name.rpartition("/")[2] else f"{name}:latest"
        model = next((m for m in [*self.models, *self.pullable] if m.name == wanted), None)
        told: list[dict[str, Any]] = [{"status": "pulling manifest"}]
        if model is None:
            told.append({"error": self.pull_error})
        else:
            digest = f"sha256:{model.digest}"
            layer = {"status": f"pulling {model.digest[:12]}", "digest": digest, "total": model.size}
            told += [layer, *[layer | {"completed": model.size * n // 4} for n in range(1, 5)]]
            told += [{"status": s} for s in ("verifying sha256 digest", "writing manifest", "success")]
            if self.find(wanted) is None:
                self.models.append(model)
        if body.get("stream", True):
            lines = [gojson.dumps(line) + b"\n" for line in told]
            broken = gojson.dumps({"error": self.pull_error}) + b"\n"
            return await self.stream(exchange, request, NDJSON, lines, self.delay, broken)
        return good({"status": "success"}) if model else error(500, self.pull_error)

    def _embed(self, exchange: Exchange) -> Answer:
        body = gojson.parse(exchange.raw, "EmbedRequest", {"model": "string"})
        model = self.find(body.get("model", ""))
        if model is None:
            return error(404, f'model "{body.get("model", "")}" not found, try pulling it first')
        if "embedding" not in model.capabilities:
            return error(501, "this model does not support embeddings")
        vectors = [self.embed(text) for text in body["input"]]
        if None in vectors:
            return error(400, "the input cannot be embedded")
        return good({"model": model.name, "embeddings": vectors, "total_duration": 1, "load_duration": 1})

    # Generation.

    async def _generate(self, exchange: Exchange, request: web.Request) -> Answer:
        job = self._check(exchange)
        body, model = job.body, job.model
        empty = not (job.messages if job.chat else body.get("prompt"))
        keep = gojson.seconds_of(body["keep_alive"]) if "keep_alive" in body else None
        if empty and keep == 0:
            self._loaded.pop(model.name, None)
            return good(answers.envelope(job, "", done_reason="unload"))
        self._refuse(job)
        async with self.slot(exchange) as free:
            if not free:
                return error(503, BUSY)
            context = self._load(job, keep)
            if exchange.fault is not None and exchange.fault.kind == "slow_load":
                job.load_duration = int(exchange.fault.seconds * 1e9)
            if empty:
                return good(answers.envelope(job, "", done_reason="load"))
            if not job.raw and model.renderer:
                return error(500, f'unknown renderer "{model.renderer}"')
            if job.body.get("_debug_render_only") and self._renders:
                return good(answers.rendered(job))
            refused = self._fit(job, context)
            if refused is not None:
                return refused
            reply = self.ask(self._question(job, self.take_number(exchange)))
            exchange.fault = exchange.fault or as_fault(reply.fault)
            early = await self.fail_early(exchange, request)
            return early if early is not None else await self._write(exchange, request, job, reply)

    def _check(self, exchange: Exchange) -> Job:
        """All refusals that the real handler makes before it asks for a runner, in its order."""
        chat = exchange.path == "/api/chat"
        struct, fields = ("ChatRequest", gojson.CHAT) if chat else ("GenerateRequest", gojson.GENERATE)
        body = gojson.parse(exchange.raw, struct, fields)
        if not 0 <= body.get("top_logprobs", 0) <= 20:
            raise BadRequest(400, "top_logprobs must be between 0 and 20")
        name = body.get("model", "")
        if not name and chat:
            raise BadRequest(400, "model is required")
        model = self.find(name)
        if model is None:
            old = f'model "{name}" not found, try pulling it first'
            raise BadRequest(404, f"model '{name}' not found" if self._renders else old)
        messages: list[dict[str, Any]] = list(body.get("messages", []))
        raw = bool(body.get("raw")) and not chat
        if not chat and not raw and body.get("prompt"):
            system = [{"role": "system", "content": body["system"]}] if body.get("system") else []
            messages = [*system, {"role": "user", "content": body["prompt"]}]
        if messages and messages[0].get("role") != "system" and model.system:
            messages = [{"role": "system", "content": model.system}, *messages]
        template = chatml() if model.bare and self.new_engine else model.template
        prompt = body.get("prompt", "") if raw else template(messages) if messages else ""
        options = body.get("options", {})
        return Job(exchange.path, body, model, messages, prompt, raw, self.new_engine, options)

    def _refuse(self, job: Job) -> None:
        body, model = job.body, job.model
        if job.raw and (body.get("template") or body.get("system") or body.get("context")):
            raise BadRequest(400, "raw mode does not support template, system, or context")
        able = "thinking" in model.capabilities
        if self._thinks and body.get("think") and not able:
            raise BadRequest(400, f'"{body["model"]}" does not support thinking')
        job.think = self._thinks and able and bool(body.get("think", True))
        if "completion" not in model.capabilities:
            what = "chat" if job.chat else "generate"
            raise BadRequest(400, f'"{body["model"]}" does not support {what}')
        gojson.check_options(job.options)

    def _load(self, job: Job, keep: float | None) -> int:
        """The context of the loaded model, which a changed runner option loads anew."""
        context = min(int(job.options.get("num_ctx") or self.default_context), job.model.context)
        runner = (context, *(job.options.get(name) for name in RUNNER[1:]))
        listed = job.model.made_of or job.model.name
        state = self._loaded.get(listed)
        if state is None or state.runner != runner:
            self.loads += 1
            self.reloads += state is not None
            job.load_duration = 600_000_000
            others = [name for name in self._loaded if name != listed]
            for name in others[: max(0, len(others) + 1 - self.holds)] if self.holds else ():
                del self._loaded[name]
            state = self._loaded[listed] = Loaded(runner, context, time.monotonic() + 300)
        if keep is not None:
            state.keep = keep if keep >= 0 else 1e8
        state.expires = time.monotonic() + state.keep  # each request begins the time anew
        return context

    def _fit(self, job: Job, context: int) -> Answer | None:
        """Counts the prompt; one over the context is cut silently unless the request forbids it."""
        prompt, model = job.prompt, job.model
        if model.adds_bos and self.new_engine and prompt.startswith("<bos>"):
            prompt = prompt.removeprefix("<bos>")
        elif model.adds_bos and not job.raw:  # chat takes off the BOS that the template wrote
            prompt = prompt.removeprefix(model.template.bos)
        count = model.tokenizer.count(prompt) + model.adds_bos
        if count > context:
            if job.body.get("truncate") is False and self._can_refuse_long:
                return error(400, self._too_long(count, context))
            count = context // 2 + 2 if self.new_engine else context
            job.cut = True
        job.prompt_tokens = count
        return None

    def _too_long(self, count: int, context: int) -> str:
        if not self.new_engine:
            return "the input length exceeds the context length"
        inner = {
            "code": 400,
            "message": f"request ({count} tokens) exceeds the available context size ({context} tokens), "
            "try increasing it",
            "type": "exceed_context_size_error",
            "n_prompt_tokens": count,
            "n_ctx": context,
        }
        return json.dumps({"error": inner}, separators=(",", ":"))

    def _question(self, job: Job, index: int) -> Ask:
        seed = job.options.get("seed")
        return Ask(
            "raw" if job.raw else "chat",
            job.model.name,
            job.prompt,
            job.messages,
            job.options,
            int(seed) if seed is not None else None,
            index,
            job.body,
        )

    async def _write(self, exchange: Exchange, request: web.Request, job: Job, reply: Reply) -> Answer:
        stops = job.options.get("stop")
        if reply.thinking and not self._thinks:  # an old server shows it amid the text
            whole = reply.text if isinstance(reply.text, str) else "".join(reply.text)
            reply = Reply(f"<think>\n{reply.thinking}\n</think>\n\n{whole}", delay=reply.delay)
        made = generate(
            Reply("") if job.cut and job.chat and self.new_engine else reply,  # as recorded: no answer
            job.model,
            job.model.stops if stops is None else stops,
            int(job.options.get("num_predict") or -1),
            self.shows_control_tokens,
            job.think,
        )
        delay = self.delay if reply.delay is None else reply.delay
        fault = exchange.fault
        told = fault.text if fault is not None and fault.kind == "error_mid" else DIED
        logprobs = self._gives_logprobs and bool(job.body.get("logprobs"))
        if job.body.get("stream", True):
            lines = answers.lines(job, made, logprobs)
            broken = gojson.dumps({"error": told}) + b"\n"
            return await self.stream(exchange, request, NDJSON, lines, delay, broken)
        if delay:
            await asyncio.sleep(delay * made.tokens)
        whole_body = answers.body(job, made, fault, logprobs)
        return await self.whole(exchange, request, JSON, whole_body, error(500, told))
