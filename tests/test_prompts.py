"""The resolver of the prompt data, and what reading a file of it can meet."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from magpie_ollama import prompts
from magpie_ollama.errors import UsageError


@pytest.fixture(autouse=True)
def forget() -> Iterator[None]:
    prompts.folder.cache_clear()
    yield
    prompts.folder.cache_clear()


@pytest.mark.parametrize("kind", ["languages", "templates", "screening"])
def test_the_data_is_there_wherever_the_package_lies(kind: str) -> None:
    assert prompts.folder(kind).is_dir()
    assert prompts.names(kind) == sorted(prompts.names(kind))
    for name in prompts.names(kind):
        assert prompts.read(prompts.folder(kind) / f"{name}.toml")


def lay(root: Path, *folders: str) -> Path:
    """A package at ``root``, with a data file in each of the folders."""
    for folder in folders:
        place = root / folder / "languages"
        place.mkdir(parents=True)
        (place / "xx.toml").write_text(f'of = "{folder}"', encoding="utf-8")
    package = root / "package"
    package.mkdir(exist_ok=True)
    return package / "prompts.py"


@pytest.mark.parametrize(
    ("folders", "found"),
    [
        (["prompts"], "prompts"),  # a checkout or an editable install
        (["package/prompts"], "package/prompts"),  # a wheel
        (["prompts", "package/prompts"], "package/prompts"),
    ],
)
def test_the_packages_own_data_comes_before_the_checkouts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, folders: list[str], found: str
) -> None:
    monkeypatch.setattr(prompts, "__file__", str(lay(tmp_path, *folders)))
    assert prompts.folder("languages") == tmp_path / found / "languages"
    assert prompts.names("languages") == ["xx"]
    assert prompts.read(prompts.folder("languages") / "xx.toml") == {"of": found}


def test_other_files_are_no_data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(prompts, "__file__", str(lay(tmp_path, "prompts")))
    (tmp_path / "prompts" / "languages" / "notes.txt").write_text("x", encoding="utf-8")
    assert prompts.names("languages") == ["xx"]


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"a = ", "is not TOML"),
        (b"\xff\xfea = 1", "is not UTF-8"),
        ("a = 'è'".encode("latin-1"), "is not UTF-8"),
        (None, "cannot be read: No such file"),
    ],
)
def test_what_cannot_be_read_is_named(tmp_path: Path, content: bytes | None, said: str) -> None:
    path = tmp_path / "own.toml"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(UsageError) as caught:
        prompts.read(path)
    assert f"{path} {said}" in caught.value.cause
    assert caught.value.remedy


def test_a_folder_is_no_file(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="cannot be read"):
        prompts.read(tmp_path)


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such path")
def test_a_path_that_cannot_be(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="cannot be read"):
        prompts.read(tmp_path / ("x" * 300 + ".toml"))


def test_a_byte_order_mark_is_no_error(tmp_path: Path) -> None:
    path = tmp_path / "own.toml"
    path.write_bytes(b"\xef\xbb\xbfa = 1")
    assert prompts.read(path) == {"a": 1}
