"""FCAN: score maps locate parts of an image, trained by a greedy reward (Liu et al. 2016, arXiv 1603.06765).

    python agents/fcan_greedy.py --dataset cub                            # fine-tune, locate parts, classify
    python agents/fcan_greedy.py --dataset cub --paper                    # the paper's settings
    python agents/fcan_greedy.py --dataset cub --weights weights.pth      # finetune_backbone.py's network
    python agents/fcan_greedy.py --dataset cub --stage classify --final finetune --overwrite   # a stage again
    python agents/fcan_greedy.py --dataset clutter --weights resnet18.pth --final none    # locate the glyph

Three stages (section 5.1), each with its files in the output folder: tune (finetune_backbone.py), localise
(the maps of all images are computed once; a small fully convolutional head for each part learns its location
by REINFORCE, rewarded through light classifiers on the same map), classify (the parts are cut out of the
image at full resolution, a classifier for each, probabilities averaged with those of the whole image; beside
random and central locations, and the object's box where the data set has one). The paper repeats the stages
until they converge; here they run `--repeat` times. Sections are those of the paper's versions of 2016.

A later run continues with the stages that are not finished (with --resume within an interrupted one), and
refuses files of another configuration; --overwrite replaces the stages that --stage names.

Read on in fcan/: plan.py (options, environment), localise.py (rewards, losses, loop), classify.py and
regions_table.py (the last stage), and in glimpse_env/networks/fcan.py (the network).

Deviations of the default settings from the paper, each undone by `--paper`: ResNet-50; Eq. 4 counts the whole
image as the first step and compares means of probabilities; features are standardised; the mean reward of
the image's other samples is subtracted; RMSProp takes batches of 32 at rate 0.001, chosen, like the order of
the parts, on held-out training images; the final classifiers are linear on frozen features; crops have the
preset's 224 pixels. docs/paper.md lists what remains.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import finetune_backbone
from fcan import stage_files
from fcan.classify import classify, format_result
from fcan.localise import localise
from fcan.plan import AGENT, FcanOptions, Plan, StageName, build_finetuning, build_plan
from fcan.score_maps import draw_score_maps

from glimpse_env import datasets
from glimpse_env.backbone import find_weights
from glimpse_env.reports import results
from glimpse_env.runtime import checkpoint, distributed, files, terminal
from glimpse_env.training import run_folder
from glimpse_env.training.command_line import parse

# The recipe for generated images, whose glyph fills one of 8 x 8 cells of the map.
CLUTTER = dict(backbone="resnet18", image_size=96, view_size=256, crop_size=96, parts=(2, 1), epochs=8)
DATASETS = {"clutter": CLUTTER}
# Section 5.1: GoogLeNet on images of 512 pixels, crops of 448; on Dogs VGG-16 on images of 256, whose crops
# the paper does not state. The 4 x 4 part comes first (stated for Dogs).
PAPER: dict[str, Any] = (
    dict(split="train", backbone="googlenet", image_size=512, crop_size=448, parts=(4, 8), final="finetune")
    | dict(standardise=False, samples=16, first_reward="part", rewarded="own", baseline=False)
    | dict(batch=512, learning_rate=0.01)
)
DOGS: dict[str, Any] = PAPER | dict(backbone="vgg16", image_size=256, crop_size=224)
RECIPES = {"paper": {"cub": PAPER, "cars": PAPER, "dogs": DOGS}}


def run_rounds(plan: Plan) -> None:
    """Run the stages `--repeat` times, each time from the whole image's network of the time before."""
    first = plan.out
    for number in range(1, plan.options.repeat + 1):
        if number > 1:
            whole = str(plan.out / "classify" / "whole" / "weights.pth")
            plan = build_plan(replace(plan.options, weights=whole, out=first / f"round{number}"))
        with run_folder.hold(plan.out):
            run_stages(plan)


def run_stages(plan: Plan) -> None:
    """Run the stages that are due; with a single `--stage`, check those before it."""
    options, only = plan.options, plan.options.stage
    weights = tune(plan) if options.weights is None else options.weights
    if only == "tune":
        return

    file = find_weights(plan.backbone, weights)
    inputs = {} if file is None else {"weights": file}  # None: the library's own
    configuration = stage_files.describe("localise", options, inputs, hash_data(plan, plan.learn))
    if is_due(plan, "localise", configuration):
        localise(plan, weights)
        stage_files.finish(plan.out, "localise", configuration)
    evaluate(plan)
    if only == "localise" or options.final == "none":
        return

    inputs["checkpoint"] = plan.out / "checkpoint.pt"
    data = hash_data(plan, plan.learn, plan.measure)
    configuration = stage_files.describe("classify", options, inputs, data)
    if is_due(plan, "classify", configuration):
        classify(plan, weights, data)
        stage_files.finish(plan.out, "classify", configuration)
    print(format_result(files.read_json(plan.out / "classify" / "result.json")))


def tune(plan: Plan) -> str:
    """Return the file of the fine-tuned network, fine-tuning it if that stage is due."""
    options, folder = plan.options, plan.out / "tune"
    configuration = stage_files.describe("tune", options, {}, hash_data(plan, plan.learn))
    if is_due(plan, "tune", configuration):
        images = load_images(plan, plan.learn)
        sizes = {"image_size": plan.image_size, "view_size": plan.crop_size, "epochs": options.tune_epochs}
        sizes |= {"split": plan.learn, "weights": options.start}
        given = build_finetuning(options, folder, len(images), **sizes)
        run_folder.check_free(folder, given)
        stage_files.begin(plan.out, "tune")
        finetune_backbone.main(given)
        stage_files.finish(plan.out, "tune", configuration)
    return str(folder / "weights.pth")


def load_images(plan: Plan, split: str) -> datasets.ImageSet:
    """Return the images of a split."""
    return datasets.load(plan.options.dataset, split, root=plan.options.root, image_size=plan.image_size)


def hash_data(plan: Plan, *splits: str) -> dict[str, str]:
    """Return the digests of the images of splits."""
    return {split: load_images(plan, split).digest() for split in splits}


def evaluate(plan: Plan) -> None:
    """Evaluate the localisers by the common metric and draw their score maps, where files are out of date."""
    target = plan.out / "checkpoint.pt"
    end = results.build_suffix(checkpoint.load(target), plan.measure)
    file, figure = plan.out / f"result{end}.json", plan.out / f"score_maps{end}.png"
    if is_newer(file, target):
        print(results.format_row(files.read_json(file)))
    else:
        results.write(target, plan.measure, device=plan.options.device)
    if not is_newer(figure, target):
        draw_score_maps(plan, figure)


def is_newer(file: Path, other: Path) -> bool:
    """Return whether a file exists and was written after another."""
    return file.is_file() and file.stat().st_mtime_ns >= other.stat().st_mtime_ns


def is_due(plan: Plan, stage: StageName, configuration: dict) -> bool:
    """Return whether a stage is to run now.

    Raises:
        ValueError: Its files belong to another configuration, or they are missing for a later stage.
    """
    only = plan.options.stage
    if only == stage or (only == "all" and plan.options.overwrite):
        return True
    if stage_files.is_finished(plan.out, stage, configuration):
        return False
    if only != "all":
        needed = f"--stage {only} needs the files of the stage {stage} in {plan.out}"
        raise ValueError(f"{needed}: run --stage all, or --stage {stage} first")
    return True


def main(options: FcanOptions) -> None:
    """Run the stages that the options ask for.

    Raises:
        SystemExit: Options or files that cannot be used, in one sentence; 130 after Ctrl-C.
    """
    options, saved = terminal.prepare(options), "finished stages and epochs are saved; resume with --resume"
    with terminal.interruptible(lambda: saved), terminal.foreseen(AGENT):
        distributed.refuse(AGENT)
        run_rounds(build_plan(options))


if __name__ == "__main__":
    main(parse(FcanOptions, RECIPES, DATASETS, __doc__ or ""))
