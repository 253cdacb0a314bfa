"""Training of restorers: the recipe of the OWAN paper (section 4.1), extended for long runs.

L1 loss, Adam with betas 0.9 and 0.99, a learning rate of 1e-3 falling to zero by a cosine, 63x63 patches in batches of 32. In
addition: mixtures of recipes and patch sizes, a budget in minutes or steps, an exponential moving average of the weights,
gradient clipping, bf16 on CUDA, several processes, and checkpoints from which a run continues the same curve.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel
from vocbench.restorer.quality import psnr, ssim
from vocbench.restorer.training.batches import Patches
from vocbench.restorer.training.checkpoint import checkpoint_of, read_checkpoint, write_checkpoint
from vocbench.restorer.training.curve import write_curve
from vocbench.restorer.training.photos import broken_photos, held_by_place, list_photos, refuse_broken
from vocbench.restorer.training.process import Process
from vocbench.restorer.training.settings import Training, changed, finished, plain, schedule

ENOUGH = 40  # dB, 2.5 of 255 levels: more does not count, or a network that changes nothing would win by clean patches
CHECKED = 16  # steps between checks of the losses; a check waits for the device


class Average:
    """Exponential moving average of a network's weights, with a warm-up so that the first steps are soon forgotten."""

    def __init__(self, network: nn.Module, decay: float):
        self.decay, self.steps = decay, 0
        live = network.state_dict()  # the network's own tensors, which training changes in place
        self.state = {name: tensor.detach().clone() for name, tensor in live.items()}
        self._pairs = [(self.state[name], live[name]) for name in live]

    def load(self, state: Mapping[str, Tensor], steps: int) -> None:
        """Continue from an average saved after `steps` updates."""
        for name, tensor in self.state.items():
            tensor.copy_(state[name])
        self.steps = steps

    @torch.no_grad()
    def update(self) -> None:
        """Move the average towards the network's weights as they are now."""
        self.steps += 1
        decay = min(self.decay, (1 + self.steps) / (10 + self.steps))
        floating = [pair for pair in self._pairs if pair[0].is_floating_point()]
        torch._foreach_lerp_([kept for kept, _ in floating], [live for _, live in floating], 1 - decay)
        for kept, live in self._pairs:
            if not kept.is_floating_point():
                kept.copy_(live)


class Losses:
    """The losses since the last validation, kept on their device, as reading one waits for the device."""

    def __init__(self, device: torch.device):
        self.sum, self.count = torch.zeros((), dtype=torch.float64, device=device), 0
        self.odd = torch.full((), math.inf, device=device)  # the first step whose loss is not finite

    def add(self, loss: Tensor, total: Tensor, step: int) -> None:
        """Record the L1 loss and the whole loss of a step."""
        self.sum, self.count = self.sum + loss, self.count + 1
        self.odd = torch.minimum(self.odd, torch.where(total.isfinite(), math.inf, float(step)))

    def first_odd(self) -> int | None:
        """Return the first step whose loss is not finite, if there is one."""
        step = self.odd.item()
        return None if math.isinf(step) else int(step)

    def mean(self) -> float:
        """Return the mean L1 loss since the last call."""
        value = self.sum.item() / max(self.count, 1)
        self.sum, self.count = torch.zeros_like(self.sum), 0
        return value


Loss = Callable[[Tensor, Tensor, int], Tensor]  # of restored and clean patches (B, 3, S, S) at a step
Score = Callable[[nn.Module, Sequence[Path]], float]  # of a network on the held-out photos; more is better


def _groups(network: nn.Module, settings: Training) -> list[dict[str, Any]]:
    """Return Adam's groups of parameters: fresh gates of a network at a part of the resolution learn faster than the rest."""
    named = [(name, parameter) for name, parameter in network.named_parameters() if parameter.requires_grad]
    gates = [parameter for name, parameter in named if name.startswith("gates.")]
    others = [parameter for name, parameter in named if not name.startswith("gates.")]
    groups = [{"params": others, "factor": 1.0}, {"params": gates, "factor": settings.gates_factor}]
    return [group for group in groups if group["params"]]


def _freeze(network: nn.Module, only: str) -> None:
    """Freeze all parameters except those whose names begin with `only`; ValueError if there are none."""
    names = [name for name, _ in network.named_parameters()]
    if not any(name.startswith(only) for name in names):
        parts = sorted({name.split(".")[0] for name in names})
        raise ValueError(f"no parameter's name begins with {only!r}; they begin with {', '.join(parts)}")
    for name, parameter in network.named_parameters():
        parameter.requires_grad_(name.startswith(only))


class Trainer:
    """One run: `network` trained by `settings`, its files in `out`.

    `forward` replaces the network's own forward where a faster equal one exists; `task` is a loss beside L1, weighted by
    `settings.task_weight`; `score` chooses the best weights in place of PSNR.
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
        score: Score | None = None,
    ):
        """Raises FileNotFoundError and ValueError for folders without photos and for photos that cannot be decoded."""
        self.settings, self.out, self.save, self.task, self.score = settings, Path(out), save, task, score
        self.process = process or Process()
        self._keep_apart()
        self.patches = Patches(settings, self.process)
        self._look_at_photos()
        device = self.process.device
        if settings.only:
            _freeze(network, settings.only)
        self.network = network.to(device).to(memory_format=torch.channels_last).train()  # type: ignore[call-overload]
        self.plain = (forward or network).to(device)
        self.runner = DistributedDataParallel(self.plain) if self.process.count > 1 else self.plain
        self.average = Average(network, settings.ema)
        self.optimizer = torch.optim.Adam(_groups(network, settings), settings.learning_rate, settings.betas, foreach=True)
        self.losses = Losses(device)
        self.step, self.elapsed, self.best = 0, 0.0, -math.inf
        self.rows: list[dict[str, float]] = []

    def _keep_apart(self) -> None:
        """Refuse to write into a folder of photos, where the curve's picture would count as a photo."""
        inside = next((one for one in self.settings.clean if self.out.resolve().is_relative_to(Path(one).resolve())), None)
        if inside is not None:
            raise ValueError(f"{self.out}: lies inside the clean photos' folder {inside}; choose another `out`")

    def _look_at_photos(self) -> None:
        """Decode every photo, each process its share, so that an unreadable one does not end a run after hours."""
        photos = list_photos(self.settings.clean)
        own = broken_photos(photos[self.process.rank :: self.process.count])
        refuse_broken(self.process.gathered(own), len(photos))

    def resume(self) -> None:
        """Resume from the checkpoint in `out`.

        The budget, the learning rate, the clipping and the folders' paths may have changed. Raises FileNotFoundError without
        a checkpoint, and ValueError for a damaged one and for one of other settings.
        """
        path, kept = checkpoint_of(self.out), read_checkpoint(self.out, self.process.device)
        odd = changed(self.settings, kept["settings"])
        if odd:
            raise ValueError(f"{path}: made with other settings ({', '.join(odd)}); give the same ones or another `out`")
        names = kept.get("held_names") or held_by_place(self.settings.clean, self.settings.held)
        self.patches = Patches(self.settings, self.process, names)
        fresh = dict(self.network.named_buffers())  # a checkpoint of an earlier version lacks some, such as OWAN's ceilings
        try:
            self.network.load_state_dict(fresh | kept["network"])
            self.average.load(fresh | kept["average"], kept["average_steps"])
            for group in kept["optimizer"]["param_groups"]:
                group.setdefault("factor", 1.0)  # of a checkpoint from before there were gates
            self.optimizer.load_state_dict(kept["optimizer"])
            self.step, self.elapsed, self.best, self.rows = kept["step"], kept["elapsed"], kept["best"], kept["rows"]
        except (KeyError, RuntimeError, ValueError):
            raise ValueError(f"{path}: damaged, or of another version; start again with another `out`") from None
        for group in self.optimizer.param_groups:
            group["foreach"] = True
        if self.rows and ("task_score" in self.rows[-1]) != (self.score is not None):
            self.best = -math.inf  # another measure

    def run(self) -> Iterator[dict[str, float]]:
        """Train to the end of the budget, giving a row of the curve at every validation.

        Raises FloatingPointError where losses or weights are no longer finite; the last checkpoint is from before.
        """
        validation = self.patches.validation()
        if self.step == 0:
            yield self._record(validation, float("nan"))
        begun = time.monotonic() - self.elapsed
        while not finished(self.settings, self.step, self.elapsed):
            self._train_step()
            self.elapsed = time.monotonic() - begun
            if self.settings.minutes:
                self.elapsed = self.process.shared(self.elapsed)
            due = self.step % self.settings.validate == 0 or finished(self.settings, self.step, self.elapsed)
            if due or self.step % CHECKED == 0:
                self._check_losses()
            if due:
                yield self._record(validation, self.losses.mean())
                begun = time.monotonic() - self.elapsed  # validation does not use up the budget

    def _train_step(self) -> None:
        degraded, clean, photos = self.patches.next(self.step)
        for group in self.optimizer.param_groups:
            group["lr"] = group["factor"] * schedule(self.settings, self.step, self.elapsed)
        self.losses.add(*self._gradient(degraded, clean, photos), self.step)
        self._alternate()
        if self.settings.clip:
            nn.utils.clip_grad_norm_(self.network.parameters(), self.settings.clip)
        self.optimizer.step()
        self.average.update()
        self.step += 1

    def _check_losses(self) -> None:
        step = self.losses.first_odd()
        if step is not None:
            self._stop(f"the loss was not finite at step {step}")

    def _stop(self, reason: str) -> None:
        raise FloatingPointError(f"{reason}; lower `learning_rate` or `clip` and resume from {checkpoint_of(self.out)}")

    def _alternate(self) -> None:
        """Train input-independent attention and kernels alternately, each on its own batch, as first-order DARTS does."""
        attention = [p for name, p in self.network.named_parameters() if name.endswith("attention.logits")]
        if not attention:
            return
        chosen = {id(parameter) for parameter in attention}
        for parameter in self.network.parameters():
            if (id(parameter) in chosen) != bool(self.step % 2):
                parameter.grad = None

    def rates(self, steps: int = 3) -> dict[str, float]:
        """Return patches per second of this process: data alone, the step alone, and both one after the other.

        Changes nothing. Of several processes all must call it, as their steps wait for each other.
        """
        size, count, device = self.settings.patch[0], self.settings.batch, self.process.device
        data = _seconds(lambda i: self.patches.source.batch(size, i, range(count), device), steps, device)
        degraded, clean, _ = self.patches.source.batch(size, 0, range(count), device)
        step = _seconds(lambda i: self._gradient(degraded, clean), steps, device)
        self.optimizer.zero_grad(set_to_none=True)
        return {"data": count / data, "step": count / step, "together": count / (data + step)}

    def _gradient(self, degraded: Tensor, clean: Tensor, photos: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Return a batch's L1 loss and whole loss, its gradient left in the parameters; `photos` (B,) bool is on the CPU."""
        self.optimizer.zero_grad(set_to_none=True)
        with _autocast(self.process.device):
            restored = self.runner(degraded.contiguous(memory_format=torch.channels_last))
        restored = restored.float()
        loss = total = (restored - clean).abs().mean()
        if self.task is not None and self.settings.task_weight:
            if photos is not None and not photos.all():  # a drawn picture holds nothing to detect
                chosen = photos.nonzero().flatten().to(clean.device)
                restored, clean = restored[chosen], clean[chosen]
            if len(clean):
                total = loss + self.settings.task_weight * self.task(restored, clean, self.step)
        total.backward()
        return loss.detach(), total.detach()

    @torch.no_grad()
    def evaluate(
        self, state: Mapping[str, Tensor], validation: dict[str, tuple[Tensor, Tensor]], score: Score | None = None
    ) -> dict[str, float]:
        """Return mean PSNR and SSIM of the weights `state` on each validation set, and their score on the held-out photos."""
        kept = {name: tensor.clone() for name, tensor in self.network.state_dict().items()}
        self.network.load_state_dict(state)
        self.network.eval()
        row = {}
        for name, (degraded, clean) in validation.items():
            restored = torch.cat([self.plain(part) for part in degraded.split(8)]).float().clamp(0, 1)
            # A perfect restoration would be infinite; 60 dB is beyond 8 bits and keeps the mean of clean patches finite.
            row[f"psnr_{name}"] = psnr(restored, clean).clamp(max=60).mean().item()
            row[f"ssim_{name}"] = ssim(restored, clean).mean().item()
        if score is not None:
            row["task_score"] = score(self.plain, self.patches.held)
        self.network.load_state_dict(kept)
        self.network.train()
        return row

    def _record(self, validation: dict[str, tuple[Tensor, Tensor]], loss: float) -> dict[str, float]:
        norms = torch._foreach_norm([tensor for tensor in self.network.state_dict().values() if tensor.is_floating_point()])
        if not torch.stack(norms).isfinite().all():
            self._stop(f"weights were not finite after step {self.step}")
        raw = self.evaluate(self.network.state_dict(), validation)
        averaged = self.evaluate(self.average.state, validation, self.score if self.process.rank == 0 else None)
        shares = dict(self.settings.mixture)
        row = {"step": self.step, "minutes": self.elapsed / 60, "loss": loss}
        row |= {"learning_rate": schedule(self.settings, self.step, self.elapsed)}
        row |= {f"raw_{name}": value for name, value in raw.items()} | averaged
        quality = sum(share * min(averaged[f"psnr_{name}"], ENOUGH) for name, share in shares.items())
        row["score"] = averaged.get("task_score", quality)
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
            "settings": plain(self.settings),
            "network": self.network.state_dict(),
            "average": self.average.state,
            "average_steps": self.average.steps,
            "optimizer": self.optimizer.state_dict(),
            "step": self.step,
            "elapsed": self.elapsed,
            "best": self.best,
            "rows": self.rows,
            "held_names": self.patches.photos.names,
        }
        write_checkpoint(self.out, kept)


def _seconds(work: Callable[[int], object], times: int, device: torch.device) -> float:
    """Return the mean wall time of work(i), after one call to warm up; waits for CUDA."""

    def wait() -> None:
        if device.type == "cuda":
            torch.cuda.synchronize(device)

    work(0)
    wait()
    begun = time.perf_counter()
    for i in range(times):
        work(i + 1)
    wait()
    return (time.perf_counter() - begun) / times


def _autocast(device: torch.device):
    return torch.autocast("cuda", torch.bfloat16) if device.type == "cuda" else nullcontext()
