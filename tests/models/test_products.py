"""Products by oneDNN are those of torch, whatever the layout, and what oneDNN keeps stays small."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest
import torch

from luthier.models import products


@pytest.mark.parametrize("preferred", [True, False])
@pytest.mark.parametrize("rows", [1, 97, 256])
def test_they_are_torchs_in_every_layout(monkeypatch, preferred, rows):
    monkeypatch.setattr(products, "prefers_onednn", lambda: preferred)
    monkeypatch.setattr(products, "_SMALLEST", 1)
    torch.manual_seed(0)
    x, weight, bias = torch.randn(rows, 64), torch.randn(80, 64), torch.randn(80)
    wide, base = torch.randn(rows, 200), torch.randn(rows, 80)
    expected = x.double() @ weight.double().t()

    def same(found, wanted):
        torch.testing.assert_close(found.double(), wanted.double(), atol=1e-4, rtol=1e-5)

    same(products.linear(x, weight, bias), expected + bias)
    same(products.product(x, weight.t()), expected)
    same(products.add_product(base, x, weight.t()), base + expected)
    same(products.product_into(x, weight.t(), torch.empty(rows, 80)), expected)
    same(products.product_into(x, weight.t(), torch.empty(rows, 80, dtype=torch.float64)), expected)
    same(products.product(wide[:, 10:90], weight), wide[:, 10:90] @ weight)
    same(products.product(x.t(), wide[:, 10:90]), x.t() @ wide[:, 10:90])
    same(products.product(x.double(), weight.double().t()), expected)


GROWTH = """
import sys
import torch
from luthier.models import onednn
weights = [(width, onednn.pack(torch.randn(2048, width), 16)) for width in (256, 512, 1024)]
def resident():
    with open("/proc/self/status") as status:
        return next(int(line.split()[1]) for line in status if line.startswith("VmRSS")) / 1024
def lengths(first, last):
    for rows in range(first, last):
        for width, weight in weights:
            onednn.linear(torch.randn(rows, width), weight)
lengths(300, 301 + int(onednn._KEPT_SHAPES) // 3)  # all that is kept
before = resident()
lengths(100, 300)
print(resident() - before)
"""


@pytest.mark.skipif(not os.path.isfile("/proc/self/status"), reason="reads memory from /proc")
def test_what_onednn_keeps_does_not_grow_with_every_length():
    """Without a bound it is half a MiB for each length, in each try; what else the allocator keeps varies with the
    machine's load. The bound is read when torch starts: so another process."""
    limits = ("ONEDNN_PRIMITIVE_CACHE_CAPACITY", "LRU_CACHE_CAPACITY")
    environment = {name: value for name, value in os.environ.items() if name not in limits}
    grown = []
    for _ in range(3):
        run = subprocess.run([sys.executable, "-c", GROWTH], capture_output=True, text=True, env=environment)
        assert run.returncode == 0, run.stderr
        grown.append(float(run.stdout))
        if grown[-1] < 30:
            break
    assert min(grown) < 30
