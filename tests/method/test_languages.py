"""Languages as data: every file loads, is what it says it is, and is found by all of its names."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from lingua import Language as Lingua
from lingua import LanguageDetector, LanguageDetectorBuilder

from magpie_ollama import prompts
from magpie_ollama.errors import UnknownLanguage, UsageError
from magpie_ollama.method import detection, languages
from magpie_ollama.method.languages import OPENER_KINDS, Language

CODES = languages.codes()
SEED = ("en", "es", "de", "it", "nl", "fr", "pt", "ja")
EXCEPTIONS: dict[tuple[str, str], str] = {}
"""Texts that a detector takes for another language, by code and key, each with the reason; at most 2 %."""

CODES_OF_LINGUA = {"bs": ("bs", "hr"), "no": ("nb", "nn"), "pt-BR": ("pt",), "zh-Hant": ("zh",)}
"""Where lingua names a language by its standards, or a standard by its language."""


@cache
def lingua() -> LanguageDetector:
    # Trigrams suffice for texts of this length, take 160 MB instead of 1.2 GB, and a third of the time.
    return LanguageDetectorBuilder.from_all_languages().with_low_accuracy_mode().build()


def texts(language: Language) -> Iterator[tuple[str, str]]:
    yield "system", language.system
    yield "system_multi_turn", language.system_multi_turn
    yield "openers", " ... ".join(opener for group in language.openers.values() for opener in group)
    for number, exemplar in enumerate(language.exemplars, 1):
        yield f"exemplars[{number}]", f"{exemplar.instruction} {exemplar.response}"


def test_the_seed_articles_languages_are_there() -> None:
    assert set(SEED) <= set(CODES)
    assert len(CODES) >= 50


@pytest.mark.parametrize("code", CODES)
def test_a_language_is_complete(code: str) -> None:
    language = languages.load(code)
    assert language.code == code
    assert set(language.openers) == set(OPENER_KINDS)
    openers = [opener for group in language.openers.values() for opener in group]
    assert len(openers) >= 24
    assert len(openers) == len({opener.casefold() for opener in openers})
    assert [opener for opener in openers if opener != opener.strip() or opener[-1] in ".?!。？！،؟"] == []
    assert len(language.exemplars) >= 8
    for field in ("instruction", "response"):
        values = [getattr(exemplar, field) for exemplar in language.exemplars]
        assert len(values) == len({value.casefold() for value in values})
        assert all(value == value.strip() for value in values)
    assert language.prefix == language.prefix.lower().strip()
    assert language.prefix.endswith(":")
    assert language.system != language.system_multi_turn


@pytest.mark.parametrize("code", CODES)
def test_its_texts_are_in_the_language_by_two_detectors(code: str) -> None:
    language = languages.load(code)
    known = {name.iso_code_639_1.name.lower() for name in Lingua.all()}
    wanted = set(CODES_OF_LINGUA.get(code, (code,)))
    for key, text in texts(language):
        if (code, key) in EXCEPTIONS:
            continue
        assert detection.check(text, code, scripts=language.scripts) is detection.Verdict.YES, key
        if wanted & known:
            found = lingua().detect_language_of(text)
            assert found is not None, key
            assert found.iso_code_639_1.name.lower() in wanted, key


def test_there_are_few_exceptions_and_each_has_its_text() -> None:
    keys = [(code, key) for code in CODES for key, _ in texts(languages.load(code))]
    assert set(EXCEPTIONS) <= set(keys)
    assert len(EXCEPTIONS) <= 0.02 * len(keys)
    assert all(EXCEPTIONS.values())


@pytest.mark.parametrize("code", CODES)
def test_a_language_is_found_by_all_of_its_names(code: str) -> None:
    for name in languages.load(code).names:
        for form in (name, name.lower(), name.upper(), f" {name.title()} "):
            if form.casefold().strip() == name.casefold():  # "İ" has no one lower case
                assert languages.find(form).code == code


@pytest.mark.parametrize(
    ("name", "code"),
    [("it", "it"), ("Italian", "it"), ("italiano", "it"), ("DEUTSCH", "de"), ("日本語", "ja"), ("nb", "no"),
     ("Bokmål", "no"), ("Mandarin", "zh"), ("fil", "tl"), ("en-GB", "en"), ("pt_PT", "pt"), ("español", "es"),
     ("zh-Hant", "zh-Hant"), ("ZH_HANT", "zh-Hant"), ("zh-TW", "zh-Hant"), ("zh_HK", "zh-Hant"),
     ("zh-Hant-TW", "zh-Hant"), ("繁體中文", "zh-Hant"), ("pt-BR", "pt-BR"), ("pt_br", "pt-BR"), ("PT-BR", "pt-BR"),
     ("Português do Brasil", "pt-BR"), ("nn", "nn"), ("Nynorsk", "nn"), ("nn_NO", "nn"), ("bs", "bs"),
     ("bosanski", "bs"), ("bs-BA", "bs"), ("makedonski", "mk"), ("hinglish", "hi-Latn"),
     ("hi_Latn", "hi-Latn"), ("Romanized Hindi", "hi-Latn"), ("hi", "hi")],
)  # fmt: skip
def test_names_that_people_type(name: str, code: str) -> None:
    assert languages.find(name).code == code


@pytest.mark.parametrize(
    ("name", "offered"), [("italain", "it (Italian)"), ("Espanol", "es (Spanish)"), ("germn", "de (German)")]
)
def test_an_unknown_name_gives_the_nearest(name: str, offered: str) -> None:
    with pytest.raises(UnknownLanguage) as caught:
        languages.find(name)
    assert repr(name) in caught.value.cause
    assert offered in caught.value.remedy
    assert "--language-file" in caught.value.remedy


@pytest.mark.parametrize(
    ("name", "there"),
    [("zh-Hant-US", "zh-Hant"), ("zh-Latn", "zh"), ("zh_XX", "zh"), ("sr-Latn", "sr"), ("ur-Latn", "ur"),
     ("pt-AO", "pt"), ("es-MX", "es"), ("es-419", "es"), ("eng-XX", "en")],
)  # fmt: skip
def test_another_script_or_standard_is_refused_and_what_there_is_named(name: str, there: str) -> None:
    with pytest.raises(UnknownLanguage, match=f"only for {there} ") as caught:
        languages.find(name)
    assert f"-l {there}," in caught.value.remedy


@pytest.mark.parametrize("name", ["cnr", "sh"])
def test_a_standard_of_its_own_is_not_taken_for_its_neighbour(name: str) -> None:
    with pytest.raises(UnknownLanguage):
        languages.find(name)


def test_a_code_is_near_to_no_other() -> None:
    with pytest.raises(UnknownLanguage) as caught:
        languages.find("qa")
    assert "did you mean" not in caught.value.remedy


@pytest.mark.parametrize("name", ["", "qqqqqq", "🙂", "\x00"])
def test_a_name_that_is_near_to_none(name: str) -> None:
    with pytest.raises(UnknownLanguage) as caught:
        languages.find(name)
    assert "did you mean" not in caught.value.remedy
    assert "`magpie-ollama languages`" in caught.value.remedy


def own(tmp_path: Path, changed: str, value: Any = None) -> Path:
    """Italian's file with one line changed, or left out where ``value`` is None."""
    lines = (prompts.folder("languages") / "it.toml").read_text(encoding="utf-8").splitlines()
    at = next(n for n, line in enumerate(lines) if line.startswith(f"{changed} ="))
    lines[at : at + 1] = [] if value is None else [f"{changed} = {value}"]
    path = tmp_path / "own.toml"
    path.write_text("\n".join(lines), encoding="utf-8")
    return path


@pytest.mark.parametrize(
    ("key", "named"),
    [
        *((key, key) for key in ("code", "english", "native", "aliases", "scripts", "spaces", "prefix", "register")),
        *((key, key) for key in ("system", "system_multi_turn")),
        *((kind, f"openers.{kind}") for kind in OPENER_KINDS),
        ("instruction", "exemplars[1].instruction"),
        ("response", "exemplars[1].response"),
    ],
)
def test_a_missing_key_is_named_with_its_file(tmp_path: Path, key: str, named: str) -> None:
    path = own(tmp_path, key)
    with pytest.raises(UsageError) as caught:
        languages.load_file(path)
    assert f"{path}: the key '{named}' is missing" in caught.value.cause
    assert caught.value.remedy


@pytest.mark.parametrize(
    ("key", "value", "said"),
    [
        ("code", "7", "the key 'code' must be a text, not 7"),
        ("code", '" "', "the key 'code' is empty"),
        ("code", '"../../evil"', "the key 'code' must be letters a to z, digits, - and _, not '../../evil'"),
        ("spaces", '"yes"', "the key 'spaces' must be true or false, not 'yes'"),
        ("aliases", '"ita"', "the key 'aliases' must be a list, not 'ita'"),
        ("aliases", "[1]", "the key 'aliases' must hold texts, not 1"),
        ("scripts", "[]", "the key 'scripts' is empty"),
        ("scripts", '["Latin"]', "the key 'scripts' must hold ISO 15924 codes such as Latn, not 'Latin'"),
        ("questions", "[]", "the key 'openers.questions' is empty"),
        ("needs", '["", "Vorrei"]', "the key 'openers.needs' must hold texts, not ''"),
        ("instruction", "[]", "the key 'exemplars[1].instruction' must be a text, not []"),
        ("response", '""', "the key 'exemplars[1].response' is empty"),
    ],
)
def test_a_wrong_value_is_named_with_its_key(tmp_path: Path, key: str, value: str, said: str) -> None:
    path = own(tmp_path, key, value)
    with pytest.raises(UsageError) as caught:
        languages.load_file(path)
    assert f"{path}: {said}" in caught.value.cause


@pytest.mark.parametrize(("content", "said"), [("x = 1\n", "is missing"), ("x = ", "is not TOML")])
def test_a_file_that_is_something_else(tmp_path: Path, content: str, said: str) -> None:
    path = tmp_path / "own.toml"
    path.write_text(content, encoding="utf-8")
    with pytest.raises(UsageError, match=said) as caught:
        languages.load_file(path)
    assert str(path) in caught.value.cause


@pytest.mark.parametrize("exemplars", ["exemplars = []", 'exemplars = ["one"]', "exemplars = 1"])
def test_exemplars_must_be_tables(tmp_path: Path, exemplars: str) -> None:
    text = (prompts.folder("languages") / "it.toml").read_text(encoding="utf-8")
    path = tmp_path / "own.toml"
    path.write_text(exemplars + "\n" + text[: text.index("[[exemplars]]")], encoding="utf-8")
    with pytest.raises(UsageError, match="the key 'exemplars'"):
        languages.load_file(path)


def test_an_exemplar_must_not_stand_there_twice(tmp_path: Path) -> None:
    text = (prompts.folder("languages") / "it.toml").read_text(encoding="utf-8")
    path = tmp_path / "own.toml"
    first, second = text.split("[[exemplars]]")[1:3]
    path.write_text(f"{text}\n[[exemplars]]{second}note = 1\n[[exemplars]]{first}", encoding="utf-8")
    count = len(languages.load("it").exemplars)
    with pytest.raises(UsageError) as caught:
        languages.load_file(path)
    assert f"{path}: the key 'exemplars[{count + 1}]' repeats exemplars[2]." in caught.value.cause


@pytest.mark.parametrize("code", CODES)
def test_our_own_files_pass_the_check_of_their_texts(code: str) -> None:
    languages.check_texts(languages.load(code), prompts.folder("languages") / f"{code}.toml")


@pytest.mark.parametrize(
    ("key", "value", "named"),
    [
        ("system", '"You are an assistant that answers the questions of its users in Italian."', "system"),
        ("system_multi_turn", '"Вы отвечаете на вопросы пользователей подробно и ясно."', "system_multi_turn"),
        ("questions", '["How can I", "What is the difference between", "Why does", "When do"]', "openers.questions"),
        ("instruction", '"How do I keep my risotto from sticking to the pan?"', "exemplars[1].instruction"),
        ("response", '"リゾットは弱火でよくかき混ぜながら煮てください。"', "exemplars[1].response"),
    ],
)
def test_a_text_in_another_language_is_refused(tmp_path: Path, key: str, value: str, named: str) -> None:
    path = own(tmp_path, key, value)
    language = languages.load_file(path)
    with pytest.raises(UsageError) as caught:
        languages.check_texts(language, path)
    assert f"{path}: the key '{named}' is not in Italian (it looks like" in caught.value.cause
    assert caught.value.remedy


def test_what_cannot_be_told_is_accepted(tmp_path: Path) -> None:
    path = own(tmp_path, "response", '"42"')
    languages.check_texts(languages.load_file(path), path)


def test_a_language_that_the_detector_does_not_know_is_judged_by_its_script(tmp_path: Path) -> None:
    path = own(tmp_path, "code", '"lld"')
    languages.check_texts(languages.load_file(path), path)
    path = own(tmp_path, "system", '"Вы отвечаете на вопросы пользователей подробно и ясно."')
    path.write_text(path.read_text(encoding="utf-8").replace('code = "it"', 'code = "lld"'), encoding="utf-8")
    with pytest.raises(UsageError, match="'system'"):
        languages.check_texts(languages.load_file(path), path)
