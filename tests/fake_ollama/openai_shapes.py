"""What vLLM, llama-server and a plain OpenAI-compatible server answer with: the same news in three shapes."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from .generation import Generated
from .tokens import Tokenizer

Json = dict[str, Any]


@dataclass(slots=True)
class Run:
    """One request with all its samples, checked and generated. `prompt` is what `return_prompt_text` tells."""

    number: int
    chat: bool
    model: str
    body: Mapping[str, Any]
    tokenizer: Tokenizer
    prompt: str
    prompt_ids: list[int]
    cached: int
    samples: list[Generated]

    @property
    def usage(self) -> tuple[int, int]:
        return len(self.prompt_ids), sum(sample.tokens for sample in self.samples)

    @property
    def counts_in_stream(self) -> bool:
        return bool((self.body.get("stream_options") or {}).get("include_usage"))

    @property
    def held(self) -> int:
        """How many characters a stream holds back, because they might begin a stop string."""
        return max((len(stop) - 1 for stop in stops(self.body)), default=0)


def stops(body: Mapping[str, Any]) -> list[str]:
    stop = body.get("stop") or []
    return [stop] if isinstance(stop, str) else list(stop)


class Plain:
    """The fields that OpenAI documents, and no more."""

    json_type: ClassVar = "application/json"
    sse_type: ClassVar = "text/event-stream"
    default_max_tokens: ClassVar = 16

    def error(self, status: int, message: str, kind: str = "invalid_request_error", param: str = "") -> Json:
        return {"error": {"message": message, "type": kind, "param": param or None, "code": None}}

    def unauthorized(self) -> Json:
        error = {"message": "Incorrect API key provided.", "type": "invalid_request_error", "param": None}
        return {"error": {**error, "code": "invalid_api_key"}}

    def head(self, run: Run, chunk: bool) -> Json:
        name = ("chat.completion.chunk" if chunk else "chat.completion") if run.chat else "text_completion"
        letters = f"{'chatcmpl' if run.chat else 'cmpl'}-{run.number:016x}"
        return {"id": letters, "object": name, "created": int(time.time()), "model": run.model}

    def whole(self, run: Run) -> Json:
        asked, made = run.usage
        choices = [self.choice(run, n, sample) for n, sample in enumerate(run.samples)]
        usage = {"prompt_tokens": asked, "completion_tokens": made, "total_tokens": asked + made}
        return {**self.head(run, chunk=False), "choices": choices, "usage": usage}

    def choice(self, run: Run, index: int, sample: Generated) -> Json:
        logprobs, reason = self.logprobs(run, sample), finish(sample)
        if run.chat:
            message = {"role": "assistant", "content": sample.text}
            return {"index": index, "message": message, "logprobs": logprobs, "finish_reason": reason}
        return {"text": sample.text, "index": index, "logprobs": logprobs, "finish_reason": reason}

    def events(self, run: Run) -> Iterator[Json]:
        head = self.head(run, chunk=True)
        for index, sample in enumerate(run.samples):
            if run.chat:
                yield {**head, "choices": [self._delta(index, {"role": "assistant", "content": ""})]}
            for piece in sample.pieces:
                told = self._delta(index, {"content": piece}) if run.chat else self._text(index, piece)
                yield {**head, "choices": [told]}
            last = self._delta(index, {}) if run.chat else self._text(index, "")
            yield {**head, "choices": [last | {"finish_reason": finish(sample)}]}
        if run.counts_in_stream:
            asked, made = run.usage
            usage = {"prompt_tokens": asked, "completion_tokens": made, "total_tokens": asked + made}
            yield {**head, "choices": [], "usage": usage}

    def _delta(self, index: int, delta: Json) -> Json:
        return {"index": index, "delta": delta, "logprobs": None, "finish_reason": None}

    def _text(self, index: int, text: str) -> Json:
        return {"text": text, "index": index, "logprobs": None, "finish_reason": None}

    def logprobs(self, run: Run, sample: Generated) -> Json | None:
        return _logprobs(run, sample, 0, len(sample.pieces), numbered=False)


class Vllm(Plain):
    """As vLLM 0.32.0 answers."""

    sse_type = "text/event-stream; charset=utf-8"
    fingerprint: ClassVar = {"system_fingerprint": "vllm-0.32.0-4ee1c82f"}

    def error(self, status: int, message: str, kind: str = "BadRequestError", param: str = "") -> Json:
        return {"error": {"message": message, "type": kind, "param": param or None, "code": status}}

    def unauthorized(self) -> Json:
        return {"error": "Unauthorized"}

    def _ids(self, run: Run, sample: Generated) -> list[int] | None:
        wanted = run.body.get("return_token_ids")
        return run.tokenizer.encode("".join(sample.pieces)) if wanted else None

    def whole(self, run: Run) -> Json:
        asked, made = run.usage
        usage = {"prompt_tokens": asked, "total_tokens": asked + made, "completion_tokens": made}
        details = {"prompt_tokens_details": None, "completion_tokens_details": None}
        prompt: Json = {}
        if run.chat:
            ids = run.prompt_ids if run.body.get("return_token_ids") else None
            text = run.prompt if run.body.get("return_prompt_text") else None
            prompt = {"prompt_logprobs": None, "prompt_token_ids": ids, "prompt_text": text}
        return {
            **self.head(run, chunk=False),
            "choices": [self.choice(run, n, sample) for n, sample in enumerate(run.samples)],
            "service_tier": None,
            **self.fingerprint,
            "usage": usage | details,
            **prompt,
            "kv_transfer_params": None,
            "ec_transfer_params": None,
            "metrics": None,
        }

    def choice(self, run: Run, index: int, sample: Generated) -> Json:
        ids, last = self._ids(run, sample), {"routed_experts": None}
        ended = {"finish_reason": finish(sample), "stop_reason": self._stop_reason(run, sample)}
        logprobs = self.logprobs(run, sample)
        if run.chat:
            others = dict.fromkeys(("refusal", "annotations", "audio", "function_call"))
            reasoning = "".join(sample.thinking) or None
            message = {"role": "assistant", "content": sample.text, **others, "reasoning": reasoning}
            return {"index": index, "message": message, "logprobs": logprobs, **ended, "token_ids": ids} | last
        prompt = run.prompt_ids if ids is not None else None
        told = {"token_ids": ids, "prompt_logprobs": None, "prompt_token_ids": prompt} | last
        return {"index": index, "text": sample.text, "logprobs": logprobs, **ended, **told}

    def _stop_reason(self, run: Run, sample: Generated) -> str | int | None:
        if sample.end and run.body.get("stop_token_ids"):
            number = run.tokenizer.encode(sample.end)[0]
            if number in run.body["stop_token_ids"]:
                return number
        return sample.stop

    def events(self, run: Run) -> Iterator[Json]:
        """One event a token. The samples of one request come in turns, as they are generated together."""
        head = self.head(run, chunk=True)
        if run.chat:
            told = {"prompt_token_ids": None}
            text = {"prompt_text": run.prompt if run.body.get("return_prompt_text") else None}
            for index in range(len(run.samples)):
                choice = self._delta(index, {"role": "assistant", "content": ""})
                yield {**head, "choices": [choice], **told, **text}
        waiting = [self._sample_events(run, n, sample, head) for n, sample in enumerate(run.samples)]
        while waiting:
            alive = []
            for events in waiting:
                event = next(events, None)
                if event is not None:
                    alive.append(events)
                    yield event
            waiting = alive
        if run.counts_in_stream:
            asked, made = run.usage
            usage = {"prompt_tokens": asked, "total_tokens": asked + made, "completion_tokens": made}
            yield {**head, "choices": [], "usage": usage, **self.fingerprint}

    def _sample_events(self, run: Run, index: int, sample: Generated, head: Json) -> Iterator[Json]:
        for piece in sample.thinking:
            yield {**head, "choices": [{**self._delta(index, {"reasoning": piece}), "token_ids": None}]}
        # The end token has an event of its own, without text; a stop string ends within the last token.
        pieces = [*sample.pieces, ""] if sample.reason == "stop" and sample.stop is None else sample.pieces
        pieces = pieces or [""]
        out, text = 0, ""
        for n, piece in enumerate(pieces):
            text += piece
            last = n == len(pieces) - 1
            until = len(text) if last else max(out, len(text) - run.held)
            new, out = text[out:until], until
            logprobs = self.logprobs_of(run, sample, n)
            reason = finish(sample) if last else None
            stop = {"stop_reason": self._stop_reason(run, sample) if last else None}
            if run.chat:
                told = {"index": index, "delta": {"content": new}, "logprobs": logprobs}
                told |= {"finish_reason": reason} | (stop if last else {}) | {"token_ids": None}
            else:
                told = {"index": index, "text": new, "logprobs": logprobs, "finish_reason": reason}
                told |= stop | {"prompt_token_ids": None, "token_ids": None}
            mark = self.fingerprint if last and not run.counts_in_stream else {}
            yield {**head, "choices": [told], **mark}

    def logprobs(self, run: Run, sample: Generated) -> Json | None:
        if run.chat:
            return super().logprobs(run, sample)
        return self._columns(run, sample, 0, len(sample.pieces))

    def logprobs_of(self, run: Run, sample: Generated, n: int) -> Json | None:
        if run.chat:
            return _logprobs(run, sample, n, n + 1, numbered=False)
        return self._columns(run, sample, n, n + 1)

    def _columns(self, run: Run, sample: Generated, start: int, end: int) -> Json | None:
        """Completions tell them in columns, each with the sampled token besides the best ones."""
        if run.body.get("logprobs") is None:
            return None
        pieces, logprobs = sample.pieces[start:end], sample.logprobs[start:end]
        begin = len("".join(sample.pieces[:start]))
        offsets = [begin + len("".join(pieces[:n])) for n in range(len(pieces))]
        others = [{f" {n}": -1.5 - n for n in range(run.body["logprobs"] - 1)} for _ in pieces]
        top = [{p: v} | other for p, v, other in zip(pieces, logprobs, others, strict=True)]
        return {"text_offset": offsets, "token_logprobs": logprobs, "tokens": pieces, "top_logprobs": top}


class LlamaServer(Plain):
    """As llama.cpp's server answers (recorded through xllamacpp)."""

    json_type = "application/json; charset=utf-8"
    default_max_tokens = -1

    def error(self, status: int, message: str, kind: str = "invalid_request_error", param: str = "") -> Json:
        return {"error": {"code": status, "message": message, "type": kind}}

    def unauthorized(self) -> Json:
        return self.error(401, "Invalid API Key", "authentication_error")

    def _tail(self, run: Run, chunk: bool) -> Json:
        head = self.head(run, chunk)
        return {
            "created": head["created"],
            "model": head["model"],
            "system_fingerprint": "b0-unknown",
            "object": head["object"],
        }

    def _usage(self, run: Run) -> Json:
        asked, made = run.usage
        details = {"prompt_tokens_details": {"cached_tokens": run.cached}}
        return {"completion_tokens": made, "prompt_tokens": asked, "total_tokens": asked + made} | details

    def _timings(self, run: Run) -> Json:
        asked, made = run.usage
        return {
            "cache_n": run.cached,
            "prompt_n": asked - run.cached,
            "prompt_ms": 9.5,
            "prompt_per_token_ms": 9.5 / max(1, asked - run.cached),
            "prompt_per_second": 105.2,
            "predicted_n": made,
            "predicted_ms": 8.5 * made,
            "predicted_per_token_ms": 8.5,
            "predicted_per_second": 117.6,
        }

    def whole(self, run: Run) -> Json:
        choices = [self.choice(run, n, sample) for n, sample in enumerate(run.samples)]
        letters = {"id": f"chatcmpl-{run.number:032x}", "timings": self._timings(run)}
        return {"choices": choices, **self._tail(run, chunk=False), "usage": self._usage(run), **letters}

    def choice(self, run: Run, index: int, sample: Generated) -> Json:
        logprobs, reason = self.logprobs(run, sample), finish(sample)
        if not run.chat:
            return {"text": sample.text, "index": index, "logprobs": logprobs, "finish_reason": reason}
        message: Json = {"role": "assistant", "content": sample.text}
        if sample.thinking:
            message["reasoning_content"] = "".join(sample.thinking)
        told = {"logprobs": logprobs} if logprobs else {}
        return {"finish_reason": reason, "index": index, "message": message, **told}

    def events(self, run: Run) -> Iterator[Json]:
        tail, letters = self._tail(run, chunk=True), {"id": f"chatcmpl-{run.number:032x}"}
        timings, usage = {"timings": self._timings(run)}, {"usage": self._usage(run)}
        for index, sample in enumerate(run.samples):
            if run.chat:
                yield from self._chat_events(run, index, sample, tail, letters)
                # The counts come with the last delta, or else in an event of their own.
                done: Json = {"finish_reason": finish(sample), "index": index, "delta": {}}
                yield {"choices": [done], **_before_model(tail, letters)} | ({} if run.counts_in_stream else timings)
            else:
                for n, piece in enumerate(sample.pieces):
                    told = self._text(index, piece)
                    told["logprobs"] = _logprobs(run, sample, n, n + 1, numbered=True)
                    yield {"choices": [told], **tail, **letters}
                last = self._text(index, "") | {"finish_reason": finish(sample)}
                yield {"choices": [last], **tail, **usage, **letters, **timings}
        if run.chat and run.counts_in_stream:
            yield {"choices": [], **_before_model(tail, letters), **usage, **timings}

    def _chat_events(self, run: Run, index: int, sample: Generated, tail: Json, letters: Json) -> Iterator[Json]:
        deltas: list[Json] = [{"role": "assistant", "content": None}]
        deltas += [{"reasoning_content": piece} for piece in sample.thinking]
        deltas += [{"content": piece} for piece in sample.pieces]
        silent = len(deltas) - len(sample.pieces)
        for n, delta in enumerate(deltas):
            logprobs = _logprobs(run, sample, n - silent, n - silent + 1, numbered=True) if n >= silent else None
            told = {"logprobs": logprobs} if logprobs else {}
            choice = {"finish_reason": None, "index": index, "delta": delta, **told}
            yield {"choices": [choice], **_before_model(tail, letters)}

    def logprobs(self, run: Run, sample: Generated) -> Json | None:
        return _logprobs(run, sample, 0, len(sample.pieces), numbered=True)


def _before_model(tail: Json, letters: Json) -> Json:
    """llama-server's chat events have the id in second place, its other answers near the end."""
    return {"created": tail["created"], **letters, **tail}


def finish(sample: Generated) -> str | None:
    return sample.reason or None


def _logprobs(run: Run, sample: Generated, start: int, end: int, numbered: bool) -> Json | None:
    """One entry a token; llama-server's have the token's number too."""
    if not run.body.get("logprobs"):
        return None
    wanted = run.body.get("top_logprobs", 0) if run.chat else int(run.body["logprobs"])
    entries = []
    for piece, logprob in zip(sample.pieces[start:end], sample.logprobs[start:end], strict=True):
        number = {"id": run.tokenizer.encode(piece)[0]} if numbered and piece else {}
        value = {"token": piece, "bytes": list(piece.encode()), "logprob": logprob}
        top = [{**number, **value}] * min(1, wanted)
        if sample.top and not start and not entries:
            top = [{"token": t, "bytes": list(t.encode()), "logprob": p} for t, p in sample.top.items()][:wanted]
        entries.append({**number, **value, "top_logprobs": top})
    return {"content": entries}
