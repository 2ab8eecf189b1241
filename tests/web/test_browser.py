"""The page in a real browser, headless Chromium: skipped where there is none, unless BROWSER_TESTS requires it."""

from __future__ import annotations

import json
import os
import shutil
import socket
import threading
import time
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import uvicorn
from fake_ollama import Ask, FakeModel, FakeOllama, Reply, chatml
from run.support import ANSWER, QUESTION
from selenium import webdriver
from selenium.common.exceptions import WebDriverException
from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from web.support import write
from web.test_corpora import NASTY

from magpie_ollama.corpus.decisions import Decision, Decisions
from magpie_ollama.servers.base import ServerChoice
from magpie_ollama.web.app import application
from magpie_ollama.web.guard import Access

CHROMIUM, DRIVER = shutil.which("chromium"), shutil.which("chromedriver")
REQUIRED = os.environ.get("BROWSER_TESTS") == "required"
pytestmark = pytest.mark.skipif(not ((CHROMIUM and DRIVER) or REQUIRED), reason="no chromium and chromedriver")


class Browser:
    def __init__(self, driver: Any, url: str, fake: FakeOllama) -> None:
        self.driver = driver
        self.url = url
        self.fake = fake

    def open(self, path: str, width: int = 1280, dark: bool = False) -> None:
        size = {"width": width, "height": 800, "deviceScaleFactor": 1, "mobile": width < 500}
        self.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [scheme]})
        self.driver.get_log("browser")  # what was told until now
        self.driver.get(f"{self.url}{path}")

    def all(self, selector: str) -> list[Any]:
        return list(self.driver.find_elements(By.CSS_SELECTOR, selector))

    def press(self, *keys: str) -> None:
        for key in keys:
            self.driver.switch_to.active_element.send_keys(key)

    def ask(self, script: str) -> Any:
        return self.driver.execute_script(f"return {script}")

    def until(self, condition: Callable[[], object]) -> None:
        end = time.monotonic() + 30
        while True:
            try:
                if condition():
                    return
            except (WebDriverException, IndexError):
                pass  # the page is being replaced
            assert time.monotonic() < end, self.driver.page_source[-3000:]
            time.sleep(0.02)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("corpora")


@pytest.fixture(scope="module")
def browser(folder: Path) -> Iterator[Browser]:
    def script(ask: Ask) -> Reply:
        return Reply(ANSWER if ask.kind == "chat" else QUESTION)

    options = webdriver.ChromeOptions()
    options.binary_location = CHROMIUM
    for argument in ("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"):
        options.add_argument(argument)
    with (
        pytest.MonkeyPatch.context() as patch,
        FakeOllama(models=[FakeModel("m:1b", template=chatml())], script=script) as fake,
        socket.socket() as listening,
    ):
        patch.setenv("XDG_DATA_HOME", str(folder / "home"))
        listening.bind(("127.0.0.1", 0))
        app = application(folder, Access(), ServerChoice("ollama", fake.url))
        server = uvicorn.Server(uvicorn.Config(app, log_level="critical", timeout_graceful_shutdown=1))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]}, daemon=True)
        thread.start()
        driver = webdriver.Chrome(options=options, service=webdriver.ChromeService(DRIVER))
        try:
            yield Browser(driver, f"http://127.0.0.1:{listening.getsockname()[1]}", fake)
        finally:
            driver.quit()
            server.should_exit = True
            thread.join(10)


def test_a_corpus_is_cleaned_by_the_keyboard_alone(browser: Browser, folder: Path) -> None:
    corpus = folder / "keys.jsonl"
    write(corpus, *({"id": name} for name in "abcd"))
    browser.open("/corpus/keys.jsonl")
    current = "document.activeElement.getAttribute('aria-label')"
    browser.press("n", "n")
    assert browser.ask(current) == "Record 2"
    assert browser.ask("getComputedStyle(document.activeElement).outlineStyle") != "none", "where one is, is seen"
    browser.press("d")
    browser.until(lambda: browser.all(".record.drop"))
    ActionChains(browser.driver).send_keys("p", "k", "n").perform()  # quicker than the answer
    browser.until(lambda: browser.all(".record.keep"))
    assert browser.ask(current) == "Record 2", "who went on is not called back"
    browser.press("n", "d")
    browser.until(lambda: len(browser.all(".record.drop")) == 2)
    browser.press("u")
    browser.until(lambda: len(browser.all(".record.drop")) == 1)
    browser.press("e")
    browser.until(lambda: browser.ask("document.activeElement.tagName") == "TEXTAREA")
    browser.press(Keys.CONTROL + "a" + Keys.NULL, "Meglio.")
    browser.press(Keys.CONTROL + Keys.ENTER)
    browser.until(lambda: "Meglio." in browser.all(".record")[2].text)
    browser.press("t", Keys.TAB, "good", Keys.ENTER)
    browser.until(lambda: "good" in browser.all(".record")[2].find_element(By.CLASS_NAME, "tag").text)
    browser.press("/")
    assert browser.ask("document.activeElement.name") == "q"
    browser.press(Keys.TAB, Keys.ARROW_DOWN, Keys.ARROW_DOWN)
    assert browser.ask("document.activeElement.value") == "confidence", "the page stays while an order is chosen"
    browser.driver.find_element(By.ID, "apply").send_keys(Keys.ENTER)
    browser.until(lambda: "Applied: 1 dropped, 1 edited, 1 tagged, 1 kept" in browser.all("#told")[0].text)
    rows = [json.loads(line) for line in corpus.read_bytes().splitlines()]
    assert [row["id"] for row in rows] == ["a", "c", "d"]
    assert rows[1]["messages"][1]["content"] == "Meglio."
    assert rows[1]["tags"]["quality"] == "good"


def test_an_edit_keeps_what_a_page_cannot_show(browser: Browser, folder: Path) -> None:
    rows = [{"instruction": "Tab?", "output": "if x:\n\treturn '\u202eab\u200f'\x00"}]
    (folder / "tab.jsonl").write_text(json.dumps(rows[0]) + "\n")
    browser.open("/corpus/tab.jsonl")
    assert "\\u202eab" in browser.all(".response .words")[0].text
    browser.press("n", "e")
    browser.press(" # so")
    browser.press(Keys.CONTROL + Keys.ENTER)
    decided = Decisions(folder / "tab.jsonl")
    browser.until(lambda: decided.refresh() or decided.states)
    assert list(decided.state("line 1").edits.values()) == [rows[0]["output"] + " # so"]


def test_the_second_tab_is_told_and_shown_what_was_decided(browser: Browser, folder: Path) -> None:
    corpus = folder / "tabs.jsonl"
    write(corpus, {"id": "a"})
    browser.open("/corpus/tabs.jsonl")
    Decisions(corpus).decide(Decision("a", "drop"))
    browser.press("n", "k")
    browser.until(lambda: "Somebody else decided" in browser.all("#told")[0].text)
    assert browser.all(".record.drop")


def test_a_model_is_tried_and_what_it_writes_kept(browser: Browser, folder: Path) -> None:
    browser.open("/try")
    browser.until(lambda: browser.ask("document.querySelector('[name=model]').value") == "m:1b")
    browser.ask("document.querySelector('[name=steering]').value = 'none'")
    browser.driver.find_element(By.ID, "go").send_keys(Keys.ENTER)
    browser.until(lambda: browser.all(".verdict.kept"))
    shown = browser.all(".attempt")[0].text
    assert QUESTION in shown and ANSWER in shown
    assert "magpie-ollama generate -l en" in browser.ask("document.querySelector('.attempt code').textContent")
    assert browser.all("mark.template")
    for action in ("keep", "up"):
        browser.driver.find_element(By.CSS_SELECTOR, f".attempt [data-keep={action}]").send_keys(Keys.ENTER)
        browser.until(lambda action=action: browser.all(f".attempt [data-keep={action}]:disabled"))  # type: ignore[misc]
    browser.until(lambda: (folder / "tried.jsonl").is_file() and (folder / "tried-kto.jsonl").is_file())


def test_stopping_frees_the_servers_slot(browser: Browser, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(browser.fake, "script", lambda ask: Reply(" word" * 2000, delay=0.02))
    browser.open("/try")
    browser.driver.find_element(By.ID, "go").send_keys(Keys.ENTER)
    browser.until(lambda: "word word" in browser.all(".attempt .instruction")[0].text)
    writing = [one for one in browser.fake.requests if one.generation >= 0][-1]
    assert not writing.cancelled
    browser.driver.find_element(By.ID, "stop").send_keys(Keys.ENTER)
    browser.fake.wait_until(lambda: writing.cancelled)
    browser.until(lambda: browser.all(".verdict")[0].text == "Stopped.")


@pytest.fixture(scope="module")
def every(folder: Path) -> list[str]:
    """A page of each kind."""
    write(folder / "ar.jsonl", *({"language": "ar", "tags": {"quality": "good"}} for _ in range(3)))
    text = (folder / "ar.jsonl").read_text().replace("Domanda", "سؤال")
    (folder / "ar.jsonl").write_text(text)
    rows = [{"instruction": f"{text} {'w' * 400}", "output": text, "k": text} for text in NASTY]
    (folder / "nasty.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    tried = {
        "settings": "s",
        "model": "m:1b",
        "language": "it",
        "steering": "system",
        "seed": 1,
        "drawn": "system",
        "verdict": "yes",
        "complete": True,
        "confidence": 0.5,
        "tokens": 20,
        "response_tokens": 0,
        "seconds": 1.0,
    }
    lines = [
        tried
        | {"index": at, "outcome": ("kept", "run_on")[at % 3 == 0], "text": f"Testo {at} {NASTY[at]}", "response": ""}
        for at in range(12)
    ]
    (folder / "experiment.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    pages = ("ar.jsonl", "nasty.jsonl", "ar.jsonl/charts")
    return ["/try", "/corpus", *(f"/corpus/{name}" for name in pages), "/compare", "/compare/experiment.jsonl", "/none"]


def test_on_paper_bars_stand_and_words_are_dark(browser: Browser, every: list[str]) -> None:
    browser.open("/corpus/ar.jsonl/charts")
    dark = [{"name": "prefers-color-scheme", "value": "dark"}]
    browser.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": "print", "features": dark})
    assert browser.ask("document.querySelector('rect.bar').getBoundingClientRect().width") > 100
    assert browser.ask("getComputedStyle(document.querySelector('.title')).color") == "rgb(26, 34, 48)"
    assert browser.ask("getComputedStyle(document.querySelector('header.top')).display") == "none"
    browser.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": ""})


def test_every_page_is_whole_on_a_telephone_and_runs_nothing_of_others(browser: Browser, every: list[str]) -> None:
    for path in every:
        browser.open(path, width=360)
        assert browser.ask("document.documentElement.scrollWidth") <= 360, path
        assert browser.ask("document.querySelectorAll('script, img[src=x], iframe').length") == 1, path
        errors = [entry["message"] for entry in browser.driver.get_log("browser") if "404" not in entry["message"]]
        assert errors == [], path
    browser.open("/corpus/ar.jsonl")
    assert browser.ask("getComputedStyle(document.querySelector('.instruction .words')).direction") == "rtl"
    assert browser.ask("document.querySelector('.instruction .words').lang") == "ar"


@pytest.fixture(scope="module")
def axe() -> str:
    """The accessibility checker axe-core, out of a package whose own dependencies are not needed."""
    found = find_spec("axe_playwright_python")
    if found is None or found.origin is None:
        (pytest.fail if REQUIRED else pytest.skip)("pip install --no-deps axe-playwright-python")
    return Path(found.origin).with_name("axe.min.js").read_text("utf-8")


def test_a_checker_of_accessibility_finds_nothing(browser: Browser, every: list[str], axe: str) -> None:
    def look() -> list[str]:
        browser.driver.execute_script(axe)
        return browser.driver.execute_async_script(  # type: ignore[no-any-return]
            "axe.run().then(found => arguments[0](found.violations.map(one => "
            "one.id + ': ' + one.nodes.slice(0, 2).map(node => node.html).join(' | '))))"
        )

    found = {}
    for path in ("/try", "/corpus/ar.jsonl", "/corpus/ar.jsonl/charts", "/compare/experiment.jsonl"):
        for dark in (False, True):
            browser.open(path, width=360 if dark else 1280, dark=dark)
            found[path, dark] = look()
    browser.open("/corpus/ar.jsonl")
    for key, shown in (("d", ".record.drop"), ("t", "#tagging[open]")):
        browser.press(*(("n", key) if key == "d" else (key,)))
        browser.until(lambda shown=shown: browser.all(shown))  # type: ignore[misc]
        found[shown, False] = look()
    browser.open("/try")
    browser.until(lambda: browser.ask("document.querySelector('[name=model]').value") == "m:1b")
    browser.driver.find_element(By.NAME, "two").send_keys(Keys.SPACE)
    browser.driver.find_element(By.ID, "go").send_keys(Keys.ENTER)
    browser.until(lambda: len(browser.all(".verdict:not(:empty)")) == 2)
    found["two", False] = look()
    assert {key: broken for key, broken in found.items() if broken} == {}
