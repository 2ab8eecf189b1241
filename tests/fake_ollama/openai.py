"""A fake OpenAI-compatible server: vLLM, llama-server, or one that has no more than /v1."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, Literal

from aiohttp import web

from .base import Answer, Exchange, FakeServer
from .embedding import vector
from .faults import Fault, as_fault
from .generation import Ask, Generated, Reply, Script, generate
from .models import SMOLLM_SYSTEM, FakeModel
from .openai_shapes import LlamaServer, Plain, Run, Vllm, stops
from .script import default_script
from .templates import chatml

Flavour = Literal["vllm", "llama-server", "plain"]
_SHAPES: dict[Flavour, type[Plain]] = {"vllm": Vllm, "llama-server": LlamaServer, "plain": Plain}
_NUMBERS = ("temperature", "top_p", "min_p", "repetition_penalty")
_INTEGERS = ("max_tokens", "seed", "n", "top_k")
_PROPS = Path(__file__).parent / "recordings" / "llama-server" / "get_props.json"
_OPEN_TO_ALL = frozenset({"/health", "/v1/health", "/models", "/v1/models"})


class Refused(Exception):
    def __init__(self, status: int, body: Mapping[str, Any]) -> None:
        super().__init__(body)
        self.status = status
        self.body = body


class FakeOpenAI(FakeServer):
    """`adds_bos` is the tokenizer's, `context` that of the server (of one slot, for llama-server).

    The first of `models` is the one that llama-server has, whatever name a request gives.
    """

    generating_paths = frozenset({"/v1/completions", "/v1/chat/completions"})

    def __init__(
        self,
        flavour: Flavour = "vllm",
        *,
        models: Iterable[FakeModel] | None = None,
        api_key: str | None = None,
        adds_bos: bool = False,
        context: int = 8192,
        parallel: int = 64,
        max_queue: int = 4096,
        delay: float = 0.0,
        script: Script = default_script,
        port: int = 0,
    ) -> None:
        super().__init__(parallel=parallel, max_queue=max_queue, delay=delay, script=script, port=port)
        self.flavour: Flavour = flavour
        self.reward: Callable[[str, str], float] | None = None
        self.shape = _SHAPES[flavour]()
        self.api_key = api_key
        self.adds_bos = adds_bos
        self.context = context
        template = chatml(SMOLLM_SYSTEM, bos="<|endoftext|>" if adds_bos else "")
        self.models = [FakeModel(template=template)] if models is None else list(models)
        self._seen: set[str] = set()

    # Routes.

    async def handle(self, exchange: Exchange, request: web.Request) -> Answer:
        path = request.path
        try:
            self._authorize(exchange, path)
            answer = self._tell(f"{request.method} {path}", exchange)
            if answer is not None:
                return answer
            if request.method == "POST" and path in self.generating_paths:
                return await self._complete(exchange, request)
        except Refused as refused:
            return self._json(refused.body, refused.status)
        if self.flavour == "llama-server":
            error = {"message": "File Not Found", "type": "not_found_error", "code": 404}
            return self._json({"error": error}, 404)
        return self._json({"detail": "Not Found"}, 404)

    def failure(self, fault: Fault) -> Answer:
        told = {
            "busy": (503, "The server is currently overloaded with other requests", "overloaded_error"),
            "out_of_memory": (500, "CUDA out of memory. Tried to allocate 2.00 GiB.", "InternalServerError"),
            "load_crash": (500, "EngineCore encountered an issue. See stack trace.", "InternalServerError"),
        }
        status, text, kind = told.get(fault.kind, (fault.status, fault.text, "InternalServerError"))
        return self._json(self.shape.error(status, text, kind), status)

    def _json(self, value: object, status: int = 200) -> Answer:
        body = json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode()
        return web.Response(status=status, body=body, headers={"Content-Type": self.shape.json_type})

    def _authorize(self, exchange: Exchange, path: str) -> None:
        if self.api_key is None or exchange.headers.get("Authorization") == f"Bearer {self.api_key}":
            return
        # vLLM guards /v1 only; llama-server all but health and models.
        guarded = path not in _OPEN_TO_ALL if self.flavour == "llama-server" else path.startswith("/v1")
        if guarded:
            raise Refused(401, self.shape.unauthorized())

    def _tell(self, route: str, exchange: Exchange) -> Answer | None:
        """Everything that does not generate; None where there is no such route."""
        match self.flavour, route:
            case _, "GET /v1/models":
                return self._json(self._models())
            case _, "POST /v1/embeddings" if any("embedding" in model.capabilities for model in self.models):
                return self._json(self._embeddings(self._parse(exchange)))
            case "vllm", "GET /health":
                return web.Response(body=b"")
            case "vllm", "GET /version":
                return self._json({"version": "0.32.0"})
            case "vllm", "POST /tokenize":
                return self._json(self._tokenize_vllm(self._parse(exchange)))
            case "vllm", "POST /detokenize":
                body = self._parse(exchange)
                return self._json({"prompt": self._model(body).tokenizer.decode(body["tokens"])})
            case "vllm", "POST /score" if self.reward is not None:  # a server of such a model has no other routes
                body = self._parse(exchange)
                value = self.reward(body["text_1"], body["text_2"])
                data = [{"index": 0, "object": "score", "score": value}]
                return self._json({"id": "score-1", "object": "list", "model": body["model"], "data": data})
            case "vllm", "POST /v1/chat/completions/render":
                text = "Scale-out endpoints are disabled. Restart vllm serve with --enable-scale-out to enable them."
                raise Refused(403, self.shape.error(403, text, "PermissionDeniedError"))
            case "llama-server", "GET /health":
                return self._json({"status": "ok"})
            case "llama-server", "GET /props":
                return self._json(self._props())
            case "llama-server", "GET /slots":
                slot = {"n_ctx": self.context, "speculative": False, "is_processing": False}
                return self._json([{"id": n, **slot} for n in range(self.parallel)])
            case "llama-server", "POST /apply-template":
                return self._json({"prompt": self.models[0].template(self._parse(exchange)["messages"])})
            case "llama-server", "POST /tokenize":
                return self._json(self._tokenize_llama(self._parse(exchange)))
            case "llama-server", "POST /detokenize":
                text = self.models[0].tokenizer.decode(self._parse(exchange)["tokens"])
                return self._json({"content": text})
        return None

    def _embeddings(self, body: dict[str, Any]) -> dict[str, Any]:
        """In any order: each says which it is."""
        longest = max(len(text.split()) for text in body["input"])
        if longest > self.context:
            text = f"input ({longest} tokens) is too large to process. increase the physical batch size"
            raise Refused(500, self.shape.error(500, text, "server_error"))
        data = [
            {"object": "embedding", "index": index, "embedding": vector(text)}
            for index, text in enumerate(body["input"])
        ]
        return {"object": "list", "model": body["model"], "data": data[::-1]}

    def _models(self) -> dict[str, Any]:
        entries: list[dict[str, Any]] = []
        for model in self.models:
            entry: dict[str, Any] = {"id": model.name, "object": "model", "created": 1_795_331_895}
            if self.flavour == "vllm":
                allowed = ("create_engine", "sampling", "logprobs", "search_indices", "view", "fine_tuning")
                permission = {f"allow_{name}": name in ("sampling", "logprobs", "view") for name in allowed}
                head = {"id": "modelperm-1", "object": "model_permission", "created": 1_795_331_895}
                tail = {"organization": "*", "group": None, "is_blocking": False}
                entry |= {"owned_by": "vllm", "root": f"/models/{model.name}", "parent": None}
                entry |= {"max_model_len": self.context, "permission": [{**head, **permission, **tail}]}
            elif self.flavour == "llama-server":
                kinds = {"input_modalities": ["text"], "output_modalities": ["text"]}
                meta = {"vocab_type": 2, "n_vocab": 49152, "n_ctx": self.context, "n_ctx_train": model.context}
                meta |= {"n_embd": 576, "n_params": 134_515_008, "size": model.size}
                entry = {"id": model.name, "aliases": [model.name], "tags": [], "object": "model"}
                entry |= {"architecture": kinds, "created": 1_795_331_895, "owned_by": "llamacpp"}
                entry |= {"meta": {**meta, "ftype": model.quantization}}
            else:
                entry["owned_by"] = "somebody"
            entries.append(entry)
        listed = {"object": "list", "data": entries}
        return {"models": [self._as_ollama(m) for m in self.models], **listed} if self._is_llama else listed

    @property
    def _is_llama(self) -> bool:
        return self.flavour == "llama-server"

    def _as_ollama(self, model: FakeModel) -> dict[str, Any]:
        """llama-server lists its models a second time, for clients of Ollama."""
        empty = dict.fromkeys(("modified_at", "size", "digest"), "")
        details = {"parent_model": "", "format": "gguf", "family": "", "families": [""]}
        return {
            "name": model.name, "model": model.name, **empty, "type": "model", "description": "",
            "tags": [""], "capabilities": ["completion"], "parameters": "",
            "details": {**details, "parameter_size": "", "quantization_level": ""},
        }  # fmt: skip

    def _props(self) -> dict[str, Any]:
        """As recorded, but for what the fake decides: nobody should write down so many samplers twice."""
        model = self.models[0]
        recorded = json.loads(_PROPS.read_text(encoding="utf-8"))["response"]["body"]
        told: dict[str, Any] = json.loads(recorded)
        told["default_generation_settings"]["n_ctx"] = self.context
        ends = model.template.ends or ("",)
        own = {"total_slots": self.parallel, "model_alias": model.name, "chat_template": model.template.text}
        return told | own | {"bos_token": model.template.bos, "eos_token": ends[0]}

    # Reading requests.

    def _parse(self, exchange: Exchange) -> dict[str, Any]:
        try:
            body = json.loads(exchange.raw)
        except json.JSONDecodeError as error:
            raise Refused(400, self._malformed(error)) from None
        numbers = dict.fromkeys(_NUMBERS, ("float", "number")) | dict.fromkeys(_INTEGERS, ("int", "integer"))
        for key, (kind, word) in numbers.items():
            value = body.get(key)
            if value is not None and (not isinstance(value, (int, float)) or isinstance(value, bool)):
                raise Refused(400, self._wrong_type(key, value, kind, word))
        return dict(body)

    def _malformed(self, error: json.JSONDecodeError) -> dict[str, Any]:
        if self.flavour == "vllm":
            place = f"body.{error.pos}"
            text = (
                f"1 validation error:\n  {{'type': 'json_invalid', 'loc': '{place}', 'msg': 'JSON decode error', "
                f"'input': '<dict of 0 items>', 'ctx': {{'error': '{error.msg}'}}}}"
            )
            return self.shape.error(400, text, "Bad Request", place)
        text = (
            f"[json.exception.parse_error.101] parse error at line {error.lineno}, column {error.colno}: syntax "
            "error while parsing object key - unexpected end of input; expected string literal"
        )
        return self.shape.error(400, text)

    def _wrong_type(self, key: str, value: object, kind: str, word: str) -> dict[str, Any]:
        if self.flavour == "vllm":
            an = "an" if word == "integer" else "a"
            text = (
                f"1 validation error:\n  {{'type': '{kind}_parsing', 'loc': 'body.{key}', 'msg': 'Input should be a "
                f"valid {word}, unable to parse string as {an} {word}', 'input': {value!r}}}"
            )
            return self.shape.error(400, text, "Bad Request", f"body.{key}")
        text = f"Field '{key}': [json.exception.type_error.302] type must be number, but is string"
        return self.shape.error(400, text)

    def _model(self, body: Mapping[str, Any]) -> FakeModel:
        name = body.get("model")
        if self._is_llama or name is None:
            return self.models[0]
        for model in self.models:
            if model.name in (name, f"{name}:latest"):
                return model
        aliases = ", ".join(model.name for model in self.models)
        text = f"The model `{name}` does not exist. Valid aliases: {aliases}."
        raise Refused(404, self.shape.error(404, text, "NotFoundError", "model"))

    def _prompts(self, body: Mapping[str, Any], model: FakeModel, chat: bool) -> list[tuple[str, list[int]]]:
        """The prompts of one request, as text and as tokens, with the BOS that the server adds."""
        encode = model.tokenizer.encode
        if chat:
            text = model.template(body["messages"])
            return [(text, encode(text))]
        if "prompt" not in body:
            text = "[json.exception.out_of_range.403] key 'prompt' not found"
            raise Refused(400, self.shape.error(400, text))
        prompt = body["prompt"]
        if isinstance(prompt, list) and prompt and isinstance(prompt[0], int):
            return [(model.tokenizer.decode(prompt), prompt)]
        bos = encode(model.template.bos) if self.adds_bos and body.get("add_special_tokens", True) else []
        return [(text, bos + encode(text)) for text in (prompt if isinstance(prompt, list) else [prompt])]

    def _tokenize_vllm(self, body: Mapping[str, Any]) -> dict[str, Any]:
        model, chat = self._model(body), "messages" in body
        assert body.get("add_generation_prompt", True), "the fake always adds the assistant's header"
        # A conversation gets no BOS besides its template's own, unless that is asked for.
        special = body.get("add_special_tokens", not chat)
        ((_, ids),) = self._prompts({**body, "add_special_tokens": special}, model, chat)
        strings = [model.tokenizer.decode([number]).replace(" ", "Ġ").replace("\n", "Ċ") for number in ids]
        told = strings if body.get("return_token_strs") else None
        return {"count": len(ids), "max_model_len": self.context, "tokens": ids, "token_strs": told}

    def _tokenize_llama(self, body: Mapping[str, Any]) -> dict[str, Any]:
        tokenizer = self.models[0].tokenizer
        bos = [self.models[0].template.bos] if self.adds_bos and body.get("add_special") else []
        ids = tokenizer.encode("".join(bos)) + tokenizer.encode(body["content"], body.get("parse_special", True))
        if body.get("with_pieces"):
            return {"tokens": [{"id": number, "piece": tokenizer.decode([number])} for number in ids]}
        return {"tokens": ids}

    # Generation.

    async def _complete(self, exchange: Exchange, request: web.Request) -> Answer:
        chat = exchange.path.endswith("/chat/completions")
        body = self._parse(exchange)
        model = self._model(body)
        self._check(body)
        prompts = self._prompts(body, model, chat)
        for _, ids in prompts:
            self._refuse_long(len(ids))
        async with self.slot(exchange) as free:
            if not free:
                return self.failure(Fault("busy"))
            number = self.take_number(exchange)
            asks = [
                (len(ids), self._question(chat, model, text, body, number, n))
                for text, ids in prompts
                for n in range(body.get("n") or 1)
            ]
            replies = [(room, self.ask(ask)) for room, ask in asks]
            exchange.fault = exchange.fault or as_fault(replies[0][1].fault)
            early = await self.fail_early(exchange, request)
            if early is not None:
                return early
            samples = [self._sample(body, model, reply, chat, room) for room, reply in replies]
            text, ids = prompts[0][0], [number for _, ids in prompts for number in ids]
            cached = len(ids) - 1 if text in self._seen else 0
            self._seen.add(text)
            run = Run(number, chat, model.name, body, model.tokenizer, text, ids, cached, samples)
            delays = (reply.delay for _, reply in replies)
            delay = next((delay for delay in delays if delay is not None), self.delay)
            return await self._write(exchange, request, run, delay)

    def _check(self, body: Mapping[str, Any]) -> None:
        if self.flavour != "vllm":
            return
        n, top_k = body.get("n") or 1, body.get("top_k") or 0
        if n > 1 and body.get("temperature", 1.0) == 0:
            text = f"n must be 1 when using greedy sampling, got {n}."
            raise Refused(400, self.shape.error(400, text, "BadRequestError"))
        if top_k < -1:
            text = f"top_k must be 0 (disable), or at least 1, got {top_k}."
            raise Refused(400, self.shape.error(400, text, "BadRequestError"))

    def _refuse_long(self, count: int) -> None:
        if count <= self.context:
            return
        if self._is_llama:
            text = f"request ({count} tokens) exceeds the available context size ({self.context} tokens), "
            error = self.shape.error(400, text + "try increasing it", "exceed_context_size_error")["error"]
            raise Refused(400, {"error": {**error, "n_prompt_tokens": count, "n_ctx": self.context}})
        least = self.context + 1  # it stops counting there
        text = (
            f"This model's maximum context length is {self.context} tokens. However, your prompt contains at least "
            f"{least} input tokens, which exceeds this limit even without any output tokens. Please reduce the "
            f"length of the input prompt. (parameter=input_tokens, value={least})"
        )
        raise Refused(400, self.shape.error(400, text, param="input_tokens"))

    def _question(self, chat: bool, model: FakeModel, prompt: str, body: Mapping[str, Any], number: int, n: int) -> Ask:
        """Sample n of one request is that of its seed + n, as with vLLM."""
        seed = body.get("seed")
        own = None if seed is None else int(seed) + n
        messages = body.get("messages", ())
        return Ask("chat" if chat else "raw", model.name, prompt, messages, body, own, number, body)

    def _sample(
        self, body: Mapping[str, Any], model: FakeModel, reply: Reply, chat: bool, prompt_tokens: int
    ) -> Generated:
        asked = body.get("max_tokens", body.get("max_completion_tokens"))
        limit = int(asked) if asked is not None else (-1 if chat else self.shape.default_max_tokens)
        room = self.context - prompt_tokens  # what does not fit is silently not generated
        wants = (body.get("chat_template_kwargs") or {}).get("enable_thinking", True)
        wants = bool(wants) or self.flavour == "plain"  # which knows no such parameter
        think = chat and wants and "thinking" in model.capabilities
        if think and reply.thinking and self.flavour == "plain":  # nothing parses it out of the text
            text = reply.text if isinstance(reply.text, str) else "".join(reply.text)
            reply = Reply(f"<think>\n{reply.thinking}\n</think>\n\n{text}", reply.done_reason)
        ends = {model.tokenizer.decode([number]) for number in body.get("stop_token_ids") or ()}
        shows = self.flavour == "vllm" and body.get("skip_special_tokens") is False
        limit = min(limit, room) if limit > 0 else room
        return generate(reply, model, stops(body), limit, shows, think, ends)

    async def _write(self, exchange: Exchange, request: web.Request, run: Run, delay: float) -> Answer:
        fault = exchange.fault
        text = fault.text if fault is not None and fault.kind == "error_mid" else "EngineCore died"
        failed = self.shape.error(500, text, "InternalServerError")
        if run.body.get("stream"):
            lines = [_event(event) for event in self.shape.events(run)] + [b"data: [DONE]\n\n"]
            broken = _event(failed)
            return await self.stream(exchange, request, self.shape.sse_type, lines, delay, broken)
        if delay:
            await asyncio.sleep(delay * max(sample.tokens for sample in run.samples))
        if fault is not None and fault.kind in ("incomplete_nothing", "incomplete_part"):
            for sample in run.samples:
                sample.pieces = sample.pieces[: fault.after if fault.kind == "incomplete_part" else 0]
                sample.reason = ""
        body = json.dumps(self.shape.whole(run), ensure_ascii=False, separators=(",", ":")).encode()
        return await self.whole(exchange, request, self.shape.json_type, body, self._json(failed, 500))


def _event(value: object) -> bytes:
    return b"data: " + json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode() + b"\n\n"
