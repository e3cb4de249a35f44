"""FCAN's three stages in one run: tune the network, learn where the parts are, classify them at full resolution (section 3.4).

Every stage leaves its files in the output folder and a note of its configuration; a later run goes on from there, and refuses files of
another configuration. The paper repeats the stages until nothing changes; here they run once.
"""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

from finetune_backbone import tune

from fcan import classify, setup, stage_files
from fcan.localise import localise
from fcan.plan import FcanOptions, StageName
from fcan.score_maps import draw_score_maps
from fcan.setup import Plan
from glimpse_env.backbone import find_weights
from glimpse_env.reports import results
from glimpse_env.runtime import checkpoint, distributed, files, terminal
from glimpse_env.training.finetuning import Finetune


def execute(options: FcanOptions) -> None:
    """Run the stages that the options ask for.

    Raises:
        SystemExit: Options or files that cannot be used, with one sentence that says why; 130 after Ctrl-C.
    """
    options = terminal.prepare(options)
    try:
        with terminal.foreseen("fcan_greedy"):
            distributed.refuse("fcan_greedy")
            run(setup.planned(options))
    except KeyboardInterrupt:
        print("\nstopped: finished stages and epochs are kept; go on with --resume", file=sys.stderr)
        raise SystemExit(130) from None


def run(plan: Plan) -> None:
    """Make the stages in their order; of a single one, check the earlier ones."""
    options, only = plan.options, plan.options.stage
    weights = tuned(plan) if options.weights is None else options.weights
    if only == "tune":
        return
    given = find_weights(plan.backbone, weights)
    inputs = {} if given is None else {"weights": given}  # none: torchvision's own
    made = stage_files.described("localise", options, inputs)
    if due(plan, "localise", made):
        localise(plan, weights)
        stage_files.finish(plan.out, "localise", made)
    report(plan)
    if only == "localise" or options.final == "none":
        return
    made = stage_files.described("classify", options, inputs | {"checkpoint": plan.out / "checkpoint.pt"})
    if due(plan, "classify", made):
        classify.classify(plan, weights)
        stage_files.finish(plan.out, "classify", made)
    print(classify.described(files.read_json(plan.out / "classify" / "result.json")))


def report(plan: Plan) -> None:
    """Evaluate the localisers with their light classifiers by the common metric, and draw their score maps, if that is not done."""
    target = plan.out / "checkpoint.pt"
    end = results.build_suffix(checkpoint.load(target), plan.measure)
    file, figure = plan.out / f"result{end}.json", plan.out / f"score_maps{end}.png"
    if newer(file, target):
        print(results.format_row(files.read_json(file)))
    else:
        results.write(target, plan.measure, device=plan.options.device)
    if not newer(figure, target):
        draw_score_maps(plan, figure)


def newer(file: Path, target: Path) -> bool:
    """Tell whether a file is there and was written after another."""
    return file.is_file() and file.stat().st_mtime_ns >= target.stat().st_mtime_ns


def tuned(plan: Plan) -> str:
    """Return the file of the tuned network, tuning it if that stage is due."""
    made = stage_files.described("tune", plan.options, {})
    if due(plan, "tune", made):
        options = tuning_options(plan)
        stage_files.begin(plan.out, "tune")
        tune(options)
        stage_files.finish(plan.out, "tune", made)
    return str(plan.out / "tune" / "weights.pth")


def tuning_options(plan: Plan) -> Finetune:
    """Return the options of the first stage."""
    options, folder = plan.options, plan.out / "tune"
    chosen = Finetune(
        dataset=options.dataset,
        root=options.root,
        split=plan.learn,
        backbone=plan.backbone,
        weights=options.start,
        image_size=plan.image_size,
        view_size=plan.crop_size,
        epochs=options.tune_epochs,
        seed=options.seed,
        device=options.device,
        threads=options.threads,
        out=folder,
        resume=options.resume and (folder / "checkpoint.pt").is_file(),
    )
    return replace(chosen, batch=min(chosen.batch, len(setup.images_of(plan, plan.learn))))


def due(plan: Plan, stage: StageName, made: dict) -> bool:
    """Tell whether a stage is to be made now.

    Raises:
        ValueError: It is there with another configuration, or a later stage is asked for and it is not there.
    """
    only = plan.options.stage
    if only == stage:
        return True
    if stage_files.finished(plan.out, stage, made):
        return False
    if only != "all":
        raise ValueError(f"--stage {only} needs the files of the stage {stage} in {plan.out}: run --stage all, or --stage {stage} first")
    return True
