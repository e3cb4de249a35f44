"""Which type "auto" is: read off what the CPU says of itself, never one that is emulated, never measured."""

import logging

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from glimpse_env import precision
from glimpse_env.learning import optimizers

CPU = torch.device("cpu")


@pytest.fixture
def cpu(monkeypatch):
    """Pretend to be a CPU with these units, under these limits."""

    def pretend(amx=False, avx512_bf16=False, capability="AVX512", limit=None, machine="x86_64"):
        monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: amx)
        monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: avx512_bf16)
        monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: capability)
        monkeypatch.setattr(precision.platform, "machine", lambda: machine)
        monkeypatch.delenv("DNNL_MAX_CPU_ISA", raising=False)
        if limit is None:
            monkeypatch.delenv("ONEDNN_MAX_CPU_ISA", raising=False)
        else:
            monkeypatch.setenv("ONEDNN_MAX_CPU_ISA", limit)

    return pretend


@pytest.mark.parametrize(
    ("units", "expected", "reason"),
    [
        ({"amx": True, "avx512_bf16": True}, torch.bfloat16, "AMX"),
        ({"avx512_bf16": True}, torch.bfloat16, "AVX-512 BF16"),
        ({"avx512_bf16": True, "limit": "avx512_core_bf16"}, torch.bfloat16, "AVX-512 BF16"),
        ({}, torch.float32, "neither AMX nor AVX-512 BF16"),
        ({"capability": "AVX2"}, torch.float32, "neither AMX nor"),
        ({"avx512_bf16": True, "capability": "AVX2"}, torch.float32, "torch is limited to AVX2"),
        ({"avx512_bf16": True, "capability": "DEFAULT"}, torch.float32, "torch is limited to DEFAULT"),
        ({"avx512_bf16": True, "limit": "AVX2"}, torch.float32, "oneDNN is limited to AVX2"),
        ({"amx": True, "limit": "AVX512_CORE"}, torch.float32, "oneDNN is limited to AVX512_CORE"),
        ({"avx512_bf16": True, "machine": "aarch64"}, torch.float32, "aarch64"),
    ],
)
def test_auto_is_bfloat16_only_where_the_cpu_has_units_for_it(cpu, units, expected, reason):
    cpu(**units)
    choice = precision.fastest(CPU)
    assert choice.dtype == expected
    assert reason in choice.reason
    assert precision.named("auto", CPU) == expected
    assert precision.named("float16", CPU) == torch.float16


def test_the_log_names_type_and_reason(cpu, caplog):
    cpu()
    with caplog.at_level(logging.INFO, logger="glimpse_env"):
        precision.named("auto", CPU)
    assert "precision: float32 (this CPU has no bfloat16 units" in caplog.text


class Computed(TorchDispatchMode):
    """Note the types of all that torch computes."""

    def __init__(self):
        """Nothing yet."""
        super().__init__()
        self.types = []

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        """Compute, and note."""
        result = function(*args, **(kwargs or {}))
        self.types += [
            value.dtype for value in (result if isinstance(result, list | tuple) else [result]) if isinstance(value, torch.Tensor)
        ]
        return result


def test_auto_measures_nothing():
    with Computed() as computed:
        precision.named("auto", CPU)
    assert computed.types == []


def test_an_unknown_precision_is_refused(unchecked):
    with pytest.raises(ValueError, match="precision='double': expected one of auto, float32, bfloat16, float16"):
        precision.named("double", CPU)


# The optimiser


def matrices(seed, shapes):
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(shape, generator=generator) for shape in shapes]


SHAPES = [(6, 4), (6, 4), (4, 6), (5, 5)]


@pytest.mark.parametrize("units", [{}, {"avx512_bf16": True}])
def test_muon_computes_what_torch_does(cpu, units):
    """Up to the rounding of bfloat16, in which torch always orthogonalises."""
    cpu(**units)
    ours, theirs = ([torch.nn.Parameter(matrix.clone()) for matrix in matrices(0, SHAPES)] for _ in range(2))
    optimizer, reference = optimizers.Muon(ours, 0.1, 0.05), torch.optim.Muon(theirs, 0.1, weight_decay=0.05)
    for step in range(3):
        for parameters in (ours, theirs):
            for parameter, gradient in zip(parameters, matrices(step + 1, SHAPES), strict=True):
                parameter.grad = gradient.clone()
        optimizer.step()
        reference.step()
    for mine, other in zip(ours, theirs, strict=True):
        torch.testing.assert_close(mine, other, atol=0.02, rtol=0.02)


def test_muon_orthogonalises_in_float32_without_bfloat16_units(cpu):
    cpu()
    with Computed() as computed:
        found = optimizers.orthogonalise(torch.stack(matrices(0, [(8, 5)] * 3)))
    assert set(computed.types) == {torch.float32}
    singular = torch.linalg.svdvals(found)
    assert 0.6 < singular.min() <= singular.max() < 1.3


def test_muon_goes_on_from_its_saved_state(cpu):
    cpu()
    first, second = (torch.nn.Parameter(torch.ones(3, 2)) for _ in range(2))
    whole, broken = optimizers.Muon([first], 0.1, 0.0), optimizers.Muon([second], 0.1, 0.0)
    for step, gradient in enumerate(matrices(3, [(3, 2)] * 4)):
        first.grad, second.grad = gradient.clone(), gradient.clone()
        whole.step()
        broken.step()
        if step == 1:
            saved = broken.state_dict()
            broken = optimizers.Muon([second], 0.1, 0.0)
            broken.load_state_dict(saved)
    assert torch.equal(first, second)
