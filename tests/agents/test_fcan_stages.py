"""FCAN's stages on a small folder of pictures: what they write, reuse and refuse; the table's arithmetic."""

import json
import shutil
import sys
from dataclasses import replace
from pathlib import Path

import fcan_greedy
import numpy as np
import pytest
import torch
from fcan import regions_table, score_maps
from fcan.plan import FcanOptions
from PIL import Image

from glimpse_env import Backbone, ImageSet
from glimpse_env.networks import fcan
from glimpse_env.reports import plots, results
from glimpse_env.runtime import checkpoint, files

SMALL = {
    "backbone": "resnet18",
    "start": None,
    "split": "fit:1/4",
    "image_size": 64,
    "crop_size": 32,
    "parts": (1, 2),
    "samples": 4,
    "epochs": 3,
    "tune_epochs": 1,
    "threads": 1,
    "precision": "float32",
}
NOTES = ("tune.json", "localise.json", "classify.json")
FILES = (
    "checkpoint.pt",
    "result.json",
    "looks.npz",
    "score_maps.png",
    "learning_curves.png",
    "classify/result.json",
    "classify/report.html",
    "tune/weights.pth",
)


@pytest.fixture(scope="module")
def pictures(painted) -> str:
    """Two classes of pictures: red and blue squares in one of four corners."""

    def paint(pixels, name, number):
        x, y = 32 * (number % 2), 32 * (number // 2 % 2)
        pixels[y : y + 32, x : x + 32, 0 if name == "red" else 2] += 180

    return painted(("red", "blue"), (8, 2), paint, (64, 64), 60)


@pytest.fixture(autouse=True)
def surroundings(monkeypatch, tmp_path):
    monkeypatch.setattr(sys, "argv", ["fcan_greedy.py"])
    monkeypatch.setenv("GLIMPSE_CACHE", str(tmp_path / "cache"))


@pytest.fixture(scope="module")
def done(pictures, tmp_path_factory) -> FcanOptions:
    """A run of all stages."""
    options = FcanOptions(dataset=pictures, out=tmp_path_factory.mktemp("run"), **SMALL)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["fcan_greedy.py"])
        fcan_greedy.main(options)
    return options


def times(out: Path) -> dict[str, int]:
    return {name: (out / name).stat().st_mtime_ns for name in (*FILES, *NOTES)}


def copied(done: FcanOptions, target: Path) -> FcanOptions:
    """Return the options of a copy of the run; links do, since files are replaced and never written into."""
    for file in done.out.rglob("*"):
        if file.is_file():
            place = target / file.relative_to(done.out)
            place.parent.mkdir(parents=True, exist_ok=True)
            place.hardlink_to(file)
    return replace(done, out=target)


def test_one_command_makes_every_stage(done):
    row = json.loads((done.out / "result.json").read_text())
    assert (row["agent"], row["split"], row["images"], row["mean_glimpses"]) == (
        "fcan_greedy",
        "validation:1/4",
        4,
        3,
    )
    final = json.loads((done.out / "classify" / "result.json").read_text())
    assert final["images"] == 4
    assert [one["row"] for one in final["rows"]] == list(regions_table.list_combinations((1, 2)))
    assert final["accuracy"] == next(
        one["accuracy"] for one in final["rows"] if one["row"] == "whole + all parts"
    )
    assert final["cost"]["stages"]["classify"]["flops"] == 3 * final["cost"]["stages"]["whole"]["flops"] > 0
    assert all((done.out / name).is_file() for name in FILES)
    history = checkpoint.load(done.out / "checkpoint.pt")["progress"]["history"]
    assert [one["epoch"] for one in history] == [1, 2, 3]
    assert all(
        {"reward", "train_accuracy", "validation_accuracy", "entropy"} <= one.keys() for one in history
    )


def test_the_checkpoint_alone_gives_the_row_again(done, tmp_path):
    other = copied(done, tmp_path)
    before = json.loads((other.out / "result.json").read_text())
    again = results.write(other.out / "checkpoint.pt")
    assert again["per_step_accuracy"] == before["per_step_accuracy"]
    assert results.write(other.out / "checkpoint.pt", "test")["images"] == 4
    assert (other.out / "result-test.json").is_file()


def test_a_second_run_repeats_nothing(done, tmp_path):
    other = copied(done, tmp_path)
    before = times(other.out)
    fcan_greedy.main(other)
    assert times(other.out) == before


def test_one_stage_runs_again_and_later_ones_are_not_reused(done, tmp_path):
    other = copied(done, tmp_path)
    before = times(other.out)
    again = replace(other, stage="classify", final_penalty=0.1)
    ways = r"resume it \(--resume\), write to another folder \(--out\), or replace it \(--overwrite\)"
    for stage, folder in (("tune", "/tune"), ("localise", ""), ("classify", "/classify")):
        with pytest.raises(SystemExit, match=rf"fcan_greedy: .*{tmp_path.name}{folder} holds .*: {ways}"):
            fcan_greedy.main(replace(again, stage=stage))
    assert times(other.out) == before
    fcan_greedy.main(replace(again, overwrite=True))
    after = times(other.out)
    assert {name for name in after if after[name] != before[name]} == {
        "classify/result.json",
        "classify/report.html",
        "classify.json",
    }
    fcan_greedy.main(replace(other, stage="localise", epochs=1, overwrite=True))
    assert (other.out / "tune/weights.pth").stat().st_mtime_ns == before["tune/weights.pth"]
    assert checkpoint.load(other.out / "checkpoint.pt")["options"]["epochs"] == 1
    with pytest.raises(
        SystemExit, match=r"stage classify.*another configuration.*--final-penalty 0.1, other checkpoint"
    ):
        fcan_greedy.main(replace(other, epochs=1))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"tune_epochs": 2},
            r"stage tune in .* another configuration: it was made with --tune-epochs 1; give the same",
        ),
        ({"parts": (2, 1)}, r"stage localise in .* made with --parts 1 2;"),
        ({"reward": "delayed", "epochs": 4}, r"stage localise in .* made with --reward greedy, --epochs 3;"),
        ({"stage": "classify", "samples": 5}, r"stage localise in .* made with --samples 4;"),
        ({"final": "finetune"}, r"stage classify in .* made with --final linear;"),
        (
            {"resume": True, "stage": "localise", "dropout": 0.5},
            r"checkpoint.pt was made with .*--dropout 0.0",
        ),
    ],
)
def test_files_of_another_configuration_are_refused_by_name(done, change, message):
    before = times(done.out)
    with pytest.raises(SystemExit, match=message):
        fcan_greedy.main(replace(done, **change))
    assert times(done.out) == before


def test_other_weights_are_refused(done, tmp_path):
    other = copied(done, tmp_path)
    changed = torch.load(other.out / "tune" / "weights.pth", weights_only=True)
    changed["conv1.weight"][0] += 1
    torch.save(changed, tmp_path / "other.pth")
    with pytest.raises(SystemExit, match=r"stage localise in .* made with other weights"):
        fcan_greedy.main(replace(other, weights=str(tmp_path / "other.pth")))


def test_locations_of_another_checkpoint_are_not_reused(done, tmp_path):
    other = copied(done, tmp_path)
    file = other.out / "places-validation1of4.npz"
    right = np.load(file)["places"]
    files.write_numpy(file, {"places": right * 0, "checkpoint": np.array("another")})
    fcan_greedy.main(replace(other, stage="classify", overwrite=True))
    assert (np.load(file)["places"] == right).all()


def test_a_later_stage_needs_the_earlier_ones(pictures, tmp_path):
    options = FcanOptions(dataset=pictures, out=tmp_path, **SMALL)
    with pytest.raises(
        SystemExit,
        match=r"--stage localise needs the files of the stage tune in .*: run --stage all, or --stage tune",
    ):
        fcan_greedy.main(replace(options, stage="localise"))


def test_localising_resumes_the_same_run(done, tmp_path, interrupt):
    """Two epochs, Ctrl-C, the third = three epochs."""
    other = replace(copied(done, tmp_path), stage="localise", overwrite=True)
    whole = checkpoint.load(other.out / "checkpoint.pt")["network"]
    interrupt(3)  # the checkpoint before the first epoch, and two after epochs
    with pytest.raises(SystemExit) as stop:
        fcan_greedy.main(other)
    interrupt(0)
    assert stop.value.code == 130
    assert not (other.out / "localise.json").is_file()
    assert checkpoint.load(other.out / "checkpoint.pt")["progress"]["epoch"] == 2
    again = replace(other, overwrite=False)
    with pytest.raises(SystemExit, match=r"holds the run of .*: resume it \(--resume\)"):
        fcan_greedy.main(again)
    fcan_greedy.main(replace(again, resume=True))
    again = checkpoint.load(other.out / "checkpoint.pt")["network"]
    assert all(torch.equal(value, again[key]) for key, value in whole.items())


def test_files_of_earlier_versions_serve_under_the_old_names(done, tmp_path):
    """Version 0.1 called `policy` `where`, in a finished stage's note and in the checkpoint to resume."""

    def rename(options):
        return {"where" if name == "policy" else name: value for name, value in options.items()}

    other = copied(done, tmp_path)
    note = files.read_json(other.out / "localise.json")
    assert note["options"]["policy"] == "learned"
    files.write_json(other.out / "localise.json", note | {"options": rename(note["options"])})
    before = times(other.out)
    fcan_greedy.main(other)
    assert times(other.out) == before
    with pytest.raises(SystemExit, match=r"stage localise in .* made with --policy learned;"):
        fcan_greedy.main(replace(other, policy="center", final="none"))

    saved = checkpoint.load(other.out / "checkpoint.pt")
    checkpoint.save(other.out / "checkpoint.pt", saved | {"options": rename(saved["options"])})
    resumed = replace(other, stage="localise", resume=True)
    fcan_greedy.main(resumed)
    assert (other.out / "localise.json").is_file()
    with pytest.raises(
        SystemExit, match=r"checkpoint.pt was made with --policy learned; give the same options"
    ):
        fcan_greedy.main(replace(resumed, policy="center", final="none"))


def test_a_network_of_its_own_for_every_region(done, tmp_path):
    other = copied(done, tmp_path)
    own = {"stage": "classify", "final": "finetune", "final_epochs": 1, "overwrite": True}
    fcan_greedy.main(replace(other, **own))
    final = json.loads((tmp_path / "classify" / "result.json").read_text())
    assert final["options"]["final"] == "finetune"
    assert (
        len(list((tmp_path / "classify").glob("*/weights.pth"))) == 7
    )  # the whole, and three kinds of two parts


def test_a_second_round_starts_from_the_network_of_the_first(done, tmp_path, monkeypatch):
    plans = []
    monkeypatch.setattr(fcan_greedy, "run_stages", plans.append)
    fcan_greedy.main(replace(done, out=tmp_path, final="finetune", repeat=3))
    assert [plan.out for plan in plans] == [tmp_path, tmp_path / "round2", tmp_path / "round3"]
    whole = [str(plan.out / "classify" / "whole" / "weights.pth") for plan in plans]
    assert [plan.options.weights for plan in plans] == [None, *whole[:2]]


def test_the_papers_reward_and_features(done, tmp_path):
    own = {"first_reward": "part", "rewarded": "own", "standardise": False, "baseline": False, "epochs": 1}
    fcan_greedy.main(replace(copied(done, tmp_path), stage="localise", overwrite=True, **own))
    assert not checkpoint.load(tmp_path / "checkpoint.pt")["network"]["centre"].any()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"repeat": 2}, "--repeat 2: a further round starts from the network of the last stage"),
        ({"repeat": 0}, "--repeat=0: expected a whole number of at least 1"),
        ({"parts": ()}, "--parts: expected at least one side in cells"),
        (
            {"stage": "localise", "parts": (1, 3), "overwrite": True},
            "--parts 1 3: the feature map of resnet18 at 64 pixels has 2 x 2 cells; "
            "expected sides of 1 to 2 cells",
        ),
        ({"parts": (0,)}, "--parts=0: expected a whole number of at least 1"),
        ({"samples": 0}, "--samples=0: expected a whole number of at least 1"),
        ({"samples": 1, "baseline": True}, "--samples 1: --baseline compares"),
        ({"batch": 0}, "--batch=0"),
        ({"epochs": 0}, "--epochs=0"),
        ({"split": "test"}, "--split test: expected train, fit or fit:K/N"),
        ({"policy": "random"}, "--policy random: the stage classify needs learned locations"),
        ({"stage": "classify", "final": "none"}, "there is nothing to do"),
        ({"stage": "tune", "weights": "a.pth"}, "--stage tune with --weights"),
        (
            {"stage": "localise", "view_size": 96, "overwrite": True},
            "--image-size 64: the feature map of resnet18 at 96 pixels has 3 x 3 cells; "
            "expected a multiple of 3",
        ),
        ({"backbone": None}, "give --backbone"),
        ({"weights": "nowhere.pth"}, "nowhere.pth"),
    ],
)
def test_bad_options_are_refused_in_a_sentence_before_anything_changes(done, change, message):
    before = times(done.out)
    with pytest.raises(SystemExit, match=message) as refused:
        fcan_greedy.main(replace(done, **change))
    assert "\n" not in str(refused.value)
    assert times(done.out) == before


def test_other_images_are_refused(done, tmp_path):
    other, data = copied(done, tmp_path / "run"), shutil.copytree(done.dataset, tmp_path / "pictures")
    other = replace(other, dataset=str(data))
    for stage in ("tune", "localise", "classify"):
        note = files.read_json(other.out / f"{stage}.json")
        note["options"]["dataset"] = str(data)
        files.write_json(other.out / f"{stage}.json", note)
    before = times(other.out)
    fcan_greedy.main(other)  # the same images elsewhere
    image = next((data / "train").glob("*/*.png"))
    with Image.open(image) as picture:
        picture.rotate(180).save(image)
    with pytest.raises(
        SystemExit, match=r"stage tune in .* made with other images of fit:1/4; give the same"
    ):
        fcan_greedy.main(other)
    assert times(other.out) == before


def test_a_damaged_note_is_named(done, tmp_path):
    other = copied(done, tmp_path)
    (tmp_path / "tune.json").unlink()
    (tmp_path / "tune.json").write_text("{")
    with pytest.raises(SystemExit, match=r"tune.json is damaged: remove it"):
        fcan_greedy.main(other)


# The final stage


def test_a_region_is_the_slice_of_the_image():
    pixels = torch.randint(
        0, 256, (3, 3, 64, 64), dtype=torch.uint8, generator=torch.Generator().manual_seed(0)
    )
    images = ImageSet(pixels, torch.arange(3) % 2, ("a", "b"))
    crops = regions_table.Crops(
        images, images, Backbone("resnet18", None, precision="float32"), side=4, size=32
    )
    place = torch.tensor([0, 4, 8])  # of 3 x 3 places of a 2 x 2 part; a cell is 16 pixels
    cut = regions_table.cut(crops, images, 2, place)
    expected = torch.stack([pixels[0, :, :32, :32], pixels[1, :, 16:48, 16:48], pixels[2, :, 32:, 32:]])
    assert torch.equal(cut.images, expected)
    found = regions_table.load_features(crops, images, 2, place)
    torch.testing.assert_close(found, crops.backbone(expected), rtol=1e-3, atol=1e-3)
    whole = regions_table.load_features(crops, images, 4, torch.zeros(3, dtype=torch.int64))
    torch.testing.assert_close(
        whole, crops.backbone(torch.nn.functional.avg_pool2d(pixels / 255, 2)), rtol=1e-3, atol=1e-3
    )


def test_a_box_is_the_slice_of_the_image(tmp_path):
    pixels = torch.randint(
        0, 256, (2, 3, 64, 64), dtype=torch.uint8, generator=torch.Generator().manual_seed(0)
    )
    boxes = torch.tensor([[-0.5, -1.0, 0.5, 0.0], [0.99, 0.99, 1.0, 1.0]])
    images = ImageSet(pixels, torch.arange(2), ("a", "b"), boxes=boxes)
    crops = regions_table.Crops(images, images, Backbone("resnet18", None, precision="float32"), 4, 32)
    cut = regions_table.cut(crops, images, None, torch.zeros(2, dtype=torch.int64))
    assert torch.equal(cut.images[0], pixels[0, :, :32, 16:48])
    assert (cut.images[1] == pixels[1, :, 63:, 63:]).all()  # the smallest box
    assert cut.boxes is None
    region = regions_table.build_regions(crops, FcanOptions(), *[torch.zeros(2, 2, dtype=torch.int64)] * 2)[
        -1
    ]
    assert (region.name, region.part) == ("box", None)
    found = regions_table.load_features(crops, images, region.part, region.learn)
    torch.testing.assert_close(found, crops.backbone(cut.images), rtol=1e-3, atol=1e-3)
    with pytest.raises(ValueError, match="no ground-truth boxes"):
        regions_table.cut(crops, replace(images, boxes=None), None, region.learn)


def test_boxes_are_rows_where_there_are_some():
    combinations = regions_table.list_combinations((4,), boxes=True)
    assert combinations["whole + ground-truth box"] == ["whole", "box"]
    assert set(regions_table.list_combinations((4,))) == set(combinations) - {
        "ground-truth box alone",
        "whole + ground-truth box",
    }


def test_regions_of_one_place_are_kept_for_later_runs_and_other_splits(tmp_path, monkeypatch):
    monkeypatch.setenv("GLIMPSE_CACHE", str(tmp_path))
    pixels = torch.randint(
        0, 256, (6, 3, 64, 64), dtype=torch.uint8, generator=torch.Generator().manual_seed(0)
    )
    images = ImageSet(pixels, torch.arange(6) % 2, ("a", "b"), key="squares")
    crops = regions_table.Crops(
        images, images, Backbone("resnet18", None, precision="float32"), side=4, size=32
    )
    middle, mixed = torch.full((6,), 4), torch.arange(6) % 2
    expected = regions_table.compute_features(crops, images, 2, middle)
    torch.testing.assert_close(
        regions_table.load_features(crops, images, 2, middle), expected, rtol=1e-3, atol=1e-3
    )
    assert len(list(tmp_path.glob("squares-*.npy"))) == 1
    regions_table.load_features(crops, images, 2, mixed)
    assert len(list(tmp_path.glob("squares-*.npy"))) == 1
    monkeypatch.setattr(regions_table, "compute_features", None)
    part = images.subset(torch.tensor([5, 2]))
    torch.testing.assert_close(
        regions_table.load_features(crops, part, 2, middle[:2]), expected[[5, 2]], rtol=1e-3, atol=1e-3
    )
    with pytest.raises(TypeError):
        regions_table.load_features(
            crops, images, 2, torch.zeros(6, dtype=torch.int64)
        )  # another place has no table yet


def test_the_linear_classifier_is_at_its_minimum():
    """At the solution the gradient of cross-entropy + penalty / 2 |W|^2 is 0."""
    features = torch.randn(40, 5, generator=torch.Generator().manual_seed(0))
    labels = (features[:, 0] > 0).long()
    model = regions_table.fit_linear(features, labels, 2, 0.1).requires_grad_(True)
    loss = (
        torch.nn.functional.cross_entropy(model(features), labels) + 0.05 * model.layer.weight.square().sum()
    )
    loss.backward()
    assert model.layer.weight.grad.abs().max() < 1e-3
    assert (model(features).argmax(1) == labels).float().mean() > 0.9


def test_rows_average_probabilities():
    """Two images, label 0: the whole is right on the first, the part on the second, their mean on both."""
    sure, unsure = torch.tensor([[0.9, 0.1], [0.4, 0.6]]), torch.tensor([[0.4, 0.6], [0.9, 0.1]])
    found = {"whole": sure, "part1-4x4": unsure, "random1-4x4": sure, "center1-4x4": 1 - sure}
    rows = {row["row"]: row for row in regions_table.build_rows(found, torch.tensor([0, 0]), (4,))}
    assert rows["whole image"]["accuracy"] == rows["part1-4x4 alone"]["accuracy"] == 0.5
    assert rows["whole + part1-4x4"]["accuracy"] == rows["whole + all parts"]["accuracy"] == 1
    assert rows["whole + all parts"]["minus_whole"][0] == 50
    right_at_center = rows["rigid: whole + central places"]["accuracy"]
    assert rows["whole + all parts"]["minus_center"][0] == 100 * (1 - right_at_center)
    assert rows["multi-view: whole + random places"]["accuracy"] == 0.5
    assert "minus_whole" not in rows["whole image"]
    assert len(regions_table.format_rows(list(rows.values())).splitlines()) == 1 + len(rows)


def test_random_and_central_regions_have_the_parts_sizes():
    images = ImageSet(torch.zeros(2, 3, 8, 8, dtype=torch.uint8), torch.arange(2), ("a", "b"))
    crops = regions_table.Crops(images, images, None, side=4, size=32)  # no network is asked for
    some = torch.zeros(50, 2, dtype=torch.int64)
    found = {
        region.name: region
        for region in regions_table.build_regions(crops, FcanOptions(parts=(1, 2)), some, some[:7])
    }
    assert next(iter(found)) == "whole"
    assert [found[name].part for name in ("part1-1x1", "random2-2x2", "center1-1x1")] == [1, 2, 1]
    assert found["random1-1x1"].learn.unique().numel() > 10
    assert len(found["random1-1x1"].measure) == 7
    assert found["center2-2x2"].learn.unique().tolist() == [fcan.middle(4, 2)]


def test_the_figure_draws_boxes_where_the_parts_are(tmp_path, monkeypatch):
    drawn = []
    monkeypatch.setattr(plots, "save", lambda figure, target: drawn.append(figure))
    shares = (np.full((4, 4), 1 / 16), np.eye(3) / 3)
    one = score_maps.Example(torch.zeros(1, 8, 8, dtype=torch.uint8), (6, 4), shares, "cat", True)
    score_maps.draw_examples([one, one], (1, 2), 4, tmp_path / "figure.png")
    picture = drawn[0].axes[0]
    small, large = picture.lines[1].get_xydata(), picture.lines[3].get_xydata()
    assert (small.min(0).tolist(), small.max(0).tolist()) == ([2, 1], [3, 2])  # place 6 of 4 x 4
    assert (large.min(0).tolist(), large.max(0).tolist()) == ([1, 1], [3, 3])  # place 4 of 3 x 3
    heat = drawn[0].axes[2].images[0]
    assert heat.get_extent() == [0.5, 3.5, 3.5, 0.5]  # the middles of 2 x 2 parts
    assert len(drawn[0].axes) == 6
