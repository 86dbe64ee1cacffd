"""Negatives gathered over processes: two that hold half a batch each are one that holds it all."""

import warnings
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp

FACES, DIMENSIONS, PROCESSES = 8, 5, 2


def projections() -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    z = torch.randn(2, FACES, DIMENSIONS, generator=generator, dtype=torch.float64)
    return z[0].requires_grad_(), z[1].requires_grad_()


def one_process(rank: int, folder: str) -> None:
    from torch.distributed.nn.functional import all_gather

    from occfer.ocl import nt_xent

    warnings.simplefilter("ignore")
    dist.init_process_group(
        "gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=PROCESSES
    )
    mine = slice(rank * FACES // PROCESSES, (rank + 1) * FACES // PROCESSES)
    z1, z2 = (z.detach()[mine].clone().requires_grad_() for z in projections())
    loss = nt_xent(z1, z2, gather=lambda z: torch.cat(all_gather(z)))
    loss.backward()
    torch.save([loss.detach(), z1.grad, z2.grad], f"{folder}/{rank}.pt")
    dist.destroy_process_group()


@pytest.mark.slow
def test_two_processes_with_half_a_batch_are_one_with_all_of_it(tmp_path: Path) -> None:
    from occfer.ocl import nt_xent

    mp.spawn(one_process, (str(tmp_path),), nprocs=PROCESSES)
    found = [torch.load(tmp_path / f"{rank}.pt") for rank in range(PROCESSES)]
    z1, z2 = projections()
    loss = nt_xent(z1, z2)
    loss.backward()
    for rank_loss, _, _ in found:
        torch.testing.assert_close(rank_loss, loss.detach(), atol=1e-12, rtol=0)
    # Every process computes the whole loss, so gradients arrive once from each; data-parallel
    # training averages over the processes.
    for view, expected in ((1, z1.grad), (2, z2.grad)):
        gathered = torch.cat([part[view] for part in found]) / PROCESSES
        torch.testing.assert_close(gathered, expected, atol=1e-12, rtol=0)
