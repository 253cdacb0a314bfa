"""One process of a training among those that torchrun started, each with a device of its own."""

from __future__ import annotations

import os
from dataclasses import dataclass, field

import torch
import torch.distributed as dist


@dataclass(frozen=True)
class Process:
    """This process among those of a torchrun; alone by default."""

    rank: int = 0
    count: int = 1
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))

    @classmethod
    def start(cls, device: str) -> Process:
        """Join the processes that torchrun started, if it did: each on its own GPU where `device` is `cuda`.

        Raises ValueError for one GPU given to several processes and for more processes than GPUs.
        """
        if int(os.environ.get("WORLD_SIZE", "1")) == 1:
            return cls(device=torch.device("cuda", torch.cuda.current_device()) if device == "cuda" else torch.device(device))
        if device.startswith("cuda:"):
            raise ValueError(f"several processes take a GPU each: give the device cuda without a number, got {device}")
        if device != "cuda":
            dist.init_process_group("gloo")
            return cls(dist.get_rank(), dist.get_world_size(), torch.device(device))
        local, count = int(os.environ["LOCAL_RANK"]), torch.cuda.device_count()
        if local >= count:
            raise ValueError(f"more processes than GPUs: PyTorch sees {count} here; start one process for each")
        own = torch.device("cuda", local)
        torch.cuda.set_device(own)
        dist.init_process_group("nccl")
        return cls(dist.get_rank(), dist.get_world_size(), own)

    def use_device(self) -> None:
        """Make this process's GPU the current one of the calling thread; PyTorch keeps it per thread."""
        if self.device.type == "cuda":
            torch.cuda.set_device(self.device)

    def finish(self) -> None:
        """Leave the group."""
        if self.count > 1:
            dist.destroy_process_group()

    def shared(self, value: float) -> float:
        """Return the first process's value: clocks differ, and all must take the same steps at the same rate."""
        if self.count == 1:
            return value
        shared = torch.tensor([value], dtype=torch.float64, device=self.device)
        dist.broadcast(shared, 0)
        return float(shared.item())

    def gathered(self, lines: list[str]) -> list[str]:
        """Return the lines of all processes, in the order of their ranks."""
        if self.count == 1:
            return lines
        all_lines: list[list[str]] = [[] for _ in range(self.count)]
        dist.all_gather_object(all_lines, lines)
        return [line for own in all_lines for line in own]
