"""``push`` against a Hub on a socket."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from commands.support import Runner, check_error, finished, process
from fake_hub import TOKEN, Dataset, FakeHub
from fake_ollama import FakeOllama, Fault

DATA = "data/train.jsonl"


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch, own_folder: Path) -> Iterator[FakeHub]:
    from huggingface_hub import constants

    for name in ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN", "HF_HUB_OFFLINE", "HF_OIDC_RESOURCE"):
        monkeypatch.delenv(name, raising=False)
    with FakeHub() as fake:
        # Read when the library was imported: in a process of its own HF_ENDPOINT alone would do.
        monkeypatch.setattr(constants, "ENDPOINT", fake.url)
        template = constants.HUGGINGFACE_CO_URL_TEMPLATE.replace("https://huggingface.co", fake.url)
        monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
        monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(own_folder.parent / "token"))
        monkeypatch.setattr(constants, "AGENT_HARNESSES_PATH", str(own_folder.parent / "harnesses.json"))
        monkeypatch.setenv("HF_ENDPOINT", fake.url)
        monkeypatch.setenv("HF_TOKEN", TOKEN)
        yield fake


def write(path: Path, count: int = 3) -> Path:
    turns = [{"role": "user", "content": "Quanto fa 2 + 2?"}, {"role": "assistant", "content": "4."}]
    record = {"messages": turns, "language": "it", "model": "llama3.2:latest", "run": "r"}
    path.write_text("".join(json.dumps({"id": str(n), **record}) + "\n" for n in range(count)), "utf-8")
    return path


def test_data_and_card_are_uploaded_in_one_commit_to_a_private_dataset(run: Runner, hub: FakeHub) -> None:
    source = write(Path("it.jsonl"))
    done = run("push", source, "maria/ricette-it", "--licence", "cc-by-4.0")
    assert (done.code, done.err) == (0, "")
    assert done.out == f"Pushed 3 records to {hub.url}/datasets/maria/ricette-it\n"
    dataset = hub.datasets["maria/ricette-it"]
    assert dataset.private
    assert len(dataset.messages) == 1
    assert dataset.files.keys() == {"README.md", DATA}
    assert dataset.files[DATA] == source.read_bytes()
    assert b'license: "cc-by-4.0"' in dataset.files["README.md"]
    assert b"**This data is synthetic.**" in dataset.files["README.md"]


def test_the_same_again_replaces_the_data_and_public_is_said(run: Runner, hub: FakeHub) -> None:
    source = write(Path("it.jsonl"))
    assert run("push", source, "maria/x", "--public").code == 0
    assert not hub.datasets["maria/x"].private
    write(source, 5)
    check_error(run("push", source, "maria/x"), 2, "there already, and public", "--public")
    assert run("push", source, "maria/x", "--public", "--json").code == 0
    assert hub.datasets["maria/x"].files[DATA] == source.read_bytes()
    assert len(hub.requests_to("/api/repos/create")) == 1


THEIRS = b"---\nlicense: mit\ntags:\n- cooking\ndataset_info:\n  splits: []\n---\n# My collection\n\nPlease cite me.\n"


def test_what_others_wrote_in_the_card_stays_and_it_is_said_before_the_upload(run: Runner, hub: FakeHub) -> None:
    source = write(Path("it.jsonl"))
    hub.datasets["maria/x"] = Dataset(True, {"README.md": THEIRS, "data/test.parquet": b"PAR1"})
    hub.fail_next(1, Fault("status", status=400, text="no"), "/api/datasets/maria/x/commit/main")
    done = run("push", source, "maria/x")
    assert "note: README.md of maria/x has somebody's own words" in done.err, "before the Hub refuses it"
    done = run("push", source, "maria/x")
    assert done.code == 0, done.err
    assert "data/test.parquet" in done.err
    card = hub.datasets["maria/x"].files["README.md"].decode()
    assert "license: mit\n" in card and "- cooking\n" in card and "dataset_info" not in card
    assert card.index("Please cite me.") < card.index("3 pairs")
    done = run("push", write(source, 5), "maria/x", "--licence", "cc-by-4.0", "-q")
    assert (done.code, done.err) == (0, "")
    card = hub.datasets["maria/x"].files["README.md"].decode()
    assert "Please cite me." in card and "5 pairs" in card and "3 pairs" not in card
    assert 'license: "cc-by-4.0"\n' in card and "license: mit" not in card and "- cooking\n" in card


def test_a_card_edited_within_the_tools_own_part_is_no_prey(run: Runner, hub: FakeHub) -> None:
    source = write(Path("it.jsonl"))
    assert run("push", source, "maria/x").code == 0
    dataset = hub.datasets["maria/x"]
    edited = dataset.files["README.md"] = dataset.files["README.md"].replace(b"3 pairs", b"Three lovely pairs")
    check_error(run("push", source, "maria/x"), 2, "edited README.md of maria/x", "--replace-card")
    assert dataset.files["README.md"] == edited and len(dataset.messages) == 1
    assert run("push", source, "maria/x", "--replace-card").code == 0
    assert b"Three lovely" not in dataset.files["README.md"]


def test_a_card_of_its_own_is_written_anew_without_a_word(run: Runner, hub: FakeHub) -> None:
    source = write(Path("it.jsonl"))
    assert run("push", source, "maria/x").code == 0
    done = run("push", write(source, 7), "maria/x")
    assert (done.code, done.err) == (0, "")
    assert hub.datasets["maria/x"].files["README.md"].decode().count("7 pairs") == 1


def test_a_private_dataset_stays_private(run: Runner, hub: FakeHub) -> None:
    source = write(Path("it.jsonl"))
    assert run("push", source, "maria/x").code == 0
    done = run("push", source, "maria/x", "--public", "--json")
    assert hub.datasets["maria/x"].private
    assert json.loads(done.out)["private"] is True
    assert "note: The dataset maria/x was there, and stays private" in done.err


def test_a_dry_run_asks_the_hub_for_nothing(run: Runner, hub: FakeHub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("HF_TOKEN")
    source = write(Path("it.jsonl"))
    done = run("push", source, "maria/x", "--dry-run")
    assert done.code == 0
    assert done.out.startswith("---\npretty_name:")
    assert "README.md" in done.err and DATA in done.err and "private dataset maria/x" in done.err
    report = json.loads(run("push", source, "maria/x", "--dry-run", "--json").out)
    assert (report["card"], report["uploaded"], report["files"][DATA]) == (done.out, False, source.stat().st_size)
    assert not hub.requests


def test_the_card_tells_the_funnel_of_the_runs(run: Runner, hub: FakeHub) -> None:
    with FakeOllama() as fake:
        assert run("generate", "-n", 6, "-l", "en", "--seed", 1, "-q", "--host", fake.url).code == 0
    manifest = json.loads(next(Path("en.jsonl.magpie/runs").glob("*.json")).read_text("utf-8"))
    assert run("push", "en.jsonl", "maria/x").code == 0
    card = hub.datasets["maria/x"].files["README.md"].decode()
    assert f"{manifest['funnel']['attempts']} attempts gave 6 records" in card
    assert "`smollm2:135m`" in card
    assert fake.url not in card, "addresses are nobody's business"


def test_lines_that_are_no_records_are_not_published(run: Runner, hub: FakeHub) -> None:
    source = write(Path("it.jsonl"))
    whole = source.read_bytes()
    source.write_bytes(whole + b"{\n" + whole)
    check_error(run("push", source, "maria/x"), 1, "Line 4", "--skip-bad")
    assert not hub.datasets
    assert run("push", source, "maria/x", "--skip-bad").code == 0
    assert hub.datasets["maria/x"].files[DATA] == whole + whole
    source.write_bytes(whole + b'{"torn')
    for more in ((), ("--dry-run",)):
        told = json.loads(run("push", source, "maria/x", "--json", *more).out)
        assert told["files"][DATA] == len(whole), "of what is uploaded"
    assert hub.datasets["maria/x"].files[DATA] == whole


def test_as_a_process_with_a_file_that_goes_by_lfs(hub: FakeHub) -> None:
    source = write(Path("it.jsonl"), 200)
    hub.lfs_from = 20_000
    environment = {"HF_ENDPOINT": hub.url, "HF_TOKEN": TOKEN, "HF_HUB_DISABLE_XET": "1"}
    done = finished(process("push", source, "maria/x", environment=environment))
    assert done.code == 0, done.err
    assert done.err == ""
    assert hub.datasets["maria/x"].files[DATA] == source.read_bytes()
    assert len(hub.stored) == 1
    assert TOKEN not in done.out


def test_what_the_hub_says_of_the_card_is_told(run: Runner, hub: FakeHub) -> None:
    hub.yaml_warnings = ["an odd tag"]
    done = run("push", write(Path("it.jsonl")), "maria/x")
    assert "an odd tag" in done.err
    hub.yaml_errors = ['"tags" must be an array']
    check_error(run("push", "it.jsonl", "maria/x", "--licence", "mit"), 3, '"tags" must be an array')


@pytest.mark.parametrize(
    ("given", "offered"),
    [
        ("apache2", "apache-2.0"),
        ("cc-by-5.0", "cc-by-4.0"),
        ("GPL-3.0-or-later", "gpl-3.0"),
        ("mine", "--licence other"),
    ],
)
def test_a_licence_that_the_hub_does_not_know_is_not_sent(run: Runner, hub: FakeHub, given: str, offered: str) -> None:
    done = run("push", write(Path("it.jsonl")), "maria/x", "--licence", given)
    check_error(done, 2, f"The Hub knows no licence '{given}'", offered)
    assert not hub.datasets


@pytest.mark.parametrize("given", ["CC-BY-4.0", "cc by 4.0"])
def test_a_licence_is_found_however_it_is_written(run: Runner, given: str) -> None:
    done = run("push", write(Path("it.jsonl")), "maria/x", "--dry-run", "--licence", given)
    assert 'license: "cc-by-4.0"' in done.out


@pytest.mark.parametrize(
    ("fault", "path", "words"),
    [
        (Fault("status", status=401, text="Invalid token"), "/api/datasets/maria/x", ("hf auth login", "HF_TOKEN")),
        (Fault("status", status=403, text="read-only token"), "/api/datasets/maria/x/commit/main", ("write access",)),
        (Fault("status", status=404, text="gone"), "/api/datasets/maria/x/commit/main", ("no place maria/x",)),
        (Fault("status", status=400, text="too many files"), "/api/datasets/maria/x/commit/main", ("too many files",)),
        (Fault("drop"), "/api/repos/create", ("cannot be reached", "HF_ENDPOINT")),
    ],
)
def test_failures(run: Runner, hub: FakeHub, fault: Fault, path: str, words: tuple[str, ...]) -> None:
    source = write(Path("it.jsonl"))
    hub.fail_next(20, fault, path)
    done = run("push", source, "maria/x")
    check_error(done, 3, *words)
    assert TOKEN not in done.err


def test_a_wrong_token_another_owner_and_no_token(run: Runner, hub: FakeHub, monkeypatch: pytest.MonkeyPatch) -> None:
    source = write(Path("it.jsonl"))
    check_error(run("push", source, "acme/x"), 3, "may not write to acme/x", "hf auth whoami")
    check_error(run("push", source, "maria/x", HF_TOKEN="hf_wrong"), 3, "hf auth login")
    monkeypatch.delenv("HF_TOKEN")
    check_error(run("push", source, "maria/x"), 3, "no token", "hf auth login", "HF_TOKEN")
    assert not hub.datasets


@pytest.mark.skipif(sys.platform == "win32", reason="POSIX pipes")
def test_a_pipe_is_refused(run: Runner) -> None:
    os.mkfifo("pipe")
    check_error(run("push", "pipe", "maria/x", "--dry-run"), 2, "a pipe is none", "write it to a file first")


@pytest.mark.parametrize("name", ["x", "a/b/c", "/x", "maria/", "ma ria/x", "https://huggingface.co/maria/x"])
def test_a_name_that_is_none(run: Runner, own_folder: Path, name: str) -> None:
    check_error(run("push", write(Path("it.jsonl")), name), 2, "OWNER/NAME")


def test_no_hub_at_the_address(run: Runner, hub: FakeHub) -> None:
    write(Path("it.jsonl"))
    check_error(run("push", "it.jsonl", "maria/x", HF_ENDPOINT="http://127.0.0.1:9"), 3, "cannot be reached")


def test_several_files_are_splits_and_configs_that_datasets_loads(
    run: Runner, hub: FakeHub, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    import datasets

    write(Path("it-train.jsonl"), 4), write(Path("it-test.jsonl"), 2), write(Path("pairs.jsonl"), 3)
    done = run("push", "it-train.jsonl", "it-test.jsonl", "pairs/train=pairs.jsonl", "maria/x")
    assert (done.code, done.err) == (0, "")
    assert done.out.startswith("Pushed 9 records")
    files = hub.datasets["maria/x"].files
    assert files.keys() == {"README.md", DATA, "data/test.jsonl", "data/pairs/train.jsonl"}
    card = files["README.md"].decode()
    assert 'train = load_dataset("maria/x", split="train")' in card
    assert 'train = load_dataset("maria/x", \'pairs\', split="train")' in card
    for path, content in files.items():
        target = tmp_path / "x" / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(content)
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    whole = datasets.load_dataset(str(tmp_path / "x"), cache_dir=str(tmp_path / "cache"))
    assert {split: rows.num_rows for split, rows in whole.items()} == {"train": 4, "test": 2}
    pairs = datasets.load_dataset(str(tmp_path / "x"), "pairs", split="train", cache_dir=str(tmp_path / "cache"))
    assert pairs.num_rows == 3


def test_two_files_of_one_split_are_told_apart_first(run: Runner, hub: FakeHub) -> None:
    write(Path("a.jsonl")), write(Path("b.jsonl"))
    check_error(
        run("push", "a.jsonl", "b.jsonl", "maria/x"), 2, "both be the split train", "train=a.jsonl test=b.jsonl"
    )
    assert not hub.datasets


def test_a_table_is_pushed_as_lines_with_two_records_to_read(run: Runner, hub: FakeHub) -> None:
    rows = [f"Quanto fa {n} + 2?,Fa {n + 2}. ```" for n in range(9)]
    Path("it.csv").write_text("\n".join(["instruction,output", *rows]) + "\n")
    assert run("push", "it.csv", "maria/x").code == 0
    files = hub.datasets["maria/x"].files
    assert [json.loads(line)["output"] for line in files[DATA].splitlines()] == [f"Fa {n + 2}. ```" for n in range(9)]
    card = files["README.md"].decode()
    assert card.count("````text\nQuanto fa") == 2
    assert "## Two records" in card
