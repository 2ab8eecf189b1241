"""The corpus room: records are chosen, searched, decided on and followed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from corpus.support import ids, record
from starlette.testclient import TestClient
from web.support import cards, opened, write

from magpie_ollama.corpus import lines
from magpie_ollama.corpus.decisions import Decision, Decisions
from magpie_ollama.corpus.files import folder_beside
from magpie_ollama.corpus.lock import CorpusLock
from magpie_ollama.web import corpora, pages

ROOM = "/corpus/it.jsonl"


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    path = tmp_path / "it.jsonl"
    made = [
        {"id": "a", "language": "it", "steering": "system", "confidence": 0.9},
        {"id": "b", "language": "it", "steering": "prefix", "confidence": 0.2, "known_words": 0.7},
        {"id": "c", "language": "ar", "steering": "system", "confidence": 0.5},
        {"id": "d", "language": "ar", "steering": "none", "confidence": 0.0},
    ]
    made[2]["tags"] = {"quality": "poor", "judge": "m"}
    made[1]["tags"] = {"quality": "excellent", "judge": "m"}
    write(path, *made)
    return path


def shown(client: TestClient, query: str = "") -> list[str]:
    """The places in the file of the records that a page shows, in its order."""
    return ["abcd"[card["entry"]] for card in cards(client.get(f"{ROOM}{query}").text)]


def decide(client: TestClient, entry: int, action: str, **more: Any) -> Any:
    card = next(one for one in cards(client.get(ROOM).text) if one["entry"] == entry)
    body = {key: card[key] for key in ("entry", "mark", "seen")} | {"action": action} | more
    return client.post(f"{ROOM}/decide", json=body)


def test_records_are_chosen_ordered_and_searched(corpus: Path) -> None:
    with opened(corpus.parent) as client:
        assert shown(client) == ["a", "b", "c", "d"]
        assert shown(client, "?language=it") == ["a", "b"]
        assert shown(client, "?language=ar&steering=system") == ["c"]
        assert shown(client, "?tags.quality=poor") == ["c"]
        assert shown(client, "?language=nowhere") == []
        assert shown(client, "?sort=confidence") == ["b", "c", "a", "d"], "what was not measured comes last"
        assert shown(client, "?sort=newest") == ["d", "c", "b", "a"]
        assert shown(client, "?sort=quality") == ["c", "b", "a", "d"], "what nobody judged comes last"
        assert shown(client, "?q=DOMANDA+2") == ["c"]
        assert shown(client, "?q=domanda&sort=confidence&language=it") == ["b", "a"]
        assert shown(client, "?at=3") == ["d"]
        page = client.get(f"{ROOM}?language=it").text
        assert '>ar</span> <span class="dim">2<' in page, "what else could be chosen is told with its count"


def test_under_a_search_only_what_it_found_is_counted(corpus: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with opened(corpus.parent) as client:
        page = client.get(f"{ROOM}?q=domanda+2&language=it").text
        assert '>ar</span> <span class="dim">1<' in page and ">it</span>" not in page
        assert "1 to 1 of 1 with “domanda 2”" in client.get(f"{ROOM}?q=domanda+2").text
        with corpus.open("ab") as file:
            file.write(lines.encode(lines.values(record(text="Domanda 2 di nuovo?"))))
        assert "1 to 2 of 2 with “domanda 2”" in client.get(f"{ROOM}?q=domanda+2").text
        monkeypatch.setattr(corpora, "COUNTED", -1.0)
        page = client.get(f"{ROOM}?q=domanda").text
        assert ">ar</span></a>" in page, "no number where it would be another"
        assert "5 with “domanda” among 5, looked through up to 5" in page


def test_an_experiment_opens_in_its_own_room(tmp_path: Path) -> None:
    row = {"settings": "s", "outcome": "kept", "drawn": "none", "verdict": "yes"}
    (tmp_path / "an experiment.jsonl").write_text(json.dumps(row) + "\n")
    with opened(tmp_path) as client:
        answer = client.get("/corpus/an%20experiment.jsonl")
        assert (answer.status_code, answer.headers["location"]) == (303, "/compare/an%20experiment.jsonl")


def test_a_file_that_is_no_corpus_is_told_as_what_it_is(tmp_path: Path) -> None:
    for text, told in (
        ("Some notes.", "text, which begins with &#39;Some notes.&#39;"),
        ("PAR1\0\0", "a Parquet file"),
    ):
        (tmp_path / "it.jsonl").write_text(text)
        with opened(tmp_path) as client:
            answer = client.get(ROOM)
            assert answer.status_code == 404 and f"it.jsonl is {told}" in answer.text


def test_an_endless_text_is_begun_and_left_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pages, "MOST_CHARACTERS", 30)
    write(
        tmp_path / "it.jsonl", {"id": "a", "messages": [{"role": "user", "content": "Long? " * 10}], "source": "x" * 99}
    )
    with opened(tmp_path) as client:
        (card,) = cards(client.get(ROOM).text)
        assert "Long? Long? Long? Long? Long? … (30 more characters)" in card["text"]
        assert f"{'x' * 30}… (69 more characters)" in card["text"]
        assert card["places"] == [] and 'data-act="edit"' not in card["text"]
        assert decide(client, 0, "edit", place=["messages", 0, "content"], text="x").status_code == 400


def test_a_tag_is_given(corpus: Path) -> None:
    with opened(corpus.parent) as client:
        answer = decide(client, 0, "tag", name="quality", value="good").json()
        assert answer["pending"] == {"tag": 1}
        assert shown(client, "?state=tag") == ["a"]
        assert 'title="quality">good<' in answer["record"] and 'data-act="undo"' in answer["record"]
        assert client.post(f"{ROOM}/apply", json={}).json()["told"].startswith("Applied: 1 tagged.")
        assert json.loads(corpus.read_bytes().splitlines()[0])["tags"]["quality"] == "good"
        assert decide(client, 1, "tag", name="quality", value=" ").status_code == 400
        with corpus.open("ab") as file:
            file.write(b"{no record\n")
        assert 'data-act="tag"' not in cards(client.get(ROOM).text)[4]["text"]
        assert decide(client, 4, "tag", name="quality", value="good").status_code == 400


def test_what_is_decided_is_applied_in_one_step(corpus: Path) -> None:
    before = corpus.read_bytes()
    with opened(corpus.parent) as client:
        assert decide(client, 0, "drop").json()["pending"] == {"drop": 1}
        card = cards(client.get(ROOM).text)[1]
        answer = decide(client, 1, "edit", place=card["places"][1], text="<b>Meglio</b>").json()
        assert "&lt;b&gt;Meglio&lt;/b&gt;" in answer["record"] and "<b>" not in answer["record"]
        assert decide(client, 2, "drop").status_code == 200
        assert client.post(f"{ROOM}/undo", json={}).json()["pending"] == {"drop": 1, "edit": 1}
        assert shown(client, "?state=drop") == ["a"]
        assert shown(client, "?state=edit") == ["b"]
        assert shown(client, "?state=undecided") == ["c", "d"]
        assert corpus.read_bytes() == before
        told = client.post(f"{ROOM}/apply", json={}).json()["told"]
        assert told == "Applied: 1 dropped, 1 edited. The file as it was is kept as it.jsonl.bak."
        assert ids(corpus) == ["b", "c", "d"]
        assert json.loads(corpus.read_bytes().splitlines()[0])["messages"][1]["content"] == "<b>Meglio</b>"
        assert len(cards(client.get(ROOM).text)) == 3, "a file that was replaced is indexed anew"
        assert json.loads((folder_beside(corpus) / "operations.jsonl").read_text())["removed"] == {"dropped": 1}


def test_the_second_of_two_tabs_is_told(corpus: Path) -> None:
    with opened(corpus.parent) as client:
        card = cards(client.get(ROOM).text)[0]
        body = {key: card[key] for key in ("entry", "mark", "seen")}
        assert client.post(f"{ROOM}/decide", json=body | {"action": "drop"}).status_code == 200
        second = client.post(f"{ROOM}/decide", json=body | {"action": "keep"})
        assert second.status_code == 409
        assert "Somebody else decided" in second.json()["error"] and ">dropped</span>" in second.json()["record"]
        Decisions(corpus).decide(Decision("b", "drop"))  # as `review` in a terminal does
        assert client.get(f"{ROOM}/news").json()["pending"] == {"drop": 2}


def test_what_no_page_of_ours_sends_is_refused(corpus: Path) -> None:
    with opened(corpus.parent) as client:
        card = cards(client.get(ROOM).text)[0]
        good = {key: card[key] for key in ("entry", "mark", "seen")} | {"action": "drop"}
        for wrong in (
            *(
                {"entry": -1},
                {"entry": 10**6},
                {"entry": "0"},
                {"seen": None},
                {"mark": "0" * 16},
                {"action": "delete"},
            ),
            *({"action": "edit", "place": ["id"], "text": "x"}, {"action": "tag", "name": "mood", "value": "x"}),
        ):
            answer = client.post(f"{ROOM}/decide", json=good | wrong)
            assert (answer.status_code, set(answer.json())) == (400, {"error", "next"}), wrong
        for body in (b"", b"[]", b"{", b"[" * 100_000):
            assert client.post(f"{ROOM}/decide", content=body).status_code == 400
        assert Decisions(corpus).states == {}


def test_a_corpus_that_grows_is_followed(corpus: Path) -> None:
    with opened(corpus.parent) as client:
        assert client.get(f"{ROOM}/news").json()["count"] == 4
        with corpus.open("ab") as file:
            file.write(lines.encode(lines.values(record())) + b'{"id":"half')
            file.flush()
            assert client.get(f"{ROOM}/news").json()["count"] == 5
            file.write(b'","messages":[{"role":"user","content":"Whole now?"}]}')  # a last line needs no newline
            file.flush()
            assert client.get(f"{ROOM}/news").json()["count"] == 6
            file.write(b"\n\n" + lines.encode(lines.values(record(text="Behind"))))
            file.flush()
            assert client.get(f"{ROOM}/news").json()["count"] == 7
        card = cards(client.get(f"{ROOM}?q=Behind").text)[0]
        assert (card["entry"], 'aria-label="Record 8"' in card["text"]) == (6, True)


def test_what_was_rejected_is_read_beside_it(corpus: Path) -> None:
    beside = folder_beside(corpus)
    beside.mkdir()
    row = {"messages": [{"role": "user", "content": "Why?"}, {"role": "assistant", "content": "So so so"}]}
    rows = [row | {"reason": reason} for reason in ("response_echo", "response_repetition")]
    (beside / "rejected.jsonl").write_text("".join(json.dumps(one) + "\n" for one in rows))
    with opened(corpus.parent) as client:
        address = f"{ROOM}.magpie/rejected.jsonl"
        assert f'href="{address}"' in client.get(ROOM).text
        found = cards(client.get(f"{address}?reason=response_echo").text)
        assert [card["entry"] for card in found] == [0]


def test_while_a_run_writes_nothing_is_applied(corpus: Path) -> None:
    with opened(corpus.parent) as client:
        decide(client, 0, "drop")
        lock = CorpusLock(folder_beside(corpus), corpus)
        lock.acquire()
        try:
            answer = client.post(f"{ROOM}/apply", json={})
        finally:
            lock.release()
        assert answer.status_code == 400 and "writes to" in answer.json()["error"]


def test_files_that_are_no_corpus_are_shown_as_what_they_are(tmp_path: Path) -> None:
    (tmp_path / "it.jsonl").write_bytes(b'{"a": 1}\nnot json\n\n[1, 2]\n' + b"\xff\xfe\n" + b'{"id": 7, "text": "x"}')
    (tmp_path / "empty.jsonl").write_bytes(b"")
    with opened(tmp_path) as client:
        found = cards(client.get(ROOM).text)
        assert len(found) == 5
        assert all("This line " in card["text"] for card in found)
        assert decide(client, 1, "drop").status_code == 200
        assert client.get(f"{ROOM}/charts").status_code == 200
        assert client.get("/corpus/empty.jsonl").status_code == 200
        assert client.get("/corpus/none.jsonl").status_code == 404
        assert client.post(f"{ROOM}/apply", json={}).json()["told"].startswith("Applied: 1 dropped.")
    assert (tmp_path / "it.jsonl").read_bytes() == b'{"a": 1}\n\n[1, 2]\n' + b"\xff\xfe\n" + b'{"id": 7, "text": "x"}'


VECTORS = (
    *("<script>alert(1)</script>", "<img src=x onerror=alert(1)>", "<svg onload=alert(1)>", "<iframe src=//x.example>"),
    *("<style>*{display:none}</style>", "<base href=//x.example>", "<meta http-equiv=refresh content=0>"),
    *("<form action=//x.example><button>", "<a href=javascript:alert(1)>x</a>", "<math><mtext><script>alert(1)"),
)
CONTEXTS = ("{}", '">{}', "'>{}", "</p>{}", "</textarea>{}", "</title>{}", "<!-- --!>{}", "]]>{}")
"""What may stand in front, so that what was open is closed."""

NASTY = [
    *(context.format(vector) for vector in VECTORS for context in CONTEXTS),
    *(
        "' onclick='alert(1)",
        '" onfocus="alert(1)" autofocus="',
        "{{ 777*777 }}",
        "{% raw %}",
        "${777*777}",
        "#{777*777}",
    ),
    *("javascript:alert(1)", "data:text/html,<script>", "&lt;script&gt;", "&#60;script&#62;", "\\u003cscript\\u003e"),
    *(
        "\x00\x01\x1b[2J",
        "\u202eevil",
        "\u2066x",
        "\u200b",
        "\ud83d",
        "a" * 5000,
        "<" * 1500,
        "\n" * 50,
        "\u2028<script>",
    ),
    *("+ADw-script+AD4-", "%3Cscript%3E", "../../etc/passwd", "constructor", "__proto__", "null", "-1", " ", "", "\\"),
]


def test_a_nasty_text_in_any_field_is_a_text(tmp_path: Path) -> None:
    keys = ("id", "language", "model", "steering", "topic", "source", "reason", "finish_reason", "server", "run")
    rows: list[dict[str, Any]] = []
    for text in NASTY:
        made = dict.fromkeys(keys, text) | {text or "k": text, "tags": {"quality": text, text: text}}
        turns = [{"role": role, "content": f"{text} {role}"} for role in (text, "system", "user", "assistant")]
        rows.append(made | {"messages": turns[1:], "reasoning": text})
        rows.append({"instruction": text, "output": text, "input": f"{text}!"} if len(rows) % 4 == 1 else made)
    assert len(NASTY) >= 100
    (tmp_path / "it.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    with opened(tmp_path) as client:
        paths = [f"?at={at}" for at in range(0, len(rows), 20)]
        for path in (*paths, "/charts", "?q=script", "?q=<b>", "?language=<script>", "/record/0"):
            page = client.get(f"{ROOM}{path}")
            assert page.status_code == 200, path
            body = page.text.replace('<script type="module" src="/static/page.js"></script>', "")
            for tag in (
                "<script",
                "<img src=x",
                "<style",
                "<svg onload",
                "<iframe",
                "<base",
                "onclick='",
                "<b>",
                "603729",
            ):
                assert tag not in body, (tag, path)
            assert not any(char in body for char in "\x00\x1b\u202e\u2066"), path
            assert 'href="javascript:' not in body
        assert sum(len(cards(client.get(f"{ROOM}{path}").text)) for path in paths) == len(rows)


def test_the_names_of_files_are_texts_too(tmp_path: Path) -> None:
    name = "<img src=x onerror=alert(1)> \"'&?#.jsonl"
    write(tmp_path / name, {"id": "a"})
    with opened(tmp_path) as client:
        page = client.get("/corpus").text
        assert "<img src=x" not in page
        address = page.partition('href="/corpus/')[2].partition('"')[0]
        assert len(cards(client.get(f"/corpus/{address}").text)) == 1
