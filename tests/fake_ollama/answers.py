"""The bodies and lines that Ollama answers generation with: same keys, same order, same things left out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from . import gojson
from .faults import Fault
from .generation import Generated
from .models import FakeModel

Json = dict[str, Any]


@dataclass(slots=True)
class Job:
    """One request that generates, checked and ready to run. `cut`: its prompt was over the context."""

    path: str
    body: Json
    model: FakeModel
    messages: Sequence[Mapping[str, Any]]
    prompt: str
    raw: bool
    new_engine: bool
    options: Mapping[str, Any] = field(default_factory=dict)
    think: bool = False
    load_duration: int = 900_000
    prompt_tokens: int = 0
    cut: bool = False

    @property
    def chat(self) -> bool:
        return self.path == "/api/chat"


def envelope(job: Job, text: str, thinking: str = "", done_reason: str = "") -> Json:
    told = {"thinking": thinking} if thinking else {}
    if job.chat:
        inside: Json = {"message": {"role": "assistant", "content": text, **told}}
    else:
        inside = {"response": text, **told}
    last = {"done_reason": done_reason} if done_reason else {}
    head = {"model": job.body["model"], "created_at": gojson.now()}
    return {**head, **inside, "done": bool(done_reason), **last}


def rendered(job: Job) -> Json:
    """The answer to `_debug_render_only`: not done, and nobody speaks."""
    inside: Json = {"message": {"role": "", "content": ""}} if job.chat else {"response": ""}
    head = {"model": job.body["model"], "created_at": gojson.now()}
    return {**head, **inside, "done": False, "_debug_info": {"rendered_template": job.prompt}}


def finish(job: Job, made: Generated, done: Json, logprobs: list[Json]) -> Json:
    """Adds the counts. The old engine times from the first token on, and Go leaves out a 0."""
    spent = (made.tokens - 1) * 8_000_000
    evaluation = max(spent, 1000) if job.new_engine else spent
    if not job.raw and not job.chat:
        done["context"] = job.model.tokenizer.encode(job.prompt + made.text)
    counts = {
        "total_duration": job.load_duration + 7_000_000 + evaluation,
        "load_duration": job.load_duration,
        "prompt_eval_count": job.prompt_tokens,
        "prompt_eval_duration": 7_000_000,
        "eval_count": made.tokens,
        "eval_duration": evaluation,
    }
    counted = {key: value for key, value in counts.items() if value}
    told: Json = {"logprobs": logprobs} if logprobs else {}
    return {**done, **told, **counted} if job.chat else {**done, **counted, **told}


def body(job: Job, made: Generated, fault: Fault | None, logprobs: bool) -> bytes:
    """The answer of a request that does not stream; two faults are bodies of their own."""
    if fault is not None and fault.kind == "incomplete_nothing":
        text: Json = {"message": {"role": "", "content": ""}} if job.chat else {"response": ""}
        return gojson.dumps({"model": "", "created_at": "0001-01-01T00:00:00Z", **text, "done": False})
    thinking = "".join(made.thinking)
    if fault is not None and fault.kind == "incomplete_part":
        return gojson.dumps(envelope(job, "".join(made.pieces[: fault.after]), thinking))
    entries = _logprobs(job, made) if logprobs else []
    return gojson.dumps(finish(job, made, envelope(job, made.text, thinking, made.reason), entries))


def lines(job: Job, made: Generated, logprobs: bool) -> list[bytes]:
    """A line a token, cut from a pattern so that nothing is built twice, and the last one with the counts."""
    hole = "\0"
    made_lines: list[bytes] = []
    for pieces, pattern in (
        (made.thinking, envelope(job, "", hole)),
        (made.pieces, envelope(job, hole)),
    ):
        if pieces:
            head, tail = gojson.dumps(pattern).split(b'"\\u0000"')
            tail += b"\n"
            made_lines += [head + gojson.quoted(piece) + tail for piece in pieces]
    if logprobs:
        for at, entry in enumerate(_logprobs(job, made), start=len(made.thinking)):
            # A letter of several tokens has an entry for each on the old engine, and one in all on the new.
            many = 1 if job.new_engine or entry["token"].isascii() else made.parts
            made_lines[at] = made_lines[at][:-2] + b',"logprobs":' + gojson.dumps([entry] * many) + b"}\n"
    last = finish(job, made, envelope(job, "", "", made.reason), [])
    return [*made_lines, gojson.dumps(last) + b"\n"]


def _logprobs(job: Job, made: Generated) -> list[Json]:
    top = job.body.get("top_logprobs", 0)
    entries: list[Json] = []
    for piece, logprob in zip(made.pieces, made.logprobs, strict=False):
        entry: Json = {"token": piece, "logprob": logprob, "bytes": list(piece.encode())}
        others = [{"token": f" w{n}", "logprob": logprob - n, "bytes": list(b" w%d" % n)} for n in range(1, top)]
        if made.top and not entries:
            told = [{"token": one, "logprob": value, "bytes": list(one.encode())} for one, value in made.top.items()]
            entries.append({**entry, "top_logprobs": told[:top]} if top else entry)
            continue
        entries.append({**entry, "top_logprobs": [entry, *others]} if top else entry)
    return entries
