"""The benchmark of generated images runs, and names what it cannot measure."""

import canvas_images
import pytest
from canvas_images import CanvasImages


def test_both_are_measured(capsys):
    made = canvas_images.main(CanvasImages(batch=4, turns=1, device="cpu"))
    assert min(made.values()) > 0
    assert "ratio" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"dataset": "mnist"}, "--dataset mnist: expected one of translated-mnist"),
        ({"batch": 0}, "--batch=0: expected a whole number of at least 1"),
        ({"turns": 0}, "--turns=0: expected a whole number"),
    ],
)
def test_bad_options(given, message):
    with pytest.raises(ValueError, match=message):
        canvas_images.main(CanvasImages(**given))
