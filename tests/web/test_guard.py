"""Only this machine's own browser, on the page itself, may ask and change."""

from __future__ import annotations

from pathlib import Path

import pytest
from starlette.testclient import TestClient
from web.support import HERE, opened, write

from magpie_ollama.servers.base import ServerChoice
from magpie_ollama.web.app import application
from magpie_ollama.web.guard import HEADERS, LARGEST, TOKEN_HEADER, Access

DECIDE = "/corpus/it.jsonl/decide"


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    write(tmp_path / "it.jsonl", {"id": "a"})
    return tmp_path


@pytest.mark.parametrize(
    "host", ["evil.example", "evil.example:8427", "127.0.0.1.evil.example", "192.168.1.2", "", "[::1"]
)
def test_a_name_that_leads_here_is_not_ours(corpus: Path, host: str) -> None:
    with opened(corpus) as client:
        assert client.get("/corpus/it.jsonl", headers={"host": host}).status_code == 421


@pytest.mark.parametrize("host", ["127.0.0.1:8427", "localhost:9", "[::1]:8427", "localhost"])
def test_the_loopbacks_own_names_are(corpus: Path, host: str) -> None:
    with opened(corpus) as client:
        assert client.get("/corpus/it.jsonl", headers={"host": host}).status_code == 200


@pytest.mark.parametrize("origin", ["https://evil.example", "null", "http://127.0.0.1:9999", "https://127.0.0.1:8427"])
def test_no_other_site_reads_or_writes(corpus: Path, origin: str) -> None:
    with opened(corpus) as client:
        assert client.get("/corpus/it.jsonl/news", headers={"origin": origin}).status_code == 403
        assert client.post(DECIDE, json={}, headers={"origin": origin}).status_code == 403


def test_nothing_changes_without_the_pages_token(corpus: Path) -> None:
    with opened(corpus) as client:
        for token in ("", "x" * 43, "é"):
            headers = [(TOKEN_HEADER, token.encode()), ("origin", HERE.encode())]
            assert client.post(DECIDE, json={}, headers=headers).status_code == 403  # type: ignore[arg-type]
        assert client.post(DECIDE, json={}, headers={"sec-fetch-site": "cross-site"}).status_code == 403
        assert client.put(DECIDE, json={}).status_code == 403
        assert client.get(DECIDE).status_code == 404  # nothing is decided by a link
        assert client.post(DECIDE, content=b"x" * (LARGEST + 1)).status_code == 413
        assert client.post(DECIDE, json={}).status_code == 400


def test_every_answer_forbids_what_no_page_of_ours_does(corpus: Path) -> None:
    with opened(corpus) as client:
        for path in ("/try", "/corpus/it.jsonl", "/corpus/none.jsonl", "/static/page.js", "/nowhere"):
            answer = client.get(path)
            assert {name: answer.headers.get(name) for name in HEADERS} == HEADERS, path
            assert "<script>" not in answer.text and " style=" not in answer.text and "onclick" not in answer.text
        assert "unsafe" not in HEADERS["Content-Security-Policy"]


@pytest.mark.parametrize(
    "name",
    [
        *("../secret.jsonl", "..%2fsecret.jsonl", "%2e%2e/secret.jsonl", "sub/../../secret.jsonl", "/etc/passwd"),
        *("out.jsonl", "folder/secret.jsonl", ".hidden.jsonl", "notes.txt", "it.jsonl%00.jsonl", "..\\secret.jsonl"),
        *(f"{'a' * 5000}.jsonl", f"{'a/' * 3000}x.jsonl"),
    ],
)
def test_paths_stay_inside_the_folder(tmp_path: Path, name: str) -> None:
    write(tmp_path / "secret.jsonl", {"id": "secret"})
    inside = tmp_path / "inside"
    inside.mkdir()
    write(inside / "it.jsonl", {"id": "a"})
    write(inside / ".hidden.jsonl", {"id": "hidden"})
    (inside / "notes.txt").write_text("{}")
    (inside / "out.jsonl").symlink_to(tmp_path / "secret.jsonl")
    (inside / "folder").symlink_to(tmp_path)
    with opened(inside) as client:
        for path in (f"/corpus/{name}", f"/corpus/{name}/news", f"/compare/{name}"):
            assert client.get(path).status_code in (303, 404)
        assert "secret" not in client.get("/corpus").text


def test_on_another_address_the_token_is_asked_for_once(corpus: Path) -> None:
    access = Access.to("0.0.0.0")
    app = application(corpus, access, ServerChoice())
    with TestClient(app, base_url="http://192.168.1.2:8427", follow_redirects=False) as client:
        assert client.get("/corpus").status_code == 401
        assert client.get("/corpus?token=wrong").status_code == 401
        assert client.get("/corpus", headers={"host": "evil.example"}).status_code == 421
        answer = client.get(f"http://192.168.1.2:8427//evil.example/corpus?q=a&token={access.token}")
        assert (answer.status_code, answer.headers["location"]) == (303, "/evil.example/corpus?q=a")
        cookie = answer.headers["set-cookie"].lower()
        assert "httponly" in cookie and "samesite=lax" in cookie and access.token.lower() not in cookie
        assert client.get("/corpus").status_code == 200
        assert client.post(DECIDE, json={}).status_code == 403  # the cookie alone changes nothing
    assert Access.to("127.0.0.1").token == Access.to("::1").token == Access.to("localhost").token == ""
