"""The tables themselves: their entries, the printed comparison, the verdicts, and the figures."""

import json
from dataclasses import replace

import figures
import pages
import pytest
import reproduce
import torch
from dtram_reinforce import StopOptions
from fcan.plan import FcanOptions
from fcan.regions_table import list_combinations
from papers import fcan
from papers.tables import TABLES
from ram_reinforce import Options
from reproduction import compare, measure, rows, runs, text_table
from reproduction.compare import Point
from reproduction.runs import Settings
from reproduction.spec import Row, Run, Table
from reproduction.text_table import About
from sermanet_rnn import SermanetOptions
from whole_image import WholeImageOptions

from glimpse_env.evaluation import intervals, stopping_rules
from glimpse_env.evaluation.trajectories import Trajectories
from glimpse_env.reports import plots

OWN = Row(Run("dtram"))  # predicts when the agent stops


def settings(dataset: str, **more: object) -> Settings:
    return Settings(dataset=dataset, split="fit", **more)


@pytest.mark.parametrize("name", TABLES)
def test_every_row_is_a_run_of_its_agent_and_every_name_is_a_row(name, tmp_path):
    table = TABLES[name]
    assert {*table.against, *table.pairs, *table.pairs.values()} <= set(table.rows)
    if table.rows_of:  # a figure of another table's rows
        assert all(TABLES[table.rows_of].rows[row] == one for row, one in table.rows.items())
    for dataset in table.datasets:
        for row in table.rows.values():
            own = settings(dataset, out=tmp_path)
            options = runs.list_options(own, row.run, 3)
            assert (options["seed"], options["dataset"], options["split"]) == (3, dataset, "fit")
            assert all(options[name] == value for name, value in row.run.options.items())
            if row.run.start is not None:
                assert options["ram"] == runs.folder(own, row.run.start, 3) / "checkpoint.pt"
                assert options["glimpses"] == row.run.start.options["glimpses"]


def test_tables_share_runs_that_are_the_same_and_no_others():
    given = settings("cub")

    def name(table: str, row: str) -> str:
        return runs.folder(given, TABLES[table].rows[row].run, 0).name

    six = name("dtram-6", "6 glimpses")
    assert six == name("dtram-7", "> 0.5") == name("dtram-9", "6 glimpses, with supervision")
    assert name("dtram-3", "RAM 3") == name("dtram-8", "3 glimpses, without") != name("dtram-6", "3 glimpses")
    assert name("dtram-3", "one view") == name("dtram-6", "1 glimpse")
    assert name("dtram-2", "RAM 7") == name("dtram-2", "RAM 7, answering after 4")
    for table in ("dtram-2", "dtram-5", "dtram-6", "dtram-8", "dtram-9", "dtram-9-state", "sermanet-1"):
        own = [row for row, one in TABLES[table].rows.items() if one.by_itself]
        assert len({name(table, row) for row in own}) == len(own)


def test_one_weights_option_serves_several_networks():
    given = settings("cub", weights="tuned/{backbone}/weights.pth")

    def weights(table: str, row: str) -> str:
        return runs.list_options(given, TABLES[table].rows[row].run, 0)["weights"]

    assert weights("dtram-5", "RAM-34, 224") == "tuned/resnet34/weights.pth"
    assert weights("dtram-6", "1 glimpse") == "tuned/resnet50/weights.pth"
    assert "weights" not in runs.list_options(settings("cub"), TABLES["fcan-6"].rows["whole image"].run, 0)


def test_the_rows_options_count_before_the_tables_and_these_before_the_recipe():
    run, small = TABLES["sermanet-1"].rows["high, 2"].run, TABLES["dtram-5"].rows["RAM-50, 224"].run
    assert "augment" not in runs.list_options(settings("cub"), run, 0)  # left to the recipe
    assert not runs.list_options(settings("cub", augment=False), run, 0)["augment"]
    assert runs.list_options(settings("cub", image_size=300), small, 0)["image_size"] == 256


def choose(table: str, **given: object) -> reproduce.Reproduce:
    return reproduce.find_table(reproduce.Reproduce(table=table, **given))[0]


def test_a_setting_is_part_of_a_folder_and_of_a_row_only_where_it_is_given():
    run = TABLES["dtram-6"].rows["6 glimpses"].run
    plain = choose("dtram-6")
    assert runs.folder(plain, run, 0).name == "ram-cub-train-curriculum-0.3-glimpses-6-0"
    assert runs.describe_setting(plain) == ""
    assert not {"view_size", "glimpse_size", "scales"} & runs.list_options(plain, run, 0).keys()
    paper = choose("dtram-6", setting="paper")
    words = "backbone resnet34, image size 256, view size 224, glimpse size 224, scales 0.4464"
    assert runs.describe_setting(paper) == words
    sizes = "glimpse_size-224-glimpses-6-image_size-256-scales-0.4464-view_size-224"
    assert runs.folder(paper, run, 0).name == f"ram-cub-train-backbone-resnet34-curriculum-0.3-{sizes}-0"
    options = runs.list_options(paper, run, 0)
    assert (options["backbone"], options["scales"], options["view_size"]) == ("resnet34", (0.4464,), 224)
    other = choose("dtram-6", setting="paper", backbone="resnet18")
    assert runs.describe_setting(other) == words.replace("34", "18")


def test_rows_of_a_setting_are_a_table_of_their_own(tmp_path):
    small = [row | {"setting": "backbone resnet18"} for row in some_rows()]
    rows.add(tmp_path / "t.jsonl", some_rows())
    rows.add(tmp_path / "t.jsonl", small)
    groups = text_table.group_rows(TABLE, rows.read(tmp_path / "t.jsonl"))
    about = About("CUB-50", "fit", "test", "backbone resnet18")
    assert list(groups) == [About("CUB-50", "fit", "test"), about]
    assert all(len(runs) == 2 for group in groups.values() for runs in group.values())
    assert "4 images of test; setting: backbone resnet18" in text_table.format_table(
        TABLE, about, groups[about]
    )
    assert about.name_file("a") == "a-CUB-50-fit-test-backbone-resnet18"


@pytest.mark.parametrize(
    ("table", "given", "message"),
    [
        ("dtram-6", {"setting": "papers"}, "--setting papers: dtram-6 has no such setting; it has paper"),
        ("dtram-3", {"setting": "paper"}, "--setting paper: dtram-3 has no such setting; it has none"),
        ("fcan-6", {"glimpse_size": 100}, "--glimpse-size: no agent of fcan-6 takes it"),
    ],
)
def test_settings_that_a_table_does_not_have_are_refused(table, given, message):
    with pytest.raises(ValueError, match=message):
        choose(table, **given)


def test_the_agents_know_every_option_of_every_table():
    """By their classes of options, which their command lines are made of."""
    kinds = {"ram": Options, "dtram": StopOptions, "sermanet": SermanetOptions, "fcan": FcanOptions}
    kinds["whole_image"] = WholeImageOptions
    for table in TABLES.values():
        for row in table.rows.values():
            options = runs.list_options(settings(table.datasets[0]), row.run, 0)
            assert options.keys() <= kinds[row.run.agent].__dataclass_fields__.keys()


def test_rows_of_fcan_are_those_of_its_result():
    assert set(fcan.ROWS) <= set(list_combinations(FcanOptions.parts, boxes=True))
    later = {"rows": [{"row": "whole + part2-8x8", "regions": ["whole", "part2-8x8"]}]}
    assert measure.list_regions(later)[measure.fcan_row("whole + part1-8x8")] == ["whole", "part2-8x8"]


TABLE = Table(
    "By hand",
    ("mnist",),
    {
        "RAM 1": Row(Run("ram", {"glimpses": 1}), 60.0, 1),
        "RAM 2": Row(Run("ram", {"glimpses": 2}), 20.0, 2),
        "DT": Row(Run("dtram"), 30.0, 1.5),
    },
    measure="error",
    against=("RAM 2",),
    pairs={"DT": "RAM 1"},
    quoted={"conv": 1.21},
)


def made_up(row: str, seed: int, correct: list[int], glimpses: float, **more: object) -> dict:
    bits = torch.tensor(correct, dtype=torch.bool)
    about = {
        "format": 1,
        "table": "dtram-2",
        "row": row,
        "part": "CUB-50",
        "split": "fit",
        "measured": "test",
    }
    about |= {"seed": seed, "options": {"gamma": 0.98}, "weights_sha256": None}
    about |= {"classes": 50, "of_classes": 200, "images": len(correct)}
    measures = {"accuracy": bits.float().mean().item(), "right": rows.pack_bits(bits)}
    return about | measures | {"mean_glimpses": glimpses} | more


def some_rows() -> list[dict]:
    first = rows.pack_bits(torch.tensor([True, False, False, False]))
    second = rows.pack_bits(torch.tensor([True, True, True, False]))
    mixture = {"threshold": [[0.5, first], [0.5, second]], "fixed": [[1.0, first], [0.0, second]]}
    return [
        *(made_up("RAM 1", seed, [1, 0, 0, 0], 1.0) for seed in (0, 1)),
        *(made_up("RAM 2", seed, [1, 1, 1, 0], 2.0) for seed in (0, 1)),
        *(made_up("DT", seed, [1, 1, 0, seed], 1.5, rivals=mixture) for seed in (0, 1)),
    ]


def test_the_printed_table_by_hand():
    ((about, group),) = text_table.group_rows(TABLE, some_rows()).items()
    assert about == About("CUB-50", "fit", "test")
    text = text_table.format_table(TABLE, about, group)
    assert "CUB-50 (50 of 200 classes), trained on fit, 4 images of test" in text
    lines = {line.split("  ")[0]: line for line in text.splitlines()}
    assert lines["conv"].split() == ["conv", "1.21"]
    assert lines["RAM 1"].split()[2:9] == ["60", "at", "1", "75.00", "+-", "0.00", "+15.00"]
    # Errors 50 and 25 %: 37.5, 7.5 above the paper's; image 3 is lost (+25), image 4 won in one seed (-12.5).
    assert lines["DT"].split()[1:4] == ["30", "at", "1.5"]
    assert "37.50 +- 158.83    +7.50      1.50     2" in lines["DT"]
    assert "+12.50 [" in lines["DT"]
    assert lines["DT"].endswith("to 'RAM 1'")
    assert "-37.50 [" in lines["DT"]


def test_a_table_on_dogs_compares_means_over_classes_beside_those_over_images():
    birds = replace(TABLE, datasets=("cub", "dogs"))
    table = birds.on("dogs")
    assert (birds.on("cub"), table.measure, table.accuracy) == (birds, *["mean_class_accuracy"] * 2)
    known = [run | {"mean_class_accuracy": 0.4 + run["seed"] / 5} for run in some_rows()]
    ((about, group),) = text_table.group_rows(table, known).items()
    text = text_table.format_table(table, about, group)
    assert "note: differences between rows are of the accuracy over images" in text
    (line,) = [line for line in text.splitlines() if line.startswith("RAM 1")]
    assert line.split()[5:12] == ["50.00", "+-", "127.06", "-10.00", "25.00", "+-", "0.00"]
    heads, *quoted_and_rows = pages.list_cells(table, group, paired=True)
    assert heads[:5] == ["", *[f"{who}: mean class accuracy %" for who in ("paper", "ours")], *heads[3:5]]
    assert heads[4] == "accuracy %"
    assert {len(cells) for cells in quoted_and_rows} == {len(heads)}


def test_own_step_rewards_leave_the_other_rows_as_they_were():
    rewards = TABLES["rewards"].rows
    own = {name: row.run.options.get("location_discount") for name, row in rewards.items()}
    assert {name for name, discount in own.items() if discount == 0} == {
        "greedy, own step",
        "information gain, own step",
    }
    assert rewards["greedy"].run.own == {"glimpses": 7, "reward": "greedy"}


def test_paired_difference_by_hand():
    first = torch.tensor([[1.0, 1.0, 0.0, 1.0], [1.0, 0.0, 0.0, 1.0]])  # two seeds, four images
    second = torch.tensor([[1.0, 0.0, 0.0, 1.0], [1.0, 0.0, 0.0, 1.0]])
    mean, low, high = intervals.compare_paired(first, second)
    assert mean == pytest.approx(12.5)  # one image, right for one of two seeds more
    assert low == 0 < high
    assert intervals.compare_paired(first, first) == (0, 0, 0)


def test_parts_and_splits_are_tables_of_their_own():
    whole = [row | {"part": "CUB-200", "classes": 200} for row in some_rows()]
    groups = text_table.group_rows(TABLE, some_rows() + whole)
    assert set(groups) == {About("CUB-50", "fit", "test"), About("CUB-200", "fit", "test")}
    assert all(len(runs) == 2 for group in groups.values() for runs in group.values())


def test_rivals_at_equal_glimpses_by_hand():
    ((_, group),) = text_table.group_rows(TABLE, some_rows()).items()
    (point,) = compare.find_points(TABLE, group)
    assert (point.row, point.glimpses) == ("DT", 1.5)
    # DT is correct in 62.5 % of the cases, the mixtures in 50 and 25 %, half of each RAM in 50 %.
    ahead = [point.ahead[rival][0] for rival in ("threshold", "fixed", "trained")]
    assert ahead == pytest.approx([12.5, 37.5, 12.5])
    assert "DT" in compare.format_points([point])


@pytest.mark.parametrize(
    ("glimpses", "interval", "verdict"),
    [
        (1.4, (0.1, 0.2), "(not judged)"),
        (1.5, (0.01, 0.2), "better"),
        (1.5, (-0.09, 0.2), "not worse"),
        (3.0, (-0.3, 0.2), "open"),
        (3.0, (-0.3, -0.05), "open"),
        (3.0, (-0.3, -0.11), "worse"),
    ],
)
def test_verdicts_at_the_margin(glimpses, interval, verdict):
    assert Point("DT", glimpses, {"threshold": (0.0, *interval)}).judge("threshold") == verdict


def test_a_rows_rivals_are_those_of_its_trajectories():
    torch.manual_seed(0)
    count = 40
    index, predictions = torch.arange(count), torch.randint(0, 3, (4, count))
    confidence, stop, locations = torch.rand(4, count), torch.rand(4, count), torch.zeros(4, count, 2)
    looks = Trajectories(index, index % 3, predictions, confidence, stop, locations)
    row = json.loads(json.dumps(measure.measure_steps(looks, True, OWN)))
    when = stopping_rules.LEARNED.find_stops(looks)
    assert row["glimpse_histogram"] == torch.bincount(when, minlength=4).tolist()
    glimpses = stopping_rules.compute_mean_glimpses(when)
    for name, mixture in (
        ("threshold", stopping_rules.mix_thresholds(looks, glimpses)),
        ("fixed", stopping_rules.mix_fixed_numbers(looks, glimpses)),
    ):
        score = stopping_rules.score_mixture(looks, mixture)
        assert torch.allclose(compare.mix(row["rivals"][name], count), score)
    assert "rivals" not in measure.measure_steps(looks, True, replace(OWN, threshold=0.5))
    second = measure.measure_steps(looks, True, replace(OWN, after=2))
    assert second["accuracy"] == pytest.approx(looks.correct[1].float().mean().item())
    assert second["mean_glimpses"] == 2
    assert "rivals" not in second


@pytest.fixture
def drawn(monkeypatch):
    """Figures that are saved, by file name."""
    found = {}
    monkeypatch.setattr(plots, "save", lambda figure, target: found.update({target.name: figure}))
    return found


def test_figures_show_the_rows(tmp_path, drawn):
    curve = [{"threshold": 0.5, "mean_glimpses": 1.2, "accuracy": 0.4}]
    shared = {"per_step_accuracy": [0.2, 0.7], "threshold_curve": curve}
    shared |= {"random_stop_accuracy": 0.3, "glimpse_histogram": [3, 1]}
    names = {"RAM 1": "RAM 2", "RAM 2": "RAM 7", "DT": "DT-RAM-1 (gamma .98)"}
    some = [row | shared | {"row": names[row["row"]]} for row in some_rows()]
    rows.add(tmp_path / "dtram-2-cub.jsonl", some)
    paper = [row | {"split": "train", "options": {"paper": True}} for row in some]
    rows.add(tmp_path / "dtram-2-paper-cub.jsonl", paper)
    figures.main(figures.Figures(("stopping", "histogram"), results=tmp_path))
    assert set(drawn) == {"stopping-CUB-50.png", "histogram-CUB-50.png"}  # of our own settings alone
    axes = drawn["stopping-CUB-50.png"].axes[0]
    points = {bars.get_label(): bars.lines[0].get_xydata().round(6).tolist() for bars in axes.containers}
    assert points["fixed number of glimpses, one network"] == [[1, 80], [2, 30]]
    assert points["RAM trained with a fixed number"] == [[1, 75], [2, 25]]
    assert points["stop above a confidence"] == [[1.2, 60]]
    assert points["DT-RAM, several discounts"] == [[1.5, 37.5]]
    assert points["random stop, as many as DT-RAM"] == [[1.5, 70]]
    assert [bar.get_height() for bar in drawn["histogram-CUB-50.png"].axes[0].patches] == [75, 25]


def test_costs_of_the_same_images_are_compared_whatever_the_split_of_training():
    some = {"a row": [{}]}
    eighth, quarter = About("CUB-50", "a", "test"), About("CUB-50", "b", "test")
    held_out = About("CUB-50", "a", "validation")
    known = {
        eighth: {"dtram-6": some, "dtram-3": some},
        quarter: {"fcan-6": some},
        held_out: {"dtram-6": some},
    }
    together = {eighth: {"dtram-6": some, "fcan-6": some}, held_out: {"dtram-6": some}}
    assert figures.select_rows(figures.FIGURES["cost"], known) == together
    known[quarter]["dtram-6"] = some  # a row for each: they stay apart
    assert list(figures.select_rows(figures.FIGURES["cost"], known)) == list(known)
    assert list(figures.select_rows(figures.FIGURES["ablations"], known)) == list(known)


def test_figures_without_rows_are_named(tmp_path, capsys):
    figures.main(figures.Figures(results=tmp_path))
    lines = [f"{name}: {tmp_path} has no rows for it" for name in figures.FIGURES]
    assert capsys.readouterr().out.splitlines() == lines
    with pytest.raises(ValueError, match="'pie': expected some of stopping"):
        figures.main(figures.Figures(("pie",), results=tmp_path))


def test_rows_of_several_networks_are_one_table():
    """Seeds tell networks apart; the interval is over both, and each is listed alone."""
    both = [row | {"weights_sha256": f"network {row['seed']}"} for row in some_rows()]
    ((about, group),) = text_table.group_rows(TABLE, both).items()
    text = text_table.format_table(TABLE, about, group)
    assert "note: 2 frozen networks, of seeds 0; 1; differences with an interval over both" in text
    assert "network network  alone:" in text
    alone = [line for line in text.splitlines() if line.startswith("  DT: ")]
    # One error more of four images than RAM 2 with seed 0; with seed 1 another image instead.
    assert [line.split()[1] for line in alone] == ["+25.00", "+0.00"]
    mean, low, high = text_table.compare_rows(group["DT"], group["RAM 2"])
    assert mean == pytest.approx(-12.5)
    assert low <= -50
    assert high >= 25
    assert "frozen networks" not in text_table.format_table(TABLE, about, {"DT": group["DT"][:1]})


def test_the_papers_numbers_stay_with_its_kind_of_images():
    table = reproduce.TABLES["dtram-8"]
    assert table.on("cars").rows["1 glimpse"].paper == 79.9
    assert {row.paper for row in table.on("mnist").rows.values()} == {None}
