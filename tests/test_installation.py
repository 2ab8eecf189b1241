"""The prompt data is found however the package is installed: from the wheel, editable, and from the checkout itself."""

from __future__ import annotations

import importlib.util
import os
import signal
import subprocess
import sys
import sysconfig
import tarfile
import time
import zipfile
from pathlib import Path

import pytest
from hatchling import build

ROOT = Path(__file__).resolve().parent.parent
PROGRAM = """
from pathlib import Path
import magpie_ollama
from magpie_ollama import prompts
print(Path(magpie_ollama.__file__).parent)
print(prompts.folder("languages"), len(prompts.names("languages")), len(prompts.names("templates")))
print(prompts.folder("screening") / "voices.toml", (prompts.folder("screening") / "voices.toml").is_file())
"""


def ask(python: Path | str, folder: Path, **environment: str) -> list[str]:
    command = [str(python), "-c", PROGRAM]
    return subprocess.run(
        command, cwd=folder, env={**os.environ, **environment}, check=True, capture_output=True, text=True
    ).stdout.splitlines()


def environment(tmp_path: Path) -> Path:
    """A virtual environment that sees this one's packages but has none of its own."""
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", tmp_path / "venv"], check=True)
    python = tmp_path / "venv" / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
    own = sysconfig.get_path("purelib", vars={"base": str(tmp_path / "venv")})
    # Behind its own folder, so that what is installed there comes first.
    (Path(own) / "zz_outer.pth").write_text(sysconfig.get_path("purelib") + "\n")
    return python


def install(python: Path, *what: str) -> None:
    command = [sys.executable, "-m", "pip", "--python", str(python), "install", "--quiet", "--no-deps"]
    subprocess.run([*command, "--no-build-isolation", "--ignore-installed", *what], check=True)


def test_wheel(tmp_path: Path) -> None:
    python = environment(tmp_path)
    install(python, str(ROOT))
    package, languages, voices = ask(python, tmp_path)
    assert package.startswith(str(tmp_path / "venv"))
    assert languages.startswith(str(Path(package) / "prompts"))
    assert [int(count) >= least for count, least in zip(languages.split()[-2:], (50, 9), strict=True)] == [True, True]
    assert voices.endswith("True")


def test_editable(tmp_path: Path) -> None:
    python = environment(tmp_path)
    install(python, "--editable", str(ROOT))
    package, languages, voices = ask(python, tmp_path)
    assert Path(package) == ROOT / "magpie_ollama"
    assert languages.startswith(str(ROOT / "prompts" / "languages"))
    assert voices.endswith("True")


def test_what_the_archives_hold(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The wheel has the package and its data, all of it; the sdist all that README and docs tell to run, and makes the
    same wheel."""

    def files(folder: str, within: str = "") -> set[str]:
        found = (path.relative_to(ROOT / folder) for path in (ROOT / folder).rglob("*") if path.is_file())
        return {f"{within or folder}/{path.as_posix()}" for path in found if "__pycache__" not in path.parts}

    def wheel(folder: Path, to: Path) -> set[str]:
        monkeypatch.chdir(folder)
        with zipfile.ZipFile(to / build.build_wheel(str(to))) as made:
            return {name for name in made.namelist() if ".dist-info/" not in name}

    wanted = files("magpie_ollama") | files("prompts", "magpie_ollama/prompts")
    assert {"magpie_ollama/py.typed", "magpie_ollama/record.schema.json", "magpie_ollama/web/static/page.css"} <= wanted
    (tmp_path / "of-tree").mkdir()
    assert wheel(ROOT, tmp_path / "of-tree") == wanted
    with tarfile.open(tmp_path / build.build_sdist(str(tmp_path))) as made:
        made.extraction_filter = getattr(tarfile, "data_filter", None)  # since 3.11.4
        made.extractall(tmp_path)
    (unpacked,) = tmp_path.glob("magpie_ollama-*/")
    there = {path.relative_to(unpacked).as_posix() for path in unpacked.rglob("*") if path.is_file()}
    for folder in ("magpie_ollama", "prompts", "tests", "benchmarks", "docs"):
        assert files(folder) <= there
    assert {"demo", ".ci/do.py", ".ci/run", "LICENSE", "README.md", "pyproject.toml"} <= there
    assert os.access(unpacked / "demo", os.X_OK)
    assert wheel(unpacked, tmp_path) == wanted


def test_checkout(tmp_path: Path) -> None:
    package, languages, voices = ask(sys.executable, tmp_path, PYTHONPATH=str(ROOT))
    assert Path(package) == ROOT / "magpie_ollama"
    assert languages.startswith(str(ROOT / "prompts" / "languages"))
    assert voices.endswith("True")


BECOMING = """
import importlib.util, sys
spec = importlib.util.spec_from_file_location("do", sys.argv[1])
do = importlib.util.module_from_spec(spec)
spec.loader.exec_module(do)
waits = "import os, time; print(os.getpid(), flush=True); time.sleep(60)"
installing = sys.argv[2] == "install"
do.setup = lambda: None
do.pip = lambda *words: do.run(sys.executable, "-c", waits) if installing else None
last = do.wait if sys.argv[2] == "demo" else do.become
do.wait = do.become = lambda *words: last(sys.executable, "-c", waits)
sys.argv[1:] = ["demo"]
sys.exit(do.main())
"""


@pytest.mark.skipif(os.name == "nt", reason="no signals to another process there")
@pytest.mark.parametrize("name", ["SIGTERM", "SIGHUP", "SIGINT"])
@pytest.mark.parametrize("during", ["install", "end", "demo"])
def test_the_setup_leaves_no_orphan(during: str, name: str) -> None:
    """Amid an installation its command ends with it; the tests take its place, and have its signals themselves; the
    demo's run gets them too, as a terminal sends Ctrl-C to both."""
    script = [sys.executable, "-c", BECOMING, str(ROOT / ".ci" / "do.py"), during]
    with subprocess.Popen(
        script, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
    ) as started:
        assert started.stdout
        for line in started.stdout:
            if line.startswith("$ "):
                break
        child = int(started.stdout.readline())
        assert (child == started.pid) == (during == "end")
        number = getattr(signal, name)
        if name == "SIGINT" and during == "demo":
            os.killpg(started.pid, number)
        else:
            started.send_signal(number)
        _, told = started.communicate(timeout=30)
    assert started.returncode in (128 + number, -number)
    assert during != "install" or "Traceback" not in told
    with pytest.raises(ProcessLookupError):
        for _ in range(300):  # what was killed is there until the system has taken it away
            os.kill(child, 0)
            time.sleep(0.1)


@pytest.mark.parametrize("during", ["venv", "pip"])
def test_ctrl_c_leaves_no_half_environment(during: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    spec = importlib.util.spec_from_file_location("do", ROOT / ".ci" / "do.py")
    assert spec is not None and spec.loader is not None
    do = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(do)
    monkeypatch.setattr(do, "VENV", tmp_path / ".venv")
    monkeypatch.setattr(do, "PYTHON", tmp_path / ".venv" / "bin" / "python")

    def interrupted(*words: object) -> None:
        raise KeyboardInterrupt

    def made(*words: object) -> subprocess.CompletedProcess[str]:
        do.PYTHON.parent.mkdir(parents=True)
        do.PYTHON.touch()
        return interrupted() if during == "venv" else subprocess.CompletedProcess([], 0)

    monkeypatch.setattr(do.subprocess, "run", made)
    monkeypatch.setattr(do, "pip", interrupted)
    with pytest.raises(KeyboardInterrupt):
        do.setup()
    assert not do.VENV.exists()
    do.PYTHON.parent.mkdir(parents=True)
    do.PYTHON.touch()
    with pytest.raises(KeyboardInterrupt):
        do.setup()
    assert do.VENV.exists(), "one that was whole stays"


def test_these_tests_run_on_the_installed_package() -> None:
    """CI installs the wheel; a checkout on the path would hide what is missing from it."""
    if os.environ.get("CI") != "true":
        pytest.skip("a developer's editable install is fine outside CI")
    import magpie_ollama

    assert ROOT not in Path(magpie_ollama.__file__).parents or ".venv" in magpie_ollama.__file__
