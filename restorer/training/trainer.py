"""Training of restorers: the recipe of the OWAN paper (section 4.1) with what a long run on real machines needs.

L1 loss, Adam with betas 0.9 and 0.99, a learning rate of 1e-3 falling to zero by a cosine, 63x63 patches in batches of 32. On
top of that: mixtures of recipes and patch sizes, a budget in minutes or steps, an exponential moving average of the weights,
gradient clipping, bf16 on CUDA, several processes, and checkpoints from which a run goes on to the same curve.
"""

from __future__ import annotations

import csv
import math
import os
import pickle
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import nullcontext
from dataclasses import asdict, dataclass, field
from pathlib import Path

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel
from vocbench.restorer.quality import psnr, ssim
from vocbench.restorer.training.patches import SCALES, PhotoPatches, list_photos

ENOUGH = 40  # dB, 2.5 of 255 levels: better ones do not count, or a network that changes nothing would win by clean patches


@dataclass(frozen=True)
class Training:
    """Settings of a run, saved with its checkpoints; the defaults are the paper's."""

    network: str = "owan"
    clean: tuple[str, ...] = ()  # folders of clean photos
    mixture: tuple[tuple[str, float], ...] = (("voc", 0.6), ("moderate", 0.3), ("clean", 0.1))
    patch: tuple[int, ...] = (63,)  # pixels; one size is drawn per step
    batch: int = 32  # patches of the first size; other sizes get about as many pixels
    learning_rate: float = 1e-3
    warmup: int = 0  # steps of linear rise
    betas: tuple[float, float] = (0.9, 0.99)
    clip: float = 1.0  # norm of the gradient, 0 for none
    ema: float = 0.999  # decay per step of the averaged weights
    steps: int | None = None  # the budget; one of steps and minutes
    minutes: float | None = None
    seed: int = 0
    validate: int = 250  # steps between validations and checkpoints
    held: int = 20  # every how many photos one is held out for validation
    task_weight: float = 0.0  # weight of the task loss, beside L1
    drawn: float = 0.0  # share of patches that are flat, smooth or drawn pictures
    scales: tuple[float, ...] = SCALES  # of the photos that patches are cut from

    def __post_init__(self) -> None:
        if (self.steps is None) == (self.minutes is None):
            raise ValueError("give the budget either as steps or as minutes")
        if min(self.patch, default=0) < 16:
            raise ValueError(f"patches must be at least 16 pixels, got {self.patch}")
        if self.batch < 1 or self.held < 2:
            raise ValueError(f"expected batch >= 1 and held >= 2, got {self.batch} and {self.held}")


@dataclass(frozen=True)
class Process:
    """This process among those of a torchrun; alone by default."""

    rank: int = 0
    count: int = 1
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))

    @classmethod
    def start(cls, device: str) -> Process:
        if int(os.environ.get("WORLD_SIZE", "1")) == 1:
            return cls(device=torch.device(device))
        if device == "cuda":
            torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
        dist.init_process_group("nccl" if device == "cuda" else "gloo")
        return cls(dist.get_rank(), dist.get_world_size(), torch.device(device))

    def finish(self) -> None:
        if self.count > 1:
            dist.destroy_process_group()

    def shared(self, value: float) -> float:
        """The first process's value: clocks differ, and all must take the same steps at the same rate."""
        if self.count == 1:
            return value
        told = torch.tensor([value], dtype=torch.float64, device=self.device)
        dist.broadcast(told, 0)
        return float(told.item())


class Average:
    """Exponential moving average of a network's weights, warmed up so that the first steps do not linger."""

    def __init__(self, network: nn.Module, decay: float):
        self.decay, self.steps = decay, 0
        self.state = {name: tensor.detach().clone() for name, tensor in network.state_dict().items()}

    @torch.no_grad()
    def update(self, network: nn.Module) -> None:
        self.steps += 1
        decay = min(self.decay, (1 + self.steps) / (10 + self.steps))
        state = network.state_dict()
        floating = [name for name, tensor in state.items() if tensor.is_floating_point()]
        torch._foreach_lerp_([self.state[name] for name in floating], [state[name] for name in floating], 1 - decay)
        for name in state.keys() - set(floating):
            self.state[name].copy_(state[name])


class Patches:
    """The steps' batches, each made while the step before runs: sizes drawn per step, samples shared out exactly."""

    def __init__(self, settings: Training, process: Process):
        photos = list_photos(settings.clean)
        self.settings, self.process = settings, process
        self.held = photos[:: settings.held]
        train = [photo for i, photo in enumerate(photos) if i % settings.held] or photos
        self.source = PhotoPatches(train, dict(settings.mixture), settings.seed, settings.scales, settings.drawn)
        self._worker = ThreadPoolExecutor(1)
        self._ahead: dict[int, Future] = {}

    def next(self, step: int) -> tuple[Tensor, Tensor, Tensor]:
        """The batch of a step; the following one is begun."""
        now = self._ahead.pop(step, None) or self._worker.submit(self.batch, step)
        self._ahead = {step + 1: self._worker.submit(self.batch, step + 1)}
        return now.result()

    def size(self, step: int) -> int:
        choices = self.settings.patch
        generator = torch.Generator().manual_seed(self.settings.seed * 1_000_003 + step)
        return choices[int(torch.randint(len(choices), (), generator=generator))]

    def batch(self, step: int) -> tuple[Tensor, Tensor, Tensor]:
        """Return degraded and clean patches, and which of them show photos (B,) bool."""
        size = self.size(step)
        count = max(1, round(self.settings.batch * (self.settings.patch[0] / size) ** 2))
        first = self.process.rank * count
        indices = range(first, first + count)
        degraded, clean, samples = self.source.batch(size, step, indices, self.process.device)
        return degraded, clean, torch.tensor([sample.is_photo for sample in samples])

    def validation(self, count: int = 16) -> dict[str, tuple[Tensor, Tensor]]:
        """Per recipe of the mixture, `count` degraded and clean patches of the held-out photos."""
        sets = {}
        for recipe, _ in self.settings.mixture:
            held = PhotoPatches(self.held, {recipe: 1.0}, seed=2**31 + self.settings.seed)
            sets[recipe] = held.batch(max(self.settings.patch), 0, range(count), self.process.device)[:2]
        return sets


def schedule(settings: Training, step: int, elapsed: float) -> float:
    """The learning rate at a step: linear warm-up, then a cosine over the budget to zero."""
    done = step / settings.steps if settings.steps else elapsed / (60 * (settings.minutes or 1))
    warm = min(1.0, (step + 1) / settings.warmup) if settings.warmup else 1.0
    return settings.learning_rate * warm * 0.5 * (1 + math.cos(math.pi * min(done, 1.0)))


def finished(settings: Training, step: int, elapsed: float) -> bool:
    return step >= settings.steps if settings.steps else elapsed >= 60 * (settings.minutes or 0)


Loss = Callable[[Tensor, Tensor], Tensor]
Forward = Callable[[Tensor], Tensor]


class Trainer:
    """One run: `network` trained by `settings`, its files in `out`.

    `forward` replaces the network's own forward where a faster equal one exists; `task` is a loss beside L1 of (restored,
    clean) patches, weighted by `settings.task_weight`.
    """

    def __init__(
        self,
        network: nn.Module,
        settings: Training,
        out: Path,
        save: Callable[[Path, Mapping[str, Tensor], dict], None],
        process: Process | None = None,
        forward: nn.Module | None = None,
        task: Loss | None = None,
    ):
        self.settings, self.out, self.save, self.task = settings, Path(out), save, task
        self.process = process or Process()
        device = self.process.device
        self.network = network.to(device).to(memory_format=torch.channels_last).train()
        runner = (forward or network).to(device)
        self.runner = DistributedDataParallel(runner) if self.process.count > 1 else runner
        self.average = Average(network, settings.ema)
        self.optimizer = torch.optim.Adam(network.parameters(), settings.learning_rate, settings.betas)
        self.patches = Patches(settings, self.process)
        self.step, self.elapsed, self.best = 0, 0.0, -math.inf
        self.rows: list[dict[str, float]] = []

    def resume(self) -> bool:
        """Go on from the checkpoint in `out`; False where there is none."""
        path = self.out / "checkpoint.pt"
        if not path.is_file():
            return False
        try:
            kept = torch.load(path, map_location=self.process.device, weights_only=True)
        except (OSError, RuntimeError, ValueError, EOFError, KeyError, pickle.UnpicklingError):
            raise ValueError(f"{path}: damaged, or no checkpoint of a training; start again with another `out`") from None
        if not isinstance(kept, dict) or "settings" not in kept:
            raise ValueError(f"{path}: no checkpoint of a training; start again with another `out`")
        if kept["settings"] != _plain(self.settings):
            changed = [k for k, v in _plain(self.settings).items() if kept["settings"].get(k) != v]
            raise ValueError(f"{path}: made with other settings ({', '.join(changed)}); give the same ones or another `out`")
        self.network.load_state_dict(kept["network"])
        self.average.state, self.average.steps = kept["average"], kept["average_steps"]
        self.optimizer.load_state_dict(kept["optimizer"])
        self.step, self.elapsed, self.best, self.rows = kept["step"], kept["elapsed"], kept["best"], kept["rows"]
        return True

    def run(self) -> Iterator[dict[str, float]]:
        """Train to the end of the budget, giving a row of the curve at every validation."""
        validation = self.patches.validation()
        if self.step == 0:
            yield self._record(validation, float("nan"))
        loss_sum, since, begun = 0.0, 0, time.monotonic() - self.elapsed
        while not finished(self.settings, self.step, self.elapsed):
            loss_sum += self._train_step()
            since += 1
            self.elapsed = self.process.shared(time.monotonic() - begun)
            last = finished(self.settings, self.step, self.elapsed)
            if self.step % self.settings.validate == 0 or last:
                yield self._record(validation, loss_sum / since)
                loss_sum, since = 0.0, 0
                begun = time.monotonic() - self.elapsed  # validation does not use up the budget

    def _train_step(self) -> float:
        degraded, clean, photos = self.patches.next(self.step)
        for group in self.optimizer.param_groups:
            group["lr"] = schedule(self.settings, self.step, self.elapsed)
        loss, total = self._gradient(degraded, clean, photos)
        if not torch.isfinite(total):
            raise FloatingPointError(
                f"the loss became {total.item()} at step {self.step}; lower `learning_rate` or `clip` and resume from "
                f"{self.out / 'checkpoint.pt'}"
            )
        self._alternate()
        if self.settings.clip:
            nn.utils.clip_grad_norm_(self.network.parameters(), self.settings.clip)
        self.optimizer.step()
        self.average.update(self.network)
        self.step += 1
        return loss.item()

    def _alternate(self) -> None:
        """Input-independent attention and kernels learn in turns, each on its own batch, as DARTS does (its first order)."""
        attention = [p for name, p in self.network.named_parameters() if name.endswith("attention.logits")]
        if not attention:
            return
        chosen = {id(parameter) for parameter in attention}
        for parameter in self.network.parameters():
            if (id(parameter) in chosen) != bool(self.step % 2):
                parameter.grad = None

    def rates(self, steps: int = 3) -> dict[str, float]:
        """Patches per second of this process: data alone, the step alone, and both one after the other. Changes nothing."""
        size, count = self.settings.patch[0], self.settings.batch
        data = _seconds(lambda i: self.patches.source.batch(size, i, range(count), self.process.device), steps)
        degraded, clean, _ = self.patches.source.batch(size, 0, range(count), self.process.device)
        step = _seconds(lambda i: self._gradient(degraded, clean), steps)
        self.optimizer.zero_grad(set_to_none=True)
        return {"data": count / data, "step": count / step, "together": count / (data + step)}

    def _gradient(self, degraded: Tensor, clean: Tensor, photos: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """The L1 loss and the whole loss of a batch, its gradient left in the parameters."""
        self.optimizer.zero_grad(set_to_none=True)
        with _autocast(self.process.device):
            restored = self.runner(degraded.contiguous(memory_format=torch.channels_last))
        restored = restored.float()
        loss = total = (restored - clean).abs().mean()
        if self.task is not None and self.settings.task_weight:
            chosen = slice(None) if photos is None else photos  # a drawn picture holds nothing to detect
            if photos is None or photos.any():
                total = loss + self.settings.task_weight * self.task(restored[chosen], clean[chosen])
        total.backward()
        return loss.detach(), total.detach()

    @torch.no_grad()
    def evaluate(self, state: Mapping[str, Tensor], validation: dict[str, tuple[Tensor, Tensor]]) -> dict[str, float]:
        """Mean PSNR and SSIM of the weights `state` on each validation set."""
        kept = {name: tensor.clone() for name, tensor in self.network.state_dict().items()}
        self.network.load_state_dict(state)
        self.network.eval()
        runner = self.runner.module if isinstance(self.runner, DistributedDataParallel) else self.runner
        row = {}
        for name, (degraded, clean) in validation.items():
            restored = torch.cat([runner(part) for part in degraded.split(8)]).float().clamp(0, 1)
            # A perfect restoration would be infinite; 60 dB is beyond 8 bits and keeps the mean of clean patches finite.
            row[f"psnr_{name}"] = psnr(restored, clean).clamp(max=60).mean().item()
            row[f"ssim_{name}"] = ssim(restored, clean).mean().item()
        self.network.load_state_dict(kept)
        self.network.train()
        return row

    def _record(self, validation: dict[str, tuple[Tensor, Tensor]], loss: float) -> dict[str, float]:
        raw = self.evaluate(self.network.state_dict(), validation)
        averaged = self.evaluate(self.average.state, validation)
        shares = dict(self.settings.mixture)
        row = {"step": self.step, "minutes": self.elapsed / 60, "loss": loss}
        row |= {"learning_rate": schedule(self.settings, self.step, self.elapsed)}
        row |= {f"raw_{name}": value for name, value in raw.items()} | averaged
        row["score"] = sum(share * min(averaged[f"psnr_{name}"], ENOUGH) for name, share in shares.items())
        self.rows.append(row)
        if self.process.rank == 0:
            self._write(row)
        return row

    def _write(self, row: dict[str, float]) -> None:
        self.out.mkdir(parents=True, exist_ok=True)
        name = self.settings.network
        self.save(self.out / f"{name}-raw.safetensors", self.network.state_dict(), row)
        self.save(self.out / f"{name}-last.safetensors", self.average.state, row)
        if row["score"] > self.best:
            self.best = row["score"]
            self.save(self.out / f"{name}.safetensors", self.average.state, row)
        self._checkpoint()
        write_curve(self.out, self.rows)

    def _checkpoint(self) -> None:
        kept = {
            "settings": _plain(self.settings),
            "network": self.network.state_dict(),
            "average": self.average.state,
            "average_steps": self.average.steps,
            "optimizer": self.optimizer.state_dict(),
            "step": self.step,
            "elapsed": self.elapsed,
            "best": self.best,
            "rows": self.rows,
        }
        part = self.out / "checkpoint.pt.part"
        torch.save(kept, part)
        part.replace(self.out / "checkpoint.pt")


def _plain(settings: Training) -> dict:
    """Settings as lists and numbers, which a checkpoint can hold without pickled classes; the budget may change."""
    plain = {k: [list(x) if isinstance(x, tuple) else x for x in v] if isinstance(v, tuple) else v
             for k, v in asdict(settings).items()}  # fmt: skip
    return {k: v for k, v in plain.items() if k not in ("validate",)}


def _seconds(work: Callable[[int], object], times: int) -> float:
    """Mean wall time of work(i), after one call to warm up; waits for CUDA."""
    work(0)
    wait = torch.cuda.synchronize if torch.cuda.is_available() else (lambda: None)
    wait()
    begun = time.perf_counter()
    for i in range(times):
        work(i + 1)
    wait()
    return (time.perf_counter() - begun) / times


def _autocast(device: torch.device):
    return torch.autocast("cuda", torch.bfloat16) if device.type == "cuda" else nullcontext()


def write_curve(out: Path, rows: list[dict[str, float]]) -> None:
    """`curve.csv` and `curve.png`: loss and validation PSNR over the steps."""
    with open(out / "curve.csv.part", "w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    (out / "curve.csv.part").replace(out / "curve.csv")
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10, 4), layout="constrained")
    left, right = figure.subplots(1, 2)
    steps = [row["step"] for row in rows]
    left.plot(steps, [row["loss"] for row in rows])
    left.set(xlabel="step", ylabel="L1 loss", yscale="log")
    for name in (key for key in rows[0] if key.startswith("psnr_")):
        right.plot(steps, [row[name] for row in rows], label=name.removeprefix("psnr_"))
    right.set(xlabel="step", ylabel="validation PSNR, dB")
    right.legend()
    figure.savefig(out / "curve.png", dpi=100)
