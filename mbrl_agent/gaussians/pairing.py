"""Pair two clouds of points one to one at a small transport cost; pure, without gradient.

Shapes: B replicates, P points a cloud, D dimensions, F rows that travel together. All that is here runs along
the points, so it is kept as rows (B, F, P).
"""

from __future__ import annotations

import math
from functools import lru_cache

import torch
from torch import Tensor

SMALLEST_SPLIT = 3
"""Slabs that a dimension is cut into, at least: there are no more levels than leave so many."""


@torch.no_grad()
def pair(points: Tensor, others: Tensor, sweeps: int) -> Tensor:
    """Find a permutation s for which sum_i |points_i - others_s(i)|^2 is nearly as small as it gets.

    The optimum (Hungarian method) takes O(P^3) steps, one after the other; Sinkhorn's iteration takes P^2
    numbers a replicate, and does not end in a permutation. This takes O(P log P), in tensor operations whose
    number does not depend on where the points are, so that a CUDA graph can hold it:

    1. Both clouds are put in the order of nested slabs, and paired in that order (a sample's version of the
       Knothe-Rosenblatt rearrangement).
    2. Each sweep puts the pairs in the order of their midpoints, in slabs across turned axes, and neighbours
       i, j swap partners where that is cheaper: (p_i - p_j) . (q_i - q_j) < 0. Of two pairs with the same
       midpoint it always is. The cost never rises (2-opt; the swapping algorithm).

    The turned axes are fixed numbers. The order in which the points come does not matter, but for ties.

    Args:
        points: p, (*R, P, D).
        others: q, (*R, P, D); clouds that are standardised alike.
        sweeps: How often pairs are compared.

    Returns:
        s, (*R, P): point i goes with others[s_i]. What is not finite stands for zero.

    Reference:
        Puccetti (2017), An algorithm to approximate the optimal expected inner product of two vectors with
        given marginals, for the swaps; Bernton, Jacob, Gerber, Robert (2019), Approximate Bayesian
        computation with the Wasserstein distance, for swaps after a pairing along an order.

    Example:
        >>> pair(torch.tensor([[0.0], [5.0], [1.0]]), torch.tensor([[4.0], [0.9], [0.1]]), sweeps=1)
        tensor([2, 0, 1])
    """
    shape, dims = points.shape[:-1], points.shape[-1]
    p, q = _rows(points), _rows(others)
    first, second = _in_slabs(torch.cat([p, q]), _axes(dims, 0, p.dtype, p.device)).chunk(2)
    pairs = torch.cat([first, second], 1)  # rows p, index of p, q, index of q
    for sweep in range(1, sweeps + 1):
        axes = _axes(dims, sweep, p.dtype, p.device)
        along = torch.nn.functional.pad(axes, (0, 1))
        pairs = _in_slabs(pairs, torch.cat([along, along], -1))
        for start in (0, 1):
            pairs = _swapped(pairs, start)
    index, partner = pairs[:, dims].long(), pairs[:, -1].long()
    return torch.empty_like(index).scatter_(-1, index, partner).view(shape)


def _rows(points: Tensor) -> Tensor:
    """Reshape (*R, P, D) to (B, D + 1, P), the last row the numbers of the points."""
    flat = points.reshape(-1, *points.shape[-2:]).mT.nan_to_num(0.0, 0.0, 0.0)
    numbers = torch.arange(flat.shape[-1], dtype=flat.dtype, device=flat.device)
    return torch.cat([flat, numbers.expand(len(flat), 1, -1)], 1)


def _in_slabs(rows: Tensor, axes: Tensor) -> Tensor:
    """Sort columns along the first axis, cut them into slabs, sort each along the second one, and so on.

    Args:
        rows: (B, F, P).
        axes: (D, at most F), each over the first of the rows.
    """
    B, F, P = rows.shape
    levels = max(1, min(len(axes), int(math.log(P, SMALLEST_SPLIT))))
    parts = max(1, int(P ** (1 / levels)))
    blocks = parts ** (levels - 1)  # the last cut is into single points
    # as many columns in each slab: what fills the last ones up is infinite and stays at the end
    rows = torch.nn.functional.pad(rows, (0, -P % blocks), value=math.inf)
    for level in range(levels):
        along = (axes[level] @ rows[:, : axes.shape[-1]]).view(B, parts**level, -1)
        order = along.argsort(dim=-1, stable=True).unsqueeze(1).expand(-1, F, -1, -1)
        rows = rows.view(B, F, parts**level, -1).gather(-1, order).view(B, F, -1)
    return rows[..., :P]


def _swapped(pairs: Tensor, start: int) -> Tensor:
    """Let neighbours, (start, start + 1) and so on, swap partners where that is cheaper."""
    half, count = pairs.shape[1] // 2, (pairs.shape[-1] - start) // 2 * 2
    p, q = pairs[:, :half], pairs[:, half:]
    two = _in_twos(q[..., start : start + count])
    own = _in_twos(p[:, :-1, start : start + count])
    gain = ((own[..., 0] - own[..., 1]) * (two[:, :-1, :, 0] - two[:, :-1, :, 1])).sum(1)
    swapped = torch.where((gain < 0)[:, None, :, None], two.flip(-1), two).flatten(-2)
    partners = torch.cat([q[..., :start], swapped, q[..., start + count :]], -1)
    return torch.cat([p, partners], 1)


def _in_twos(rows: Tensor) -> Tensor:
    """Split (B, F, P) into (B, F, P / 2, 2)."""
    return rows.reshape(*rows.shape[:-1], -1, 2)


@lru_cache(maxsize=64)
def _axes(dims: int, sweep: int, dtype: torch.dtype, device: torch.device) -> Tensor:
    """Return orthonormal axes (D, D): the dimensions themselves for sweep 0, others for each further one."""
    if sweep == 0:
        return torch.eye(dims, dtype=dtype, device=device)
    generator = torch.Generator().manual_seed(sweep)
    drawn = torch.randn(dims, dims, generator=generator, dtype=torch.float64)
    axes: Tensor = torch.linalg.qr(drawn).Q
    return axes.to(dtype).to(device)
