"""`--device auto`: the device it stands for, in the log and in files, and runs that move between machines."""

from __future__ import annotations

import logging

import pytest
import ram_reinforce
import torch
from ram_reinforce import Options

from glimpse_env import GlimpseVectorEnv, checks
from glimpse_env.reports import results
from glimpse_env.runtime import devices, distributed, terminal
from glimpse_env.training import resume

BEST = devices.best  # before conftest puts the CPU in its place


@pytest.fixture
def machine(monkeypatch):
    """Pretend to have some devices."""

    def pretend(*present):
        monkeypatch.setattr(devices, "best", BEST)
        monkeypatch.setattr(torch.cuda, "is_available", lambda: "cuda" in present)
        monkeypatch.setattr(torch.backends.mps, "is_available", lambda: "mps" in present)

    return pretend


@pytest.mark.parametrize(
    ("present", "chosen", "reason"),
    [
        (("cuda", "mps"), "cuda", "a CUDA GPU"),
        (("cuda",), "cuda", "a CUDA GPU"),
        (("mps",), "mps", "no CUDA GPU, but Apple's MPS"),
        ((), "cpu", "neither a CUDA GPU nor Apple's MPS"),
    ],
)
def test_auto_is_cuda_then_mps_then_the_cpu_and_the_log_says_why(machine, caplog, present, chosen, reason):
    machine(*present)
    with caplog.at_level(logging.INFO, "glimpse_env"):
        assert devices.named("auto") == chosen
    assert caplog.messages == [f"device: {chosen} (auto: torch finds {reason})"]


@pytest.mark.parametrize("given", ["cpu", "cuda", "cuda:1", "mps", "no such"])
def test_a_device_given_by_hand_stays(machine, caplog, given):
    machine("cuda", "mps")
    with caplog.at_level(logging.INFO, "glimpse_env"):
        assert devices.named(given) == distributed.device_of(given) == given
    assert not caplog.messages


@pytest.mark.parametrize("given", ["auto", "cuda"])
def test_each_process_of_torchrun_takes_its_own_gpu(machine, monkeypatch, given):
    monkeypatch.setenv("WORLD_SIZE", "4")
    monkeypatch.setenv("LOCAL_RANK", "3")
    machine("cuda")
    assert distributed.device_of(given) == "cuda:3"
    assert distributed.device_of("cuda:1") == "cuda:1"


def test_several_processes_do_not_share_an_apple_gpu(machine, monkeypatch):
    machine("mps")
    assert distributed.device_of("auto") == "mps"
    monkeypatch.setenv("WORLD_SIZE", "2")
    assert distributed.device_of("auto") == "cpu"


def test_environments_know_auto_and_stay_on_the_cpu_without_it(machine, noise):
    machine()
    assert checks.device("auto") == torch.device("cpu")
    machine("cuda", "mps")
    assert GlimpseVectorEnv(1, noise, first_view="glimpse", glimpse_size=4).device == torch.device("cpu")


def test_scripts_get_their_options_with_the_device_that_is_used(machine):
    machine("cuda")
    assert terminal.prepare(Options(threads=1)).device == "cuda"
    assert terminal.prepare(Options(threads=1, device="cpu")).device == "cpu"


def trained(halves, out, **options):
    """Train a tiny RAM."""
    tiny = {"epochs": 1, "batch": 8, "glimpses": 2, "glimpse_size": 8, "image_size": 16}
    tiny |= {"hidden": 8, "features": 8, "augment": False}
    chosen = Options(dataset=halves, out=out, threads=1, **tiny | options)
    return ram_reinforce.main(chosen)


def test_files_name_the_device_that_was_used_and_a_run_moves_to_another_machine(machine, halves, tmp_path):
    folder = halves((12, 4))
    row = trained(folder, tmp_path)
    assert row["device"] == row["options"]["device"] == "cpu"
    source = tmp_path / "checkpoint.pt"
    saved = torch.load(source, weights_only=True)
    assert saved["options"]["device"] == "cpu"
    saved["options"]["device"] = "cuda:7"  # as if it came from a machine with eight GPUs
    torch.save(saved, source)
    machine()
    assert resume.other_options(saved, Options(**saved["options"] | {"device": "auto"})) == []
    assert results.choose_device(saved, None) == "cpu"
    assert results.write(source)["device"] == "cpu"
    again = trained(folder, tmp_path, resume=True)
    assert again["device"] == again["options"]["device"] == "cpu"
    ignored = {"command": "", "options": {}, "train_seconds": 0}
    assert again | ignored == row | ignored


def test_torch_rounds_denormal_numbers_to_zero():
    """They decay in the momentum of units without gradient, and slow products of matrices down tenfold."""
    threads = torch.get_num_threads()
    torch.set_flush_denormal(False)
    tiny = torch.full((8,), 1e-39)
    assert (tiny * 0.5).all()
    terminal.use_threads(1)
    assert not (tiny * 0.5).any()
    torch.set_num_threads(threads)
