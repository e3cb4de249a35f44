"""Sermanet et al. 2015 (arXiv 1412.7054): resolutions against glimpses, mean class accuracy."""

from __future__ import annotations

from reproduction.spec import Row, Run, Table

from glimpse_env.reports import published

SETS = {
    "high": ("high",),
    "medium": ("medium",),
    "low": ("low",),
    "high+medium": ("high", "medium"),
    "all": ("high", "medium", "low"),
}
PAPER = published.read_table("Sermanet", "Table 1", "dogs")
WHOLE = {"whole image at 96 pixels": 96, "GoogLeNet at 224 pixels": 224}  # Table 1's baselines


def row(resolutions: tuple[str, ...], glimpses: int) -> Row:
    """Return the row of a set of resolutions."""
    run = Run("sermanet", {"resolutions": resolutions, "glimpses": glimpses})
    figure = PAPER[f"{' + '.join(resolutions)}, {glimpses} glimpse{'s' * (glimpses > 1)}"]
    return Row(run, figure.value, figure.glimpses)


def whole_image(pixels: int, figure: published.Figure) -> Row:
    """Return the row of one view of the whole image: the low patch at the centre (its bank has one cell)."""
    view = {"resolutions": ("low",), "glimpse_size": pixels, "glimpses": 1, "policy": "center", "grid": 1}
    return Row(Run("sermanet", view), figure.value, figure.glimpses)


TABLES = {
    "sermanet-1": Table(
        "Sermanet et al., Table 1 (Stanford Dogs): resolutions and glimpses",
        ("dogs", "cub", "cars"),
        {name: whole_image(pixels, PAPER[name]) for name, pixels in WHOLE.items()}
        | {f"{name}, {count}": row(SETS[name], count) for name in SETS for count in (1, 2, 3)},
        measure="mean_class_accuracy",
        pairs={f"{name}, {count}": f"{name}, 1" for name in SETS for count in (2, 3)},
        note="glimpses lie on a grid; the paper's network is a GoogLeNet of stride 1 that has not seen the "
        "images of Dogs; whole images: the low patch at the centre, on the same frozen network",
    )
}
