"""The examples of docs/algorithms.md run."""

import re
import warnings
from pathlib import Path

import pytest

PAGE = (Path(__file__).parents[2] / "docs" / "algorithms.md").read_text()


def example(heading):
    """Return the Python example under a heading."""
    section = PAGE.split(f"\n## {heading}\n")[1].split("\n## ")[0]
    return re.findall(r"```python\n(.*?)```", section, re.DOTALL)[0]


def test_the_wrappers_example_runs(capsys):
    exec(compile(example("Vector wrappers"), "algorithms.md", "exec"), {})
    assert re.match(r"torch.Size\(\[2048\]\) tensor\(\d+\)", capsys.readouterr().out)


def test_the_steering_example_runs(capsys):
    exec(compile(example("What to do about `prediction`"), "algorithms.md", "exec"), {})
    assert capsys.readouterr().out == "['location', 'step', 'glimpse', 'belief', 'confidence']\n"


@pytest.mark.filterwarnings("ignore:::torchrl", "ignore:::tensordict")
def test_the_torchrl_example_runs(capsys):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torchrl warns of itself when it is imported
        pytest.importorskip(
            "torchrl", reason="torchrl is not installed: pip install -e '.[torchrl]'", exc_type=ImportError
        )
        exec(compile(example("torchrl"), "algorithms.md", "exec"), {})
    assert capsys.readouterr().out.count("torch.Size([64, 16, 1, 8, 8]) torch.Size([64, 16])") == 4
