"""Pages that stand alone, to send to somebody."""

from __future__ import annotations

import json
from html.parser import HTMLParser
from pathlib import Path

import pytest
from commands.support import Runner, check_error
from web.support import write

from magpie_ollama.web import charts, pages


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], tmp_path: Path) -> Runner:
    monkeypatch.chdir(tmp_path)
    return Runner(monkeypatch, capfd)


class _Parsed(HTMLParser):
    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.fetched: list[str] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.fetched += [f"{name}={value}" for name, value in attrs if name in ("src", "href", "style", "onload")]


def test_a_corpus_as_one_page(run: Runner) -> None:
    evil = "<script>alert(1)</script><img src=//evil.example>"
    write(Path("ar.jsonl"), {"language": "ar"}, {"messages": [{"role": "user", "content": evil}] * 2})
    assert run("view", "ar.jsonl", "--html", "ar.html").code == 0
    page = Path("ar.html").read_text("utf-8")
    parsed = _Parsed(page)
    assert parsed.fetched == [] and not {"script", "img", "link", "iframe"} & set(parsed.tags)
    assert parsed.tags.count("article") == 2
    assert 'dir="auto" lang="ar"' in page and "&lt;script&gt;" in page
    assert run("view", "ar.jsonl", "--start", 2, "--html", "-").out.count("<article") == 1
    assert run("view", "ar.jsonl", "--html", "ar.html").code == 0, "a page may be written anew"
    check_error(run("view", "ar.jsonl", "--html", "ar.jsonl"), 2, "ar.jsonl is there already", "--html")


def test_it_ends_at_5000_and_says_so(run: Runner) -> None:
    row = json.dumps({"instruction": "Why?", "output": "So."})
    Path("many.jsonl").write_text(f"{row}\n" * 30)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pages, "MOST", 20)
        page = run("view", "many.jsonl", "--html", "-").out
    assert page.count("<article") == 20 and "the first 20 are here" in page


def test_statistics_as_one_page(run: Runner) -> None:
    write(Path("it.jsonl"), *({"confidence": value, "steering": "<b>x"} for value in (0.31, 0.38, 0.7)))
    done = run("stats", "it.jsonl", "--html", "-")
    assert done.code == 0
    assert _Parsed(done.out).fetched == [] and "<b>" not in done.out
    assert done.out.count("<figure") >= 4 and "Italian" in done.out
    assert "Variety of the instructions" in done.out and "as various as" in done.out
    assert "2 (66.7 %)" in done.out, "both between 0.3 and 0.4"


def test_bars_of_different_values_are_of_different_widths() -> None:
    bars = charts.intervals(
        [("a", 7.1, (6.0, 8.0), False), ("b", 7.2, (6.5, 8.5), True), ("c", 0.0, (0.0, 0.1), False)]
    )
    widths = [bar.width for bar in bars]
    assert len(set(widths)) == 3 and max(bar.high or 0 for bar in bars) == 100.0
    assert [bar.best for bar in bars] == [False, True, False]
