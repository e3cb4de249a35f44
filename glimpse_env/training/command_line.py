"""The command-line parser of the agent scripts: options in groups of --help, and recipes as defaults."""

from __future__ import annotations

import argparse
import logging
import shlex
import sys
from collections.abc import Mapping, Sequence
from dataclasses import fields, make_dataclass
from typing import Annotated, Any, TypeVar

import tyro

from glimpse_env.datasets import NAMED, find_kind, list_names, recognise
from glimpse_env.datasets.base import Preset
from glimpse_env.runtime import checkpoint, terminal

log = logging.getLogger("glimpse_env")

OptionsT = TypeVar("OptionsT")
Recipes = Mapping[str, Mapping[str, Any]]  # settings that replace the defaults, by data set


def parse(
    kind: type[OptionsT],
    named: Mapping[str, Recipes],
    datasets: Recipes,
    description: str,
    arguments: Sequence[str] | None = None,
) -> OptionsT:
    """Read the command line.

    A recipe replaces the defaults: that of a flag, or else that of the data set. Given options override it.
    For a data set without a name the log says which recipe it is.

    Args:
        kind: The dataclass of options; its bases are the groups of --help (see `find_groups`).
        named: Recipes by flag (--paper, --long) and data set.
        datasets: Recipes by data set.
        description: Shown by --help.
        arguments: The command line; None = this process's.
    """
    given = sys.argv[1:] if arguments is None else list(arguments)
    refuse_old_names(kind, given)
    recipe = choose_recipe(kind, named, datasets, given)
    default = kind(**recipe)
    groups, values, parts = find_groups(kind), dict(vars(default)), []
    for name, group in groups.items():
        own = {one.name: values.pop(one.name) for one in fields(group)}
        parts.append((name, Annotated[group, tyro.conf.OmitArgPrefixes], group(**own)))
    parts += [(name, type(value), value) for name, value in values.items()]  # dataclasses of options
    parsed = vars(tyro.cli(make_dataclass("Grouped", parts), description=description, args=given))
    options = {name: value for group in groups for name, value in vars(parsed.pop(group)).items()}
    if line := describe_recipe(kind, recipe, *read_place(kind, given)):
        terminal.use_log()
        log.info("%s", line)
    return kind(**options, **parsed)


def find_groups(kind: type) -> dict[str, Any]:
    """Return the bases that are the groups of --help, by name.

    A base whose name ends in Options and that extends no other such base is a group: DataOptions is "data".
    The most derived base that extends this group alone has its fields.
    """
    bases = kind.__mro__[1:]
    named = [base for base in bases if base.__name__.endswith("Options")]
    roots = [base for base in named if not any(other in named for other in base.__mro__[1:])]
    groups = {}
    for root in roots:
        others = tuple(other for other in roots if other is not root)
        group = next(base for base in bases if issubclass(base, root) and not issubclass(base, others))
        groups[root.__name__.removesuffix("Options").lower()] = group
    return groups


def refuse_old_names(kind: type, given: Sequence[str]) -> None:
    """Refuse the options of earlier versions: name the new one, or say why there is none (`kind.removed`)."""
    removed = getattr(kind, "removed", {})
    renamed = checkpoint.OLD_NAMES | getattr(kind, "renamed", {})
    for word in given:
        old = word.partition("=")[0]
        before = old.removeprefix("--").replace("-", "_")
        if old.startswith("--") and before in removed:
            raise SystemExit(f"{old} does not exist any more: {removed[before]}")
        name = renamed.get(before, "")
        if old.startswith("--") and hasattr(kind, name) and not hasattr(kind, old[2:].replace("-", "_")):
            raise SystemExit(f"{old} is called --{name.replace('_', '-')} now")


def choose_recipe(
    kind: Any, named: Mapping[str, Recipes], datasets: Recipes, given: Sequence[str]
) -> Mapping[str, Any]:
    """Return the recipe of the flag that is given, else that of the data set (see `find_recipe`).

    Raises:
        SystemExit: There are two flags, or the flag has no recipe for the data set.
    """
    dataset, root = read_place(kind, given)
    flags = [flag for flag in named if f"--{flag}" in given]
    if not flags:
        return find_recipe(datasets, dataset, root)
    if len(flags) > 1:
        raise SystemExit(f"{' and '.join(f'--{flag}' for flag in flags)}: use only one of them")
    (flag,) = flags
    if dataset not in named[flag]:
        available = ", ".join(named[flag])
        raise SystemExit(f"--{flag} is not available for --dataset {dataset} (available: {available})")
    return {flag: True, **named[flag][dataset]}


def read_place(kind: Any, given: Sequence[str]) -> tuple[str, str | None]:
    """Return --dataset and --root of a command line."""
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    parser.add_argument("--dataset", nargs="?")
    parser.add_argument("--root", nargs="?")
    words = parser.parse_known_args(given)[0]
    return words.dataset or getattr(kind, "dataset", ""), words.root


def find_recipe(recipes: Recipes, dataset: str, root: str | None) -> Mapping[str, Any]:
    """Return the recipe of a data set; of one without a name, that of the named ones of its kind."""
    if dataset in NAMED:
        return recipes.get(dataset, {})
    same = list_names(find_kind(dataset, root))
    return next((recipes[name] for name in same if name in recipes), {})


def describe_recipe(kind: Any, recipe: Mapping[str, Any], dataset: str, root: str | None) -> str:
    """Return which recipe a data set without a name gets, why, and the options that say the same; "" = none.

    `recipe` is as `find_recipe` returns it. The data set's preset is told by its options too, as far as the
    script has them.
    """
    images = None if dataset in NAMED else recognise(dataset, root)
    if images is None:
        return ""
    preset, usual = images.preset, Preset()
    settings = {"glimpses" if name == "max_glimpses" else name: name for name in vars(usual)}
    shown = {option: getattr(preset, name) for option, name in settings.items() if hasattr(kind, option)}
    shown = {option: value for option, value in shown.items() if value != getattr(usual, settings[option])}
    if not hasattr(kind, "glimpse_size") and preset.glimpse_size is not None:  # the network's input
        shown |= {"crop_size" if hasattr(kind, "crop_size") else "view_size": preset.glimpse_size}
    words = format_arguments({**shown, **recipe}) or "(the defaults)"
    called = "photographs" if images.kind == "photographs" else "small images"
    return f"{dataset}: the recipe of {called}, since {images.reason}; as options: {words}"


def format_arguments(values: Mapping[str, Any]) -> str:
    """Return options as a command line has them."""
    words = []
    for name, value in values.items():
        option = name.replace("_", "-")
        if isinstance(value, bool):
            words.append(f"--{option}" if value else f"--no-{option}")
            continue
        given = value if isinstance(value, tuple | list) else [value]
        words.append(shlex.join([f"--{option}", *map(str, given)]))
    return " ".join(words)
