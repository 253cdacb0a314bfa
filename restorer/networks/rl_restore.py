"""RL-Restore: an agent that picks restoring tools one after the other (Yu et al., CVPR 2018, "Crafting a Toolchain").

Twelve small networks (1-4 against blur, 5-8 against noise, 9-12 against JPEG, weak to strong) and a recurrent agent that looks
at a 63x63 patch and chooses one of them, or to stop, at most three times. Outputs of tools are never clipped in between.

A photo is treated as the authors treat it: cut into 63x63 patches without overlap from the top left, every patch votes, the
tool with most votes (the lowest of equals) is applied to the whole photo. Photos smaller than a patch are extended by
reflection for the vote.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn.functional import one_hot, pad
from vocbench.restorer.contract import Restored
from vocbench.restorer.networks.tensorflow_checkpoint import read_checkpoint
from vocbench.restorer.tiling import reflect_to
from vocbench.restorer.weight_files import WeightsFile, check_state, open_weights, save_weights

TOOLS = 12
STOP = TOOLS  # the thirteenth action
STEPS = 3
PATCH = 63  # pixels
UNITS = 50  # of the agent's memory
EXPECTED = "give the folder that holds models (the agent) and toolbox (tool01 to tool12) of github.com/yuke93/RL-Restore"
SMALL = (0, 1, 4, 5, 8, 9)  # which of the tools are small networks


class SmallTool(nn.Module):
    """Three convolutions on top of the image: tools 1, 2, 5, 6, 9 and 10."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 32, 9, padding=4)
        self.conv2 = nn.Conv2d(32, 16, 5, padding=2)
        self.conv3 = nn.Conv2d(16, 3, 5, padding=2)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.conv3(torch.relu(self.conv2(torch.relu(self.conv1(x)))))


class LargeTool(nn.Module):
    """Two pre-activation residual blocks between 1x1 convolutions: tools 3, 4, 7, 8, 11 and 12."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 64, 5, padding=2)
        self.conv1_2 = nn.Conv2d(64, 32, 1)
        self.conv2 = nn.Conv2d(32, 32, 3, padding=1)
        self.conv2a = nn.Conv2d(32, 32, 3, padding=1)
        self.conv2c = nn.Conv2d(32, 32, 3, padding=1)
        self.conv2d = nn.Conv2d(32, 32, 3, padding=1)
        self.conv2_2 = nn.Conv2d(32, 64, 1)
        self.conv3 = nn.Conv2d(64, 3, 5, padding=2)

    def forward(self, x: Tensor) -> Tensor:
        u = self.conv1_2(torch.relu(self.conv1(x)))
        u = u + self.conv2a(torch.relu(self.conv2(torch.relu(u))))
        u = u + self.conv2d(torch.relu(self.conv2c(torch.relu(u))))
        return x + self.conv3(torch.relu(self.conv2_2(u)))


def same_pad(x: Tensor, kernel: int, stride: int) -> Tensor:
    """Pad as TensorFlow's 'SAME': the odd pixel goes to the bottom and right."""
    sides = []
    for size in (x.shape[3], x.shape[2]):
        total = max((-(-size // stride) - 1) * stride + kernel - size, 0)
        sides += [total // 2, total - total // 2]
    return pad(x, sides)


class Agent(nn.Module):
    """Values of the 13 actions for patches (P, 3, 63, 63), given the last action and the memory."""

    def __init__(self) -> None:
        super().__init__()
        sizes = ((3, 32, 9), (32, 24, 5), (24, 24, 5), (24, 24, 5))
        self.convolutions = nn.ModuleList(nn.Conv2d(inputs, outputs, kernel, 2) for inputs, outputs, kernel in sizes)
        self.look = nn.Linear(384, 32)
        self.memory = nn.LSTMCell(32 + TOOLS, UNITS)
        self.value = nn.Linear(UNITS, TOOLS + 1)

    def forward(self, patches: Tensor, last: Tensor, state: tuple[Tensor, Tensor]) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        """Return values (P, 13) and the new state; `last` (P, 12) is one-hot, all zeros for none and for stop."""
        x = patches
        for convolution in self.convolutions:
            x = torch.relu(convolution(same_pad(x, convolution.kernel_size[0], 2)))  # type: ignore[index, arg-type]
        x = torch.relu(self.look(x.permute(0, 2, 3, 1).flatten(1)))  # (P, 32), rows before channels as in TensorFlow
        hidden, cell = self.memory(torch.cat([x, last], 1), state)
        return self.value(hidden), (hidden, cell)

    def begin(self, count: int, like: Tensor) -> tuple[Tensor, Tensor]:
        return like.new_zeros(count, UNITS), like.new_zeros(count, UNITS)


def _last_action(actions: Tensor, like: Tensor) -> Tensor:
    """Return the last actions, one-hot (P, 12); stop has no slot."""
    return one_hot(actions, TOOLS + 1)[:, :TOOLS].to(like)


class RLRestore(nn.Module):
    """The toolbox and its agent: photos (B, 3, H, W) RGB in [0, 1] to the same shape, clipped to [0, 1].

    The note on a photo is its tools (numbers 1 to 12, in order; fewer than three where the agent stopped), or `none`.
    """

    def __init__(self) -> None:
        super().__init__()
        self.tools = nn.ModuleList(SmallTool() if i in SMALL else LargeTool() for i in range(TOOLS))
        self.agent = Agent()

    def forward(self, images: Tensor) -> Tensor:
        return torch.stack([restored.image for restored in self.restore_many(list(images))])

    @torch.inference_mode()
    def restore_many(self, images: Sequence[Tensor]) -> list[Restored]:
        """Return photos (3, H, W) of any sizes, each restored by the vote of its own patches."""
        device = self.agent.value.weight.device
        results = []
        for image in images:
            restored, actions = self._restore_photo(image.to(device))
            results.append(Restored(restored.clamp(0, 1).to(image.device), " ".join(map(str, actions)) or "none"))
        return results

    def _restore_photo(self, image: Tensor) -> tuple[Tensor, list[int]]:
        x, chosen = image[None], []
        patches = vote_patches(x)
        state = self.agent.begin(len(patches), x)
        last = x.new_zeros(len(patches), TOOLS)
        for _ in range(STEPS):
            values, state = self.agent(vote_patches(x), last, state)
            action = int(torch.bincount(values.argmax(1), minlength=TOOLS + 1).argmax())  # the lowest of equals
            if action == STOP:
                break
            x = self.tools[action](x)
            chosen.append(action + 1)
            last = _last_action(torch.full((len(patches),), action, device=x.device), x)
        return x[0], chosen

    @torch.inference_mode()
    def restore_patches(self, patches: Tensor) -> tuple[Tensor, Tensor, list[Tensor]]:
        """Restore patches (P, 3, 63, 63), each by its own tools, as in the paper's tables.

        Gives the restored patches, not clipped, the actions (P, 3) from 0 with 12 for stop, and every step's values (P, 13).
        The authors feed patches with height and width swapped; transpose them to repeat their figures.
        """
        x, count = patches.clone(), len(patches)
        state, last = self.agent.begin(count, x), x.new_zeros(count, TOOLS)
        stopped = torch.zeros(count, dtype=torch.bool, device=x.device)
        taken, values = [], []
        for _ in range(STEPS):
            value, state = self.agent(x, last, state)
            values.append(value)
            action = value.argmax(1).masked_fill(stopped, STOP)
            stopped = action == STOP
            for tool in action[~stopped].unique().tolist():
                x[action == tool] = self.tools[tool](x[action == tool])
            last = _last_action(action, x)
            taken.append(action)
        return x, torch.stack(taken, 1), values


def vote_patches(image: Tensor) -> Tensor:
    """Return the patches (P, 3, 63, 63) that vote for an image (1, 3, H, W): from the top left, without overlap."""
    x = reflect_to(image[0], PATCH, PATCH)
    rows, columns = x.shape[1] // PATCH, x.shape[2] // PATCH
    cut = x[:, : rows * PATCH, : columns * PATCH].reshape(3, rows, PATCH, columns, PATCH)
    return cut.permute(1, 3, 0, 2, 4).reshape(-1, 3, PATCH, PATCH)


def _convolution(arrays: dict, name: str, weights: str, biases: str) -> dict[str, Tensor]:
    """Return TensorFlow's (kh, kw, in, out) weights as PyTorch's."""
    return {
        f"{name}.weight": torch.from_numpy(arrays[weights]).permute(3, 2, 0, 1).contiguous(),
        f"{name}.bias": torch.from_numpy(arrays[biases]),
    }


def _memory(kernel: Tensor, bias: Tensor) -> dict[str, Tensor]:
    """Return TensorFlow's BasicLSTMCell (i, j, f, o; forget bias 1 added when run) as PyTorch's LSTMCell (i, f, g, o)."""
    i, j, f, o = kernel.t().split(UNITS)
    bi, bj, bf, bo = bias.split(UNITS)
    weight = torch.cat([i, f, j, o])  # (200, 94)
    inputs = 32 + TOOLS
    return {
        "agent.memory.weight_ih": weight[:, :inputs].contiguous(),
        "agent.memory.weight_hh": weight[:, inputs:].contiguous(),
        "agent.memory.bias_ih": torch.cat([bi, bf + 1.0, bj, bo]),
        "agent.memory.bias_hh": torch.zeros(4 * UNITS),
    }


def convert_checkpoints(folder: str | Path) -> dict[str, Tensor]:
    """Return the authors' `models` and `toolbox` folders as one state dict of `RLRestore`; ValueError where they are others."""
    try:
        state = _converted(Path(folder))
    except (KeyError, RuntimeError) as error:  # a variable that is not there, or of another shape
        raise ValueError(
            f"{folder}: models and toolbox do not hold RL-Restore's variables ({' '.join(str(error).split())}); {EXPECTED}"
        ) from None
    check_state(folder, "RL-Restore", RLRestore().state_dict(), state)
    return state


def _converted(folder: Path) -> dict[str, Tensor]:
    state: dict[str, Tensor] = {}
    agent = read_checkpoint(_prefix(folder / "models", "*"))
    for i in range(4):
        name = f"prediction/l{i + 1}"
        state |= _convolution(agent, f"agent.convolutions.{i}", f"{name}/w", f"{name}/biases")
    for mine, theirs in (("look", "l7"), ("value", "q")):
        state[f"agent.{mine}.weight"] = torch.from_numpy(agent[f"prediction/{theirs}/Matrix"]).t().contiguous()
        state[f"agent.{mine}.bias"] = torch.from_numpy(agent[f"prediction/{theirs}/bias"])
    cell = "prediction/prediction_rnn/basic_lstm_cell"
    state |= _memory(torch.from_numpy(agent[f"{cell}/kernel"]), torch.from_numpy(agent[f"{cell}/bias"]))
    for i in range(TOOLS):
        tool = read_checkpoint(_prefix(folder / "toolbox", f"*{i + 1:02d}*"))
        for name in sorted({key.partition("/")[0] for key in tool}):
            state |= _convolution(tool, f"tools.{i}.{name}", f"{name}/weights", f"{name}/biases")
    return state


def _prefix(folder: Path, pattern: str) -> Path:
    """Return the one checkpoint of a folder, or of its subfolder that fits, whose name fits."""
    checkpoints = sorted({*folder.glob(f"{pattern}.index"), *folder.glob(f"{pattern}/*.index")})
    if not checkpoints:
        raise FileNotFoundError(f"{folder}: no checkpoint {pattern}.index; {EXPECTED}")
    return checkpoints[0].with_suffix("")


def import_checkpoints(folder: str | Path, out: str | Path) -> None:
    """Write the authors' TensorFlow checkpoints as one safetensors file."""
    save_weights(out, convert_checkpoints(folder), "rl-restore", "whole")


def load_rl_restore(source: str | Path | WeightsFile) -> RLRestore:
    """Return the network of a file of `import_checkpoints`, in evaluation mode; ValueError for one of another network."""
    file, network = open_weights(source), RLRestore()
    check_state(file.path, "RL-Restore", network.state_dict(), file.state)
    network.load_state_dict(file.state)
    return network.eval()
