"""Which type "auto" is: read off what the CPU says of itself, never one that is emulated, never measured."""

import logging

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from glimpse_env.runtime import precision
from glimpse_env.training import optimizers

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
    precision.log_once.cache_clear()
    with caplog.at_level(logging.INFO, logger="glimpse_env"):
        precision.named("auto", CPU)
        precision.named("auto", CPU)
    assert len(caplog.records) == 1
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
            value.dtype
            for value in (result if isinstance(result, list | tuple) else [result])
            if isinstance(value, torch.Tensor)
        ]
        return result


def test_auto_measures_nothing():
    with Computed() as computed:
        precision.named("auto", CPU)
    assert computed.types == []


def test_an_unknown_precision_is_refused(unchecked):
    with pytest.raises(
        ValueError, match="precision='double': expected one of auto, float32, bfloat16, float16"
    ):
        precision.named("double", CPU)


# The optimiser


def matrices(seed, shapes):
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(shape, generator=generator) for shape in shapes]


SHAPES = [(6, 4), (6, 4), (4, 6), (5, 5)]


def test_muon_moves_as_torch_does(monkeypatch):
    """Momentum, decay and rates are torch's; both orthogonalise exactly here (compared below)."""

    def exact(matrix, *_):
        left, _, right = torch.linalg.svd(matrix, full_matrices=False)
        return left @ right

    monkeypatch.setattr(optimizers, "orthogonalise", exact)
    monkeypatch.setattr("torch.optim._muon._zeropower_via_newtonschulz", exact)
    ours, theirs = ([torch.nn.Parameter(matrix.clone()) for matrix in matrices(0, SHAPES)] for _ in range(2))
    optimizer, reference = (
        optimizers.Muon(ours, 0.1, 0.05, momentum=0.8),
        torch.optim.Muon(theirs, 0.1, weight_decay=0.05, momentum=0.8),
    )
    for step in range(3):
        for parameters in (ours, theirs):
            for parameter, gradient in zip(parameters, matrices(step + 1, SHAPES), strict=True):
                parameter.grad = gradient.clone()
        optimizer.step()
        reference.step()
    for mine, other in zip(ours, theirs, strict=True):
        torch.testing.assert_close(mine, other, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("units", [{}, {"avx512_bf16": True}])
@pytest.mark.parametrize("shape", [(64, 64), (128, 64), (64, 128)])
def test_orthogonalised_matrices_keep_their_singular_vectors(cpu, units, shape):
    cpu(**units)
    [matrix] = matrices(0, [shape])
    found = optimizers.orthogonalise(matrix[None])[0]
    left, values, right = torch.linalg.svd(matrix, full_matrices=False)
    stretched = (
        left.mT @ found @ right.mT
    ).diagonal()  # what became of each singular value; the exact answer is 1
    counted = values > 0.01 * values.norm()  # three steps do not lift the smallest all the way
    assert 0.65 < stretched[counted].min() <= stretched.max() < 1.35
    assert (found - left @ stretched.diag() @ right).norm() < 0.05 * found.norm()


def test_muon_orthogonalises_in_float32_without_bfloat16_units(cpu):
    cpu()
    with Computed() as computed:
        found = optimizers.orthogonalise(torch.stack(matrices(0, [(8, 5)] * 3)))
    assert set(computed.types) == {torch.float32}
    assert found.isfinite().all()


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
