"""A Run's epochs: which images come in which batch, and what the means of measures are over."""

from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from tqdm import tqdm

from glimpse_env.training.epoch import Epoch
from glimpse_env.training.trainer import Run


def build_epoch() -> Epoch:
    """An epoch of a run without network and files."""
    run = Run("agent", SimpleNamespace(seed=0, out=Path("unused")))
    run.device = torch.device("cpu")
    return Epoch(run, "stage", 1, tqdm(disable=True))


@given(images=st.integers(1, 60), batch=st.integers(1, 60))
def test_all_images_come_once_if_the_last_batch_is_kept(images, batch):
    batches = list(build_epoch().batches(images, batch, drop_last=False))
    assert torch.cat(batches).sort().values.tolist() == list(range(images))
    assert max(len(part) for part in batches) <= batch
    assert len(batches) <= -(-images // batch)


def test_a_last_smaller_batch_is_left_out():
    assert [len(part) for part in build_epoch().batches(10, 4, repeat=2)] == [8, 8]


def test_measures_are_means_over_images():
    """Batches of 4, 4 and 2 images, measured by their mean index: the epoch's is the mean of all indices."""
    epoch = build_epoch()
    for index in epoch.batches(10, 4, drop_last=False):
        epoch.log({"index": index.float().mean()})
    epoch.record()
    assert epoch.run.progress.history[0]["index"] == pytest.approx(4.5)
