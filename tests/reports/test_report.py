"""The report: its data, its charts and its texts; it loads nothing and holds no path of the machine."""

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
from glimpse_env.reports import gallery, page, plots, published, results, run_report, svg, table_report
from tests.conftest import HORIZON, IMAGES

HISTORY = [
    {
        "epoch": 1,
        "stage": "look",
        "train_accuracy": 0.3,
        "loss": 2.0,
        "mean_glimpses": 4.0,
        "reward": float("nan"),
    },
    {"epoch": 2, "stage": "look", "train_accuracy": 0.6, "loss": 1.0, "mean_glimpses": 4.0, "reward": 0.5},
    {"epoch": 1, "stage": "stop", "train_accuracy": 0.7, "loss": -0.5, "mean_glimpses": 2.0, "reward": 0.6},
]
for row, accuracy in zip(HISTORY, (None, 0.5, 0.6), strict=True):
    row["validation_accuracy"] = accuracy
NASTY = "</script><b>004.O'Hara_&"


def looks_of(env, seed=0):
    """Return trajectories: image i stops at glimpse i % 4 + 1 (the fourth glimpse is the last anyway)."""
    draw = torch.Generator().manual_seed(seed)
    shares = (3 * torch.randn(HORIZON, IMAGES, len(env.images.classes), generator=draw)).softmax(2)
    sure = torch.eye(5)[env.images.labels][None] * 0.9 + 0.02
    shares = torch.where((torch.arange(IMAGES) % 3 == 0)[None, :, None], sure, shares)
    best = shares.max(2)
    when = torch.arange(IMAGES) % HORIZON
    stop = 0.2 + 0.6 * (torch.arange(HORIZON)[:, None] >= when).float()
    locations = torch.rand(HORIZON, IMAGES, 2, generator=draw) * 2 - 1
    labels = env.images.labels
    return Trajectories(
        torch.arange(IMAGES), labels, best.indices, best.values, stop, locations, shares.half()
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
        looks, target = replace(looks_of(env), **changes), tmp_path / "report.html"
        saved = {"dynamic": dynamic, "progress": {"history": HISTORY}}
        run_report.write_report(target, row_of(looks, dynamic), saved, env, looks)
        return target, data_in(target)

    return write


def data_in(path):
    pattern = r'(?s)<script type="application/json" id="data">(.*?)</script>'
    return json.loads(re.search(pattern, path.read_text())[1])


def test_gallery_holds_the_trajectory_of_every_image(env):
    looks = looks_of(env)
    data = gallery.build_gallery(env, looks, dynamic=True)
    assert sorted(image["number"] for image in data["images"]) == list(range(IMAGES))
    for image in data["images"]:
        number, steps = image["number"], image["number"] % HORIZON + 1
        assert {len(image[key]) for key in ("path", "predictions", "stop", "probabilities")} == {steps}
        path, shares = looks.locations[:steps, number] * env.sensor.reach, looks.probabilities[:steps, number]
        np.testing.assert_allclose(image["path"], path, atol=1e-4)
        assert image["bars"] == [0, 1, 2, 3, 4]
        np.testing.assert_allclose(image["probabilities"], shares.float(), atol=1e-3)
        assert [int(np.argmax(share)) for share in image["probabilities"]] == image["predictions"]
        label = int(env.images.labels[number])
        assert image["correct"] == (image["predictions"][-1] == image["label"] == label)
        stored = np.asarray(Image.open(io.BytesIO(base64.b64decode(image["src"].partition(",")[2]))))
        np.testing.assert_array_equal(stored, env.images.image(number)[0].numpy())  # every pixel is stored
    assert [group["images"] for group in data["groups"]] == [6, 6, 6, 5]
    correct = sum(image["correct"] for image in data["images"])
    assert sum(group["correct"] for group in data["groups"]) == correct


def test_gallery_is_bounded_and_takes_every_step_correct_and_incorrect(env):
    looks = looks_of(env)
    data = gallery.build_gallery(env, looks, dynamic=True, most=8)
    cells = [(step, correct) for step in (1, 2, 3, 4) for correct in (False, True)]
    assert sorted((len(image["path"]), image["correct"]) for image in data["images"]) == cells
    uri = len(data["images"][0]["src"])
    assert 1 <= len(gallery.build_gallery(env, looks, dynamic=True, space=3 * uri)["images"]) <= 4
    assert len(gallery.build_gallery(env, looks, dynamic=True, space=1)["images"]) == 1
    fixed = gallery.build_gallery(env, looks, dynamic=False)["images"]
    assert {len(image["path"]) for image in fixed} == {HORIZON}
    with pytest.raises(ValueError, match="expected the class probabilities"):
        gallery.build_gallery(env, replace(looks, probabilities=None), dynamic=True)


def test_a_run_that_diverged_has_a_report_too(written, env):
    looks = looks_of(env)
    names = ("probabilities", "stop")
    _, data = written(**{name: torch.full_like(getattr(looks, name), float("nan")) for name in names})
    assert {len(image["path"]) for image in data["images"]} == {HORIZON}  # no probability says stop
    assert {share for image in data["images"] for step in image["probabilities"] for share in step} == {None}


def test_many_classes_show_the_probable_ones_with_prediction_and_truth():
    shares = torch.zeros(2, 40)
    shares[0, 5], shares[0, 6:12] = 0.9, 0.01
    shares[1, 30], shares[1, 5] = 0.6, 0.4
    bars = gallery.choose_classes(shares, prediction=30, label=17)
    assert len(bars) == gallery.FEW
    assert bars[:2] == [30, 5]
    assert 17 in bars


def test_photographs_are_stored_small(env):
    generator = torch.Generator().manual_seed(0)
    large = torch.randint(0, 256, (3, 600, 400), dtype=torch.uint8, generator=generator)
    source = gallery.encode_image(large)
    assert source.startswith("data:image/jpeg;base64,")
    assert Image.open(io.BytesIO(base64.b64decode(source.partition(",")[2]))).size == (256, 384)


def test_class_names_lose_numbers_and_underscores():
    names = ("004.Groove_billed_Ani", "n02085620-Chihuahua", "7", "1999", "a.b")
    shown = ["Groove billed Ani", "Chihuahua", "7", "1999", "a.b"]
    assert [gallery.format_class_name(name) for name in names] == shown


def test_page_is_one_file_without_paths_of_the_machine(written, env, with_figures):
    path, _ = written()
    html = path.read_text()
    assert "secret/" not in html.replace("…/secret", "")
    assert "--weights …/weights.pth" in html
    assert "…/net.pth" in html
    markup = re.sub(r"(?s)<script>.*</script>", "", html)
    assert not re.search(r"""(?:src|href)=["']?(?!data:)[a-z/.]""", markup)
    assert "http" not in html.replace("http-equiv", "").replace("http://www.w3.org/2000/svg", "")
    assert len(html) < 200_000
    assert list(path.parent.iterdir()) == [path]


def test_names_of_classes_cannot_break_the_page(env, tmp_path):
    looks = looks_of(env)
    env.images = replace(env.images, classes=(NASTY, *env.images.classes[1:]))
    target = tmp_path / "report.html"
    row, saved = row_of(looks) | {"agent": NASTY}, {"dynamic": True, "progress": {"history": []}}
    run_report.write_report(target, row, saved, env, looks)
    assert data_in(target)["names"]["0"] == gallery.format_class_name(NASTY)
    assert "<b>004" not in target.read_text()


def test_curves_number_epochs_through_stages_and_mark_the_change(written, with_figures):
    html = written()[0].read_text()
    loss = re.search(r"<figcaption>Loss while training.*?</figure>", html, re.DOTALL)[0]
    assert re.findall(r"<title>(.*?)</title>", loss) == ["loss: 2 at 1", "loss: 1 at 2", "loss: -0.5 at 3"]
    assert ">look</text>" in loss
    assert ">stop</text>" in loss
    reward = re.search(r"<figcaption>Reward per episode while training.*?</figure>", html, re.DOTALL)[0]
    points = re.findall(r"<title>(.*?)</title>", reward)
    assert points == ["reward: 0.5 at 2", "reward: 0.6 at 3"]  # NaN is left out
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
    history = [{"loss": 3.0}, {"loss": 1.0}, {"loss": 2.0}]
    html = svg.render_chart("Loss", plots.draw_learning_curves, history, "Loss")
    discs = re.findall(r'<circle class="touch" cx="([\d.]+)" cy="([\d.]+)" r="7"><title>(.*?)</title>', html)
    assert [values for *_, values in discs] == ["loss: 3 at 1", "loss: 1 at 2", "loss: 2 at 3"]
    across, down = (np.array([float(disc[axis]) for disc in discs]) for axis in (0, 1))
    paths = re.findall(r'<path d="(M [^"]*?)"', html)
    path = next(path for path in paths if path.count("L") == 2 and "clip" in html)
    drawn = np.array([float(number) for number in re.findall(r"[\d.]+", path)]).reshape(-1, 2)
    np.testing.assert_allclose(np.stack([across, down], 1), drawn, atol=0.06)


def test_the_papers_figure_is_the_one_of_the_settings():
    row = {"agent": "dtram_reinforce", "dataset": "mnist", "split": "test", "options": {"gamma": 0.98}}
    row["per_step_accuracy"] = [0.5] * 7
    assert [(figure.error, figure.glimpses) for figure in published.find_figures(row)] == [(1.46, 3.6)]
    assert len(published.find_figures({**row, "options": {"gamma": 0.9}})) == 2
    ram = {**row, "agent": "ram_reinforce", "options": {}}
    assert published.find_figures(ram)[0].error == 1.07
    assert published.find_figures({**ram, "options": {"policy": "random"}}) == []
    assert published.find_figures({**row, "agent": "cleanrl_ppo"}) == []
    dogs = {"agent": "sermanet_rnn", "dataset": "dogs", "options": {"resolutions": ["high", "medium"]}}
    dogs["per_step_accuracy"] = [0.5] * 2
    assert published.find_figures(dogs)[0].value == 72.6
    assert published.find_figures({**dogs, "options": {"resolutions": ["low", "high"]}}) == []
    assert published.find_figures({**dogs, "agent": "baseline-rigid", "dataset": "cub"})[0].value == 79.0
    reason = published.explain_difference({"dataset": "cub", "split": "validation"}, 50)
    assert reason == "on 50 of the 200 classes and on the validation split, not the test images"
    assert published.explain_difference({"dataset": "cub", "split": "test"}, 200) == ""
    assert published.format_dataset_name("cub", 50) == "CUB-50"
    assert published.format_dataset_name("cub", 200) == "CUB-200-2011"


def test_a_papers_number_is_found_by_table_and_row():
    figure = published.find("DT-RAM", "Table 2", "mnist", "RAM, 7 glimpses")
    assert (figure.value, figure.error, figure.glimpses, figure.source) == (1.07, 1.07, 7, "DT-RAM, Table 2")
    figure = published.find("Sermanet", "Table 1", "dogs", "high + medium, 1 glimpse")
    assert figure.error == pytest.approx(29.3)
    assert list(published.read_table("FCAN", "Table 4", "cars"))[-2:] == ["rigid", "ground-truth boxes"]
    with pytest.raises(KeyError):
        published.find("FCAN", "Table 4", "cub", "rigid")


def test_commands_lose_the_folders_of_the_machine():
    given = (
        "python agents/a.py --out=/a/b/c --root ~/d C:\\e\\f runs/g --split fit:1/4 --gamma 0.9 ('/h/i', 2)"
    )
    short = "python agents/a.py --out=…/c --root …/d …/f runs/g --split fit:1/4 --gamma 0.9 ('…/i', 2)"
    assert page.shorten_paths(given) == short
    given = "python agents/a.py --out '/a b/c/w.pth' '--root=/d e/cub' --rows 'RAM 7'"
    assert page.shorten_paths(given) == "python agents/a.py --out '…/w.pth' '--root=…/cub' --rows 'RAM 7'"


def test_the_example_of_its_page_runs(tmp_path, monkeypatch, with_figures):
    text = (Path(__file__).parents[2] / "docs" / "report.md").read_text()
    monkeypatch.chdir(tmp_path)
    exec(compile(re.findall(r"```python\n(.*?)```", text, re.DOTALL)[0], "report.md", "exec"), {})
    assert "0.90 ± 0.76" in Path("table.html").read_text()


def test_means_over_classes_are_compared_where_the_published_numbers_are(env, tmp_path):
    """Of five classes, 0 has ten images and is always predicted: errors over images and classes differ."""
    looks = looks_of(env)
    looks = replace(looks, labels=torch.arange(IMAGES).remainder(5).where(torch.arange(IMAGES) > 9, 0))
    row = row_of(looks) | {"agent": "sermanet_rnn", "dataset": "dogs"}
    row["options"] = {"resolutions": ["high"]}
    saved = {"dynamic": True, "progress": {"history": HISTORY}}
    run_report.write_report(tmp_path / "report.html", row, saved, env, looks)
    html = (tmp_path / "report.html").read_text()
    by_image, by_class = (f"{100 * (1 - row[name]):.2f}" for name in ("accuracy", "mean_class_accuracy"))
    assert by_image != by_class
    own = html[html.index("this run</strong>") :][:200]
    assert by_class in own
    assert by_image not in own
    assert "mean class error, %" in html
    assert f"error is {by_image} %" in html
    assert f"mean over classes {100 * row['mean_class_accuracy']:.2f} %" in html
    assert f"mean class error {by_class:>5} %  error {by_image:>5} %" in results.format_row(
        row | {"train_seconds": 1.0}
    )
    old = {name: value for name, value in row.items() if "mean_class" not in name}  # of an earlier version
    assert "mean class" not in results.format_row(old)
    usual = row_of(looks) | {"dataset": "cub"}
    run_report.write_report(tmp_path / "usual.html", usual, saved, env, looks)
    assert "mean class" not in (tmp_path / "usual.html").read_text()
    assert published.averages_classes("ram_reinforce", "dogs")
    assert published.find("FCAN", "Table 2", "dogs", "rigid").measure == "mean class accuracy"
    assert published.find("FCAN", "Table 6", "cub", "rigid").measure == "accuracy"


def test_a_table_compares_means_over_classes_beside_those_over_images(tmp_path, with_figures):
    paper = {"accuracy": 0.75}
    run = {"row": "high", "seed": 0, "accuracy": 0.9, "mean_class_accuracy": 0.8, "mean_glimpses": 1.0}
    target = tmp_path / "table.html"
    table_report.write_table(target, "Table 1", [run | {"paper": paper}], measure="mean_class_accuracy")
    html = target.read_text()
    line = re.findall(r"<tr>(.*?)</tr>", html)[1]
    cells = re.findall(r"<t[hd][^>]*>(.*?)</t[hd]>", line)
    assert cells == ["high", "1", "20.00", "10.00", "1.00", "25.00", "", "\u22125.00"]
    assert "Mean class error, %" in html
    old = {name: value for name, value in run.items() if name != "mean_class_accuracy"} | {"paper": None}
    table_report.write_table(target, "Table 1", [old])
    with pytest.raises(ValueError, match="has no 'mean_class_accuracy'"):
        table_report.write_table(target, "Table 1", [old], measure="mean_class_accuracy")


def test_table_groups_runs_beside_the_paper(tmp_path, with_figures):
    published = {"accuracy": 0.9888, "mean_glimpses": 5.2}
    rows = [
        {"row": "DT-RAM", "seed": seed, "accuracy": value, "mean_glimpses": 2.0 + seed, "paper": published}
        for seed, value in ((0, 0.98), (1, 0.99))
    ]
    rows.append({"row": "<ours>", "seed": 0, "accuracy": 0.9, "mean_glimpses": 1.0, "paper": None})
    Image.new("RGB", (3, 2)).save(tmp_path / "a.png")
    target, figures = tmp_path / "table.html", {"a figure": tmp_path / "a.png"}
    table_report.write_table(target, "Table 2", rows, figures, note="half of it")
    html = target.read_text()
    lines = re.findall(r"<tr>(.*?)</tr>", html)[1:]
    assert [re.findall(r"<t[hd][^>]*>(.*?)</t[hd]>", line) for line in lines] == [
        ["DT-RAM", "2", "1.50 ± 6.35", "2.50", "1.12", "5.2", "+0.38"],
        ["&lt;ours&gt;", "1", "10.00", "1.00", "", "", ""],
    ]
    assert "DT-RAM, seed 1: 1.00 %" in html
    assert html.count("data:image/png;base64,") == 1
    with pytest.raises(ValueError, match="at least one run"):
        table_report.write_table(tmp_path / "none.html", "none", [])
    del rows[0]["paper"]
    with pytest.raises(ValueError, match="has no 'paper'"):
        table_report.write_table(tmp_path / "none.html", "none", rows)
