"""The report: what its data say, that nothing leaks or is loaded, and how it behaves in a real browser at two widths."""

import base64
import io
import json
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from glimpse_env.evaluation import metrics
from glimpse_env.evaluation.trajectories import Trajectories
from glimpse_env.reports import gallery, page, plots, published, run_report, svg, table_report
from tests.conftest import HORIZON, IMAGES

HISTORY = [
    {
        "epoch": 1,
        "stage": "look",
        "train_accuracy": 0.3,
        "validation_accuracy": None,
        "loss": 2.0,
        "mean_glimpses": 4.0,
        "reward": float("nan"),
    },
    {
        "epoch": 2,
        "stage": "look",
        "train_accuracy": 0.6,
        "validation_accuracy": 0.5,
        "loss": 1.0,
        "mean_glimpses": 4.0,
        "reward": 0.5,
    },
    {
        "epoch": 1,
        "stage": "stop",
        "train_accuracy": 0.7,
        "validation_accuracy": 0.6,
        "loss": -0.5,
        "mean_glimpses": 2.0,
        "reward": 0.6,
    },
]
NASTY = "</script><b>004.O'Hara_&"


def looks_of(env, seed=0):
    """Return looks of every image: image i stops at glimpse i % 4 + 1, but for the fourth glimpse, which is the last."""
    draw = torch.Generator().manual_seed(seed)
    shares = (3 * torch.randn(HORIZON, IMAGES, len(env.images.classes), generator=draw)).softmax(2)
    shares = torch.where(
        (torch.arange(IMAGES) % 3 == 0)[None, :, None],
        torch.eye(5)[env.images.labels][None] * 0.9 + 0.02,
        shares,
    )
    best = shares.max(2)
    when = torch.arange(IMAGES) % HORIZON
    stop = 0.2 + 0.6 * (torch.arange(HORIZON)[:, None] >= when).float()
    places = torch.rand(HORIZON, IMAGES, 2, generator=draw) * 2 - 1
    return Trajectories(
        torch.arange(IMAGES), env.images.labels, best.indices, best.values, stop, places, shares.half()
    )


@pytest.fixture
def env(make):
    return make(4, order="once")


def row_of(looks, dynamic=True):
    return {
        "agent": "dtram_reinforce",
        "dataset": "/secret/place/pictures",
        "split": "test",
        **metrics.summarize(looks, dynamic),
        "train_seconds": 10.0,
        "device": "cpu",
        "seed": 0,
        "command": "python agents/dtram_reinforce.py --weights /secret/place/weights.pth --out ~/secret",
        "versions": {"torch": "2"},
        "options": {
            "root": "/secret/place",
            "ram": "/secret/ram.pt",
            "gamma": 0.99,
            "network": "/secret/net.pth",
        },
        "precision": "torch.float32",
    }


@pytest.fixture
def written(env, tmp_path):
    """Write a report and return its path and its gallery's data."""

    def write(dynamic=True, **changes):
        looks = replace(looks_of(env), **changes)
        run_report.write_report(
            tmp_path / "report.html",
            row_of(looks, dynamic),
            {"dynamic": dynamic, "progress": {"history": HISTORY}},
            env,
            looks,
        )
        return tmp_path / "report.html", data_in(tmp_path / "report.html")

    return write


def data_in(path):
    return json.loads(
        re.search(r'<script type="application/json" id="data">(.*?)</script>', path.read_text(), re.DOTALL)[1]
    )


def test_gallery_holds_the_trajectory_of_every_image(env):
    looks = looks_of(env)
    told = gallery.build_gallery(env, looks, dynamic=True)
    assert sorted(image["number"] for image in told["images"]) == list(range(IMAGES))
    for image in told["images"]:
        number, steps = image["number"], image["number"] % HORIZON + 1
        assert (
            len(image["path"])
            == len(image["predictions"])
            == len(image["stop"])
            == len(image["probabilities"])
            == steps
        )
        np.testing.assert_allclose(
            image["path"], looks.locations[:steps, number] * env.sensor.reach, atol=1e-4
        )
        assert image["bars"] == [0, 1, 2, 3, 4]
        np.testing.assert_allclose(
            image["probabilities"], looks.probabilities[:steps, number].float(), atol=1e-3
        )
        assert [int(np.argmax(share)) for share in image["probabilities"]] == image["predictions"]
        assert image["correct"] == (
            image["predictions"][-1] == image["label"] == int(env.images.labels[number])
        )
        stored = Image.open(io.BytesIO(base64.b64decode(image["src"].partition(",")[2])))
        np.testing.assert_array_equal(
            np.asarray(stored), env.images.image(number)[0].numpy()
        )  # small images keep every pixel
    assert [group["images"] for group in told["groups"]] == [6, 6, 6, 5]
    assert sum(group["correct"] for group in told["groups"]) == sum(
        image["correct"] for image in told["images"]
    )


def test_gallery_is_bounded_and_takes_every_step_correct_and_incorrect(env):
    looks = looks_of(env)
    told = gallery.build_gallery(env, looks, dynamic=True, most=8)
    assert sorted((len(image["path"]), image["correct"]) for image in told["images"]) == [
        (step, good) for step in (1, 2, 3, 4) for good in (False, True)
    ]
    uri = len(told["images"][0]["src"])
    assert 1 <= len(gallery.build_gallery(env, looks, dynamic=True, space=3 * uri)["images"]) <= 4
    assert len(gallery.build_gallery(env, looks, dynamic=True, space=1)["images"]) == 1
    assert {len(image["path"]) for image in gallery.build_gallery(env, looks, dynamic=False)["images"]} == {
        HORIZON
    }
    with pytest.raises(ValueError, match="expected the class probabilities"):
        gallery.build_gallery(env, replace(looks, probabilities=None), dynamic=True)


def test_a_run_that_diverged_has_a_report_too(written, env):
    looks = looks_of(env)
    _, told = written(
        probabilities=torch.full_like(looks.probabilities, float("nan")),
        stop=torch.full_like(looks.stop, float("nan")),
    )
    assert {len(image["path"]) for image in told["images"]} == {HORIZON}  # no probability says stop
    assert {share for image in told["images"] for step in image["probabilities"] for share in step} == {None}


def test_many_classes_show_the_probable_ones_with_answer_and_truth():
    shares = torch.zeros(2, 40)
    shares[0, 5], shares[0, 6:12] = 0.9, 0.01
    shares[1, 30], shares[1, 5] = 0.6, 0.4
    bars = gallery.choose_classes(shares, prediction=30, label=17)
    assert len(bars) == gallery.FEW
    assert bars[:2] == [30, 5]
    assert 17 in bars


def test_photographs_are_kept_small(env):
    large = torch.randint(
        0, 256, (3, 600, 400), dtype=torch.uint8, generator=torch.Generator().manual_seed(0)
    )
    source = gallery.encode_image(large)
    assert source.startswith("data:image/jpeg;base64,")
    assert Image.open(io.BytesIO(base64.b64decode(source.partition(",")[2]))).size == (256, 384)


def test_class_names_lose_numbers_and_underscores():
    names = ("004.Groove_billed_Ani", "n02085620-Chihuahua", "7", "1999", "a.b")
    assert [gallery.format_class_name(name) for name in names] == [
        "Groove billed Ani",
        "Chihuahua",
        "7",
        "1999",
        "a.b",
    ]


def test_page_is_one_file_without_paths_of_the_machine(written, env, with_figures):
    path, _ = written()
    html = path.read_text()
    assert "secret/" not in html.replace("…/secret", "")
    assert "--weights …/weights.pth" in html
    assert "…/net.pth" in html
    assert not re.search(
        r"""(?:src|href)=["']?(?!data:)[a-z/.]""", re.sub(r"<script>.*</script>", "", html, flags=re.DOTALL)
    )
    assert "http" not in html.replace("http-equiv", "").replace("http://www.w3.org/2000/svg", "")
    assert len(html) < 200_000
    assert list(path.parent.iterdir()) == [path]


def test_names_of_classes_cannot_break_the_page(env, tmp_path):
    looks = looks_of(env)
    env.images = replace(env.images, classes=(NASTY, *env.images.classes[1:]))
    target = tmp_path / "report.html"
    run_report.write_report(
        target, {**row_of(looks), "agent": NASTY}, {"dynamic": True, "progress": {"history": []}}, env, looks
    )
    assert data_in(target)["names"]["0"] == gallery.format_class_name(NASTY)
    assert "<b>004" not in target.read_text()


def test_curves_number_epochs_through_stages_and_mark_the_change(written, with_figures):
    html = written()[0].read_text()
    loss = re.search(r"<figcaption>Loss while training.*?</figure>", html, re.DOTALL)[0]
    assert re.findall(r"<title>(.*?)</title>", loss) == ["loss: 2 at 1", "loss: 1 at 2", "loss: -0.5 at 3"]
    assert ">look</text>" in loss
    assert ">stop</text>" in loss
    reward = re.search(r"<figcaption>Reward per episode while training.*?</figure>", html, re.DOTALL)[0]
    assert re.findall(r"<title>(.*?)</title>", reward) == [
        "reward: 0.5 at 2",
        "reward: 0.6 at 3",
    ]  # what is no number is left out
    assert (
        svg.render_chart(
            "nothing", plots.draw_learning_curves, [{"loss": None}, {"loss": float("nan")}], "Loss"
        )
        == ""
    )


def test_charts_take_the_colours_of_the_page_and_keep_text(written, with_figures):
    html = written()[0].read_text()
    charts = re.findall(r"<figure.*?</figure>", html, re.DOTALL)
    assert len(charts) == 6
    assert "<title>2: 6 images, " in charts[0]
    assert not any(
        "#" + colour in chart
        for chart in charts
        for colour in ("000000", "ffffff", "0072b2", "009e73", "d55e00")
    )
    assert all(">epoch</text>" in chart for chart in charts[2:])
    assert not any(" id=" in part for chart in charts for part in re.findall("<g[^>]*>", chart))


def test_a_point_shows_its_values_where_it_is_drawn(with_figures):
    html = svg.render_chart(
        "Loss", plots.draw_learning_curves, [{"loss": 3.0}, {"loss": 1.0}, {"loss": 2.0}], "Loss"
    )
    discs = re.findall(r'<circle class="touch" cx="([\d.]+)" cy="([\d.]+)" r="7"><title>(.*?)</title>', html)
    assert [values for *_, values in discs] == ["loss: 3 at 1", "loss: 1 at 2", "loss: 2 at 3"]
    across, down = (np.array([float(disc[axis]) for disc in discs]) for axis in (0, 1))
    path = next(
        path for path in re.findall(r'<path d="(M [^"]*?)"', html) if path.count("L") == 2 and "clip" in html
    )
    drawn = np.array([float(number) for number in re.findall(r"[\d.]+", path)]).reshape(-1, 2)
    np.testing.assert_allclose(np.stack([across, down], 1), drawn, atol=0.06)


def test_the_papers_figure_is_the_one_of_the_settings():
    row = {
        "agent": "dtram_reinforce",
        "dataset": "mnist",
        "split": "test",
        "options": {"gamma": 0.98},
        "per_step_accuracy": [0.5] * 7,
    }
    assert [(figure.error, figure.glimpses) for figure in published.find_figures(row)] == [(1.46, 3.6)]
    assert len(published.find_figures({**row, "options": {"gamma": 0.9}})) == 2
    ram = {**row, "agent": "ram_reinforce", "options": {}}
    assert published.find_figures(ram)[0].error == 1.07
    assert published.find_figures({**ram, "options": {"policy": "random"}}) == []
    assert published.find_figures({**row, "agent": "cleanrl_ppo"}) == []
    dogs = {
        "agent": "sermanet_rnn",
        "dataset": "dogs",
        "options": {"resolutions": ["high", "medium"]},
        "per_step_accuracy": [0.5] * 2,
    }
    assert published.find_figures(dogs)[0].value == 72.6
    assert published.find_figures({**dogs, "options": {"resolutions": ["low", "high"]}}) == []
    assert published.find_figures({**dogs, "agent": "baseline-rigid", "dataset": "cub"})[0].value == 79.0
    assert (
        published.explain_difference({"dataset": "cub", "split": "validation"}, 50)
        == "on 50 of the 200 classes and on the validation split, not the test images"
    )
    assert published.explain_difference({"dataset": "cub", "split": "test"}, 200) == ""
    assert (published.format_dataset_name("cub", 50), published.format_dataset_name("cub", 200)) == (
        "CUB-50",
        "CUB-200-2011",
    )


def test_a_papers_number_is_found_by_table_and_row():
    figure = published.find("DT-RAM", "Table 2", "mnist", "RAM, 7 glimpses")
    assert (figure.value, figure.error, figure.glimpses, figure.source) == (1.07, 1.07, 7, "DT-RAM, Table 2")
    assert published.find("Sermanet", "Table 1", "dogs", "high + medium, 1 glimpse").error == pytest.approx(
        29.3
    )
    assert list(published.read_table("FCAN", "Table 4", "cars"))[-2:] == ["rigid", "ground-truth boxes"]
    with pytest.raises(KeyError):
        published.find("FCAN", "Table 4", "cub", "rigid")


def test_commands_lose_the_folders_of_the_machine():
    given = (
        "python agents/a.py --out=/a/b/c --root ~/d C:\\e\\f runs/g --split fit:1/4 --gamma 0.9 ('/h/i', 2)"
    )
    assert (
        page.shorten_paths(given)
        == "python agents/a.py --out=…/c --root …/d …/f runs/g --split fit:1/4 --gamma 0.9 ('…/i', 2)"
    )
    given = "python agents/a.py --out '/a b/c/w.pth' '--root=/d e/cub' --rows 'RAM 7'"
    assert page.shorten_paths(given) == "python agents/a.py --out '…/w.pth' '--root=…/cub' --rows 'RAM 7'"


def test_the_example_of_its_page_runs(tmp_path, monkeypatch, with_figures):
    text = (Path(__file__).parents[2] / "docs" / "report.md").read_text()
    monkeypatch.chdir(tmp_path)
    exec(compile(re.findall(r"```python\n(.*?)```", text, re.DOTALL)[0], "report.md", "exec"), {})
    assert "0.90 ± 0.76" in Path("table.html").read_text()


def test_table_groups_runs_beside_the_paper(tmp_path, with_figures):
    published = {"accuracy": 0.9888, "mean_glimpses": 5.2}
    rows = [
        {"row": "DT-RAM", "seed": seed, "accuracy": value, "mean_glimpses": 2.0 + seed, "paper": published}
        for seed, value in ((0, 0.98), (1, 0.99))
    ]
    rows.append({"row": "<ours>", "seed": 0, "accuracy": 0.9, "mean_glimpses": 1.0, "paper": None})
    Image.new("RGB", (3, 2)).save(tmp_path / "a.png")
    table_report.write_table(
        tmp_path / "table.html", "Table 2", rows, {"a figure": tmp_path / "a.png"}, note="half of it"
    )
    html = (tmp_path / "table.html").read_text()
    lines = [
        re.findall(r"<t[hd][^>]*>(.*?)</t[hd]>", line) for line in re.findall(r"<tr>(.*?)</tr>", html)[1:]
    ]
    assert lines == [
        ["DT-RAM", "2", "1.50 ± 6.35", "2.50", "1.12", "5.2", "+0.38"],
        ["&lt;ours&gt;", "1", "10.00", "1.00", "", "", ""],
    ]
    assert "DT-RAM, seed 1: 1.00 %" in html
    assert html.count("data:image/png;base64,") == 1
    with pytest.raises(ValueError, match="at least one run"):
        table_report.write_table(tmp_path / "none.html", "none", [])
    with pytest.raises(ValueError, match="has no 'paper'"):
        table_report.write_table(
            tmp_path / "none.html", "none", [{"row": "a", "seed": 0, "accuracy": 1.0, "mean_glimpses": 1.0}]
        )
