"""The wheel: its files and metadata, and its programs, installed into an empty folder and run elsewhere."""

import os
import re
import subprocess
import sys
import tomllib
import zipfile
from email.parser import Parser
from pathlib import Path

import pytest
from PIL import Image

import glimpse_env
from glimpse_env.commands import evaluate, export, predict
from glimpse_env.datasets import mnist

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
PROGRAMS = {evaluate: "glimpse-evaluate", export: "glimpse-export", predict: "glimpse-predict"}
MOST = 13e6  # bytes: the digits of MNIST are 11.5 MB
MAKE = """
import gymnasium
import glimpse_env

env = gymnasium.make("GlimpseEnv-v0")
env.reset(seed=0)
observation, *_ = env.step(env.action_space.sample())
print(glimpse_env.__file__, glimpse_env.__version__, observation["glimpse"].shape)
print(glimpse_env.load_agent("mnist-dtram").classes[-1])
"""


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """The wheel's file."""
    pytest.importorskip("hatchling", reason='hatchling is not installed: pip install "glimpse-env[test]"')
    folder = tmp_path_factory.mktemp("dist")
    run(sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", folder, cwd=ROOT)
    [file] = folder.iterdir()
    return file


@pytest.fixture(scope="module")
def installed(wheel, tmp_path_factory):
    """A folder that holds the installed wheel alone."""
    pytest.importorskip("pip", reason='pip is not installed: pip install "glimpse-env[test]"')
    folder = tmp_path_factory.mktemp("site")
    words = ("--no-deps", "--no-index", "--no-compile", "--disable-pip-version-check", "--target", folder)
    run(sys.executable, "-m", "pip", "install", "--quiet", *words, wheel, cwd=folder)
    return folder


def run(*words, cwd, **environment):
    """Run a command, which must succeed, and return what it prints."""
    environment = os.environ | {"PYTHONDONTWRITEBYTECODE": "1"} | environment
    command = [str(word) for word in words]
    done = subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    return done.stdout


def run_installed(folder, program, *words, cwd):
    """Run an installed program, or Python itself, in a folder outside the repository."""
    path = sys.executable if program == "python" else folder / "bin" / program
    return run(path, *words, cwd=cwd, PYTHONPATH=str(folder))


def test_it_holds_the_package_and_its_data_and_nothing_else(wheel):
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
    static = ("page.html", "page.css", "gallery.html", "viewer.js", "gallery.js", "controls.js")
    data = {f"reports/static/{name}" for name in static}
    data |= {"py.typed", "datasets/mnist.npz", "pretrained/mnist_dtram.pt"}
    modules = {path.relative_to(ROOT).as_posix() for path in (ROOT / "glimpse_env").rglob("*.py")}
    package = {name for name in names if ".dist-info/" not in name}
    assert package == modules | {f"glimpse_env/{name}" for name in data}
    assert any(name.endswith("licenses/LICENSE") for name in names)
    assert wheel.stat().st_size < MOST


def test_its_metadata_are_those_of_the_package(wheel):
    folder = f"glimpse_env-{glimpse_env.__version__}.dist-info"
    with zipfile.ZipFile(wheel) as archive:
        metadata = Parser().parsestr(archive.read(f"{folder}/METADATA").decode())
        programs = archive.read(f"{folder}/entry_points.txt").decode()
    assert metadata["Version"] == glimpse_env.__version__
    assert metadata["License-Expression"] == "MIT"
    assert metadata.get_all("Classifier") == PROJECT["classifiers"]
    assert metadata.get_all("Project-URL") == [f"{name}, {url}" for name, url in PROJECT["urls"].items()]
    assert metadata.get_payload().startswith("# Glimpse\n")
    expected = [f"{name} = {module.__name__}:run" for module, name in PROGRAMS.items()]
    assert programs.splitlines() == ["[console_scripts]", *expected]


def test_it_makes_environments_and_loads_its_agent_outside_the_repository(installed, tmp_path):
    printed = run_installed(installed, "python", "-c", MAKE, cwd=tmp_path)
    origin = installed / "glimpse_env" / "__init__.py"
    assert printed == f"{origin} {glimpse_env.__version__} (1, 8, 8)\n9\n"


def test_its_programs_evaluate_and_predict_outside_the_repository(installed, tmp_path):
    few = ("--split", "validation:1/1000", "--device", "cpu", "--threads", 1)
    printed = run_installed(installed, "glimpse-evaluate", "mnist-dtram", *few, cwd=tmp_path)
    assert re.search(r"^dtram_reinforce +mnist .* error .* images 60 ", printed, re.MULTILINE)
    assert (tmp_path / "runs" / "mnist-dtram" / "report-validation1of1000.html").is_file()
    Image.fromarray(mnist.load("test").images[0, 0].numpy()).save(tmp_path / "digit.png")
    words = ("mnist-dtram", "digit.png", "--device", "cpu", "--threads", 1)
    printed = run_installed(installed, "glimpse-predict", *words, cwd=tmp_path)
    assert re.search(r"^digit\.png +7 +0\.9\d+ +2$", printed, re.MULTILINE)


@pytest.mark.parametrize("module", PROGRAMS, ids=PROGRAMS.values())
@pytest.mark.parametrize("script", [False, True])
def test_help_and_errors_name_the_program_as_it_was_started(module, script, monkeypatch, capsys):
    installed, name = PROGRAMS[module], PROGRAMS[module].removeprefix("glimpse-")
    started, other = (f"python agents/{name}.py", installed) if script else (installed, f"{name}.py")
    given = [started] if script else []
    monkeypatch.setattr(sys, "argv", ["program", "--help"])
    with pytest.raises(SystemExit) as end:
        module.run(*given)
    text = capsys.readouterr().out
    assert end.value.code == 0
    assert f"usage: {started.removeprefix('python ')} [" in text
    assert f"    {started} mnist-dtram" in text
    assert other not in text
    monkeypatch.setattr(sys, "argv", ["program", "none.pt", *(["a.png"] if name == "predict" else [])])
    with pytest.raises(SystemExit, match=rf"^{Path(started).name}: no checkpoint at none\.pt"):
        module.run(*given)
