"""The chunked loss is torch's own cross-entropy, and never holds all logits."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.nn import functional
from torch.utils._python_dispatch import TorchDispatchMode

from luthier.models.linear_cross_entropy import linear_cross_entropy


def _inputs(tokens: int, width: int, vocabulary: int, dtype: torch.dtype = torch.float32) -> dict[str, Tensor]:
    made = torch.Generator().manual_seed(3)
    return {
        "hidden": torch.randn(tokens, width, generator=made).to(dtype).requires_grad_(),
        "weight": torch.randn(vocabulary, width, generator=made).to(dtype).requires_grad_(),
        "bias": torch.randn(vocabulary, generator=made).to(dtype).requires_grad_(),
        "targets": torch.randint(vocabulary, (tokens,), generator=made),
        "weights": torch.rand(tokens, generator=made).to(dtype) * (torch.rand(tokens, generator=made) > 0.3),
    }


def _reference(i: dict[str, Tensor], softcap: float | None, *, bias: bool = True) -> tuple[Tensor, Tensor]:
    logits = functional.linear(i["hidden"], i["weight"], i["bias"] if bias else None)
    if softcap is not None:
        logits = softcap * torch.tanh(logits / softcap)
    losses = functional.cross_entropy(logits, i["targets"], reduction="none")
    return (losses * i["weights"]).sum(), ((logits.argmax(-1) == i["targets"]) & (i["weights"] > 0)).sum()


@pytest.mark.parametrize("softcap", [None, 5.0])
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("chunk", [1, 4, 7, 100, None])
def test_matches_torch(chunk: int | None, bias: bool, softcap: float | None) -> None:
    i = _inputs(23, 8, 31)
    trained = [i["hidden"], i["weight"], *([i["bias"]] if bias else [])]
    expected, expected_right = _reference(i, softcap, bias=bias)
    expected_gradients = torch.autograd.grad(expected * 0.5, trained)
    loss, right = linear_cross_entropy(
        i["hidden"], i["weight"], i["bias"] if bias else None, i["targets"], i["weights"],
        softcap=softcap, chunk_tokens=chunk,
    )  # fmt: skip
    torch.testing.assert_close(loss, expected, rtol=1e-6, atol=1e-6)
    assert int(right) == int(expected_right)
    for got, wanted in zip(torch.autograd.grad(loss * 0.5, trained), expected_gradients, strict=True):
        torch.testing.assert_close(got, wanted, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("softcap", [None, 2.0])
def test_gradients_in_double_precision(softcap: float | None) -> None:
    i = _inputs(5, 3, 7, torch.float64)

    def loss(hidden: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        return linear_cross_entropy(
            hidden, weight, bias, i["targets"], i["weights"], softcap=softcap, chunk_tokens=2
        )[0]  # fmt: skip

    assert torch.autograd.gradcheck(loss, (i["hidden"], i["weight"], i["bias"]))


def test_bf16_sums_in_full_precision() -> None:
    i = _inputs(300, 16, 50, torch.bfloat16)
    exact = {name: value.detach().float() if value.is_floating_point() else value for name, value in i.items()}
    loss, _ = linear_cross_entropy(i["hidden"], i["weight"], None, i["targets"], i["weights"], chunk_tokens=16)
    assert loss.dtype == torch.float32
    torch.testing.assert_close(loss, _reference(exact, None, bias=False)[0], rtol=2e-3, atol=0)
    exact["weight"].requires_grad_()
    (wanted,) = torch.autograd.grad(_reference(exact, None, bias=False)[0], exact["weight"])
    (got,) = torch.autograd.grad(loss, i["weight"])
    assert got.dtype == torch.bfloat16
    assert float((got.float() - wanted).norm() / wanted.norm()) < 0.01


def test_large_logits_stay_finite() -> None:
    hidden = torch.tensor([[1e4], [-1e4]], requires_grad=True)
    weight = torch.tensor([[1.0], [-1.0], [0.5]])
    loss, right = linear_cross_entropy(hidden, weight, None, torch.tensor([0, 0]), torch.ones(2))
    assert loss.item() == pytest.approx(2e4)
    assert int(right) == 1
    (gradient,) = torch.autograd.grad(loss, hidden)
    assert gradient.tolist() == [[0.0], [-2.0]]


def test_a_constant_model_is_not_praised() -> None:
    """All logits equal: one token can be the prediction, not every one."""
    targets = torch.arange(6) % 3
    _, right = linear_cross_entropy(torch.zeros(6, 2), torch.ones(3, 2), None, targets, torch.ones(6))
    assert int(right) == 2


def test_frozen_matrix_gets_no_gradient_and_none_is_computed_without_grad() -> None:
    i = _inputs(6, 4, 9)
    weight = i["weight"].detach()
    with _Largest() as frozen:
        loss, _ = linear_cross_entropy(i["hidden"], weight, None, i["targets"], i["weights"])
    assert "addmm" not in frozen.names
    assert frozen.names.count("mm") == 2
    loss.backward()
    assert weight.grad is None
    with _Largest() as quiet, torch.no_grad():
        loss, _ = linear_cross_entropy(i["hidden"], i["weight"], None, i["targets"], i["weights"])
    assert quiet.names.count("mm") == 1
    assert not loss.requires_grad


def test_no_tokens() -> None:
    i = _inputs(0, 4, 9)
    loss, right = linear_cross_entropy(i["hidden"], i["weight"], i["bias"], i["targets"], i["weights"])
    loss.backward()
    assert (loss.item(), right.item()) == (0.0, 0)
    assert i["weight"].grad is not None
    assert not i["weight"].grad.any()


class _Largest(TorchDispatchMode):
    """The operations run and the largest tensor any of them made, in elements."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.elements = 0
        self.names: list[str] = []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):  # type: ignore[no-untyped-def]
        result = func(*args, **(kwargs or {}))
        self.names.append(func.__name__.split(".")[0])
        for item in result if isinstance(result, tuple | list) else [result]:
            if isinstance(item, Tensor):
                self.elements = max(self.elements, item.numel())
        return result


def test_memory_does_not_grow_with_tokens_times_vocabulary() -> None:
    tokens, vocabulary = 512, 4000
    i = _inputs(tokens, 4, vocabulary)
    with _Largest() as largest:
        loss, _ = linear_cross_entropy(
            i["hidden"], i["weight"], i["bias"], i["targets"], i["weights"], chunk_tokens=16
        )  # fmt: skip
        loss.backward()
    assert largest.elements <= 2 * 16 * vocabulary < tokens * vocabulary / 10
