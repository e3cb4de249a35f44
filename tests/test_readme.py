"""What the README shows runs, and what it names exists."""

import re
from pathlib import Path

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()


def test_the_python_example_runs(capsys):
    [example] = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    exec(compile(example, "README.md", "exec"), {})
    assert re.search(r"\d glimpses, answer (right|wrong)", capsys.readouterr().out)


def test_every_script_and_link_exists():
    scripts = set(re.findall(r"python ((?:agents|benchmarks)/\w+\.py)", README))
    links = {target for target in re.findall(r"\]\(([^)#]+)\)", README) if "://" not in target}
    assert len(scripts) >= 4
    missing = [name for name in scripts | links if not (ROOT / name).is_file()]
    assert not missing
