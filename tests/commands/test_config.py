"""A user's own defaults: which one holds, where it is told, and what a file says that is wrong."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from fake_ollama import FakeModel, FakeOllama, FakeOpenAI

from magpie_ollama.commands import configuration

from .support import Runner, check_error, records


def write(text: str) -> Path:
    path = configuration.path()
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, "utf-8")
    return path


def test_the_file_lies_in_the_tests_own_home(own_folder: Path) -> None:
    assert own_folder.parent in configuration.path().parents


@pytest.mark.parametrize(
    ("flag", "variable", "holds"),
    [
        ((), {}, "from-file"),
        ((), {"MAGPIE_OLLAMA_MODEL": "from-env"}, "from-env"),
        (("-m", "from-flag"), {"MAGPIE_OLLAMA_MODEL": "from-env"}, "from-flag"),
    ],
)
def test_flag_before_environment_before_file(
    run: Runner, flag: tuple[str, ...], variable: dict[str, str], holds: str
) -> None:
    names = ("from-file", "from-env", "from-flag")
    with FakeOllama(models=[FakeModel(name) for name in names]) as fake:
        for key, value in {"model": "from-file", "host": fake.url, "language": "Italiano"}.items():
            assert run("config", "set", key, value).code == 0
        done = run("generate", "-n", 1, "-s", "system", "--dry-run", "--json", *flag, **variable)
        assert done.code == 0, done.err
        assert (json.loads(done.out)["model"].partition(":")[0], json.loads(done.out)["language"]) == (holds, "it")


def test_the_doctor_says_where_settings_come_from(run: Runner) -> None:
    with FakeOllama(models=[FakeModel("embed", capabilities=("embedding",))]) as fake:  # refused, and so soon done
        run("config", "set", "language", "it")
        told = run("doctor", "--json", "--host", fake.url, MAGPIE_OLLAMA_MODEL="embed").out
    settings = next(one for one in json.loads(told)["findings"] if one["name"] == "settings")["text"]
    assert (
        settings == f"language it ({configuration.path()}), model embed (MAGPIE_OLLAMA_MODEL), host {fake.url} (--host)"
    )


def test_a_default_model_chooses_no_records(run: Runner) -> None:
    """`filter --model` and `import --model` mean another thing by the same word."""
    run("config", "set", "model", "llama3.2")
    line = {"instruction": "What is rain?", "output": "Water that falls.", "model": "another"}
    Path("in.jsonl").write_text(json.dumps(line) + "\n")
    assert json.loads(run("filter", "in.jsonl", "--min-words", 1, "--json").out)["kept"] == 1
    assert run("import", "in.jsonl", "-o", "out.jsonl", "-l", "en").code == 0
    assert records("out.jsonl")[0]["model"] != "llama3.2"


def test_a_folder_for_what_has_no_place(run: Runner) -> None:
    assert run("config", "set", "folder", "corpora").code == 0
    with FakeOllama() as fake:
        assert run("generate", "-n", 1, "-q", "--host", fake.url).code == 0
        assert run("generate", "-n", 1, "-q", "--host", fake.url, "-o", "here.jsonl").code == 0
    assert len(records("corpora/en.jsonl")) == len(records("here.jsonl")) == 1


def test_shown_set_and_unset(run: Runner) -> None:
    path = write('# mine\nmodel = "old" # that one\n')
    assert run("config", "set", "model", 'a "b" \\').code == 0
    assert run("config", "set", "server", "ollama").code == 0
    assert "# mine" in path.read_text("utf-8")
    shown = json.loads(run("config", "--json", MAGPIE_OLLAMA_SERVER="openai").out)
    assert shown["path"] == str(path)
    assert shown["settings"]["model"] == {"value": 'a "b" \\', "from": "file"}
    assert shown["settings"]["server"] == {"value": "openai", "from": "MAGPIE_OLLAMA_SERVER"}
    assert run("config", "unset", "model").code == 0
    assert configuration.read() == {"server": "ollama"}
    assert str(path) in run("config").out
    check_error(run("config", "unset", "model"), 2, "has no 'model'", "magpie-ollama config")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('modle = "x"', ("unknown key 'modle'", "Did you mean model?", "config unset modle")),
        ('model = "x"\nserver = ollama', ("config.toml is not TOML", "line 2")),
        ("model = 3", ("model is to be a text, not 3", "config set model")),
        ('server = "olama"', ("no kind of server: 'olama'. Did you mean ollama?", "embedded")),
        ('[table]\nmodel = "x"', ("unknown key 'table'",)),
        ('language = "italienish"', ("italienish", "stands in", "config set language VALUE")),
    ],
)
def test_wrong_ones_are_told(run: Runner, text: str, words: tuple[str, ...]) -> None:
    write(text)
    check_error(run("generate", "-n", 1, "--host", "127.0.0.1:1"), 2, *words)
    assert run("generate", "--help").code == 0
    assert run("languages", "it").code == 0, "what takes none of them does not read it"


def test_a_default_that_is_gone(run: Runner) -> None:
    with FakeOllama(models=[FakeModel("there")]) as fake:
        run("config", "set", "model", "gone")
        told = ("'gone'", f"stands in {configuration.path()}", "config set model VALUE")
        check_error(run("generate", "-n", 1, "--host", fake.url), 3, *told)
        named = run("generate", "-n", 1, "--host", fake.url, "-m", "gone")
        assert named.code == 3 and "stands in" not in named.err, "the command line said it"
    run("config", "set", "host", "127.0.0.1:1")
    check_error(run("template", "show"), 3, "stands in", "config set host VALUE")


def test_a_model_and_an_address_are_of_one_server(run: Runner) -> None:
    """--server embedded means no address of Ollama's, and no model of it."""
    with FakeOllama(models=[FakeModel("mine")]) as ollama, FakeOpenAI("plain", models=[FakeModel("smollm2")]) as other:
        run("config", "set", "model", "mine")
        run("config", "set", "host", ollama.url)
        for given, model in (
            ((), "mine:latest"),
            (("--server", "ollama"), "mine:latest"),
            (("--server", "openai", "--host", other.url), "smollm2:latest"),
        ):
            done = run("generate", "-n", 1, "--dry-run", "--json", *given)
            assert done.code == 0, done.err
            assert json.loads(done.out)["model"] == model
    check_error(run("generate", "--model-path", "none.gguf"), 2, "There is no file none.gguf")
    run("config", "set", "server", "ollama")
    check_error(run("generate", "--model-path", "none.gguf"), 2, "There is no file none.gguf")


def test_what_an_unset_takes_out_is_whole(run: Runner) -> None:
    write('model = """a\nb"""\n')
    check_error(run("config", "unset", "model"), 2, "more than a line", "editor")
    assert configuration.path().read_text("utf-8") == 'model = """a\nb"""\n'
    write('modle = "x"\nlanguage = "it"\n')
    assert run("config", "unset", "modle").code == 0
    assert configuration.read() == {"language": "it"}


def test_a_name_that_is_nearly_one(run: Runner) -> None:
    done = run("config", "set", "modell", "llama3.2")
    assert done.code == 2
    assert "no setting is called 'modell'. Did you mean model?" in " ".join(done.err.split())
    assert run("config", "set", "model", "llama3.2").code == 0
    check_error(run("config", "unset", "modell"), 2, "has no 'modell'. Did you mean model?")


def test_variables_are_listed_and_on_their_page(run: Runner) -> None:
    listed = json.loads(run("config", "variables", "--json").out)
    assert listed["MAGPIE_OLLAMA_MODEL"]["option"] == "--model" and "tag" in listed["MAGPIE_OLLAMA_MODEL"]["commands"]
    lines = [line.split(maxsplit=1) for line in run("config", "variables").out.splitlines()]
    rows = [f"| `{name}` | `{option}` | {of} |" for name, said in lines for option, _, of in [said.split(maxsplit=2)]]
    assert len(rows) == len(listed)
    page = (Path(__file__).parents[2] / "docs" / "settings.md").read_text("utf-8")
    there = [line for line in page.splitlines() if line.startswith("| `MAGPIE_OLLAMA_")]
    assert there == rows, f"docs/settings.md lacks {set(rows) - set(there)} and has {set(there) - set(rows)}"
