"""Tiling: a photo is cut into overlapping tiles, which are restored in batches and blended together.

OWAN's attention averages over its whole input and its receptive field is wider than its training patch, so the tiling
is part of the function. Each weights file has its tiling in its metadata. Batches of one tile size also bound the memory
for any photo and give every engine one compiled shape.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import torch
from torch import Tensor, nn
from torch.nn.functional import pad
from vocbench.restorer.cutting import Tiling

BATCH = 16  # tiles at a time


def starts(length: int, size: int, stride: int) -> list[int]:
    """Return where tiles begin along a side of `length` >= `size` pixels; the last one is flush with the border."""
    return [*range(0, length - size, stride), length - size]


def blending(size: int, stride: int) -> Tensor:
    """Return weights (size, size) that rise over the overlap from each border and never reach zero."""
    ramp = torch.arange(1, size + 1, dtype=torch.float32)
    ramp = torch.minimum(ramp, ramp.flip(0)).clamp(max=max(size - stride, 1))  # (size,)
    return torch.outer(ramp, ramp)


def reflect_to(image: Tensor, height: int, width: int) -> Tensor:
    """Grow (3, H, W) to at least height x width by reflection at the right and bottom, repeatedly where needed."""
    while image.shape[1] < height or image.shape[2] < width:
        down = min(max(height - image.shape[1], 0), max(image.shape[1] - 1, 0))
        right = min(max(width - image.shape[2], 0), max(image.shape[2] - 1, 0))
        if down or right:
            image = pad(image[None], (0, right, 0, down), mode="reflect")[0]
        else:  # a side of one pixel has nothing to reflect
            image = pad(image[None], (0, width - image.shape[2], 0, height - image.shape[1]), mode="replicate")[0]
    return image


class _Canvas:
    """One photo being put together from its restored tiles."""

    def __init__(self, image: Tensor, tiling: Tiling, home: torch.device):
        self.home = home  # the device of the restored photo
        assert tiling.size and tiling.stride
        self.height, self.width = image.shape[1:]
        self.image = reflect_to(image, tiling.size, tiling.size)
        self.size = tiling.size
        rows = starts(self.image.shape[1], tiling.size, tiling.stride)
        columns = starts(self.image.shape[2], tiling.size, tiling.stride)
        self.corners = [(top, left) for top in rows for left in columns]
        self.missing = len(self.corners)
        self.total = torch.zeros_like(self.image)
        self.weight = self.image.new_zeros(self.image.shape[1:])

    def cut(self, corner: tuple[int, int]) -> Tensor:
        top, left = corner
        return self.image[:, top : top + self.size, left : left + self.size]

    def add(self, corner: tuple[int, int], tile: Tensor, weight: Tensor) -> None:
        top, left = corner
        self.total[:, top : top + self.size, left : left + self.size] += tile * weight
        self.weight[top : top + self.size, left : left + self.size] += weight
        self.missing -= 1

    def finish(self) -> Tensor:
        return (self.total / self.weight).clamp_(0, 1)[:, : self.height, : self.width].to(self.home)


class Tiled(nn.Module):
    """A network applied by a tiling: (B, 3, H, W) in [0, 1] to the same shape, clipped to [0, 1].

    `network` maps (B, 3, size, size) to the same shape, B at most `batch`. The result of a tile must not depend on the rest
    of its batch: a network whose `any_number` is true, as for the engines on a CPU, guarantees that and gets no padding tiles;
    any other gets exactly `batch` tiles, the last batch filled up with copies of its first tile. If memory runs out, `batch` is
    halved permanently and the tiles are tried again.
    """

    def __init__(self, network: Callable[[Tensor], Tensor], tiling: Tiling, batch: int = BATCH):
        super().__init__()
        if batch < 1:
            raise ValueError(f"the batch of tiles must be at least 1, got {batch}")
        self.network, self.tiling, self.batch = network, tiling, batch

    def forward(self, images: Tensor) -> Tensor:
        """Map (B, 3, H, W) to the same shape; with gradients where the images or the network's parameters ask for them."""
        asking = any(tensor.requires_grad for tensor in (images, *self.parameters()))
        if asking and torch.is_grad_enabled():
            return torch.stack(list(self._stream(list(images))))
        return torch.stack(self.restore_many(list(images)))

    def restore_many(self, images: Sequence[Tensor]) -> list[Tensor]:
        """Restore photos (3, H, W) of any sizes, which they keep; their tiles share the batches."""
        return list(self.restore_stream(images))

    @torch.inference_mode()
    def restore_stream(self, images: Sequence[Tensor]) -> Iterator[Tensor]:
        """Restore as `restore_many`, one photo after the other, in memory bounded by one batch and the photos under way."""
        yield from self._stream(images)

    def _stream(self, images: Sequence[Tensor]) -> Iterator[Tensor]:
        if self.tiling.size is None:
            yield from (self.network(image[None])[0].clamp(0, 1).clone() for image in images)
            return
        assert self.tiling.stride
        weight = blending(self.tiling.size, self.tiling.stride)
        waiting: list[_Canvas] = []
        queue: list[tuple[_Canvas, tuple[int, int]]] = []
        for image in images:
            canvas = _Canvas(self._placed(image), self.tiling, image.device)
            waiting.append(canvas)
            for corner in canvas.corners:
                queue.append((canvas, corner))
                if len(queue) == self.batch:
                    self._run(queue, weight)
                    queue = []
            while waiting and not waiting[0].missing:
                yield waiting.pop(0).finish()
        if queue:
            self._run(queue, weight)
        yield from (canvas.finish() for canvas in waiting)

    def _placed(self, image: Tensor) -> Tensor:
        """Return a photo on the network's device if that is a GPU: it is cut and reassembled there, copied once each way."""
        place = next((one.device for one in self.parameters()), image.device)
        if place.type != "cuda" or place == image.device:
            return image
        if image.device.type == "cpu" and not image.requires_grad:
            return image.pin_memory().to(place, non_blocking=True)  # in parallel with the GPU's work on earlier photos
        return image.to(place)

    def _run(self, queue: list[tuple[_Canvas, tuple[int, int]]], weight: Tensor) -> None:
        tiles = self._filled(torch.stack([canvas.cut(corner) for canvas, corner in queue]))  # (batch, 3, size, size)
        restored = self._within_memory(tiles)  # (batch, 3, size, size)
        weight = weight.to(restored)
        for (canvas, corner), tile in zip(queue, restored, strict=False):
            canvas.add(corner, tile.to(canvas.total.dtype), weight)

    def _within_memory(self, tiles: Tensor) -> Tensor:
        """Run the network on the tiles; if memory runs out, halve the batch from then on."""
        try:
            if len(tiles) <= self.batch:
                return self.network(tiles)
        except (MemoryError, RuntimeError) as error:
            if not out_of_memory(error) or self.batch == 1:
                raise
            self.batch = (self.batch + 1) // 2
            if tiles.is_cuda:
                torch.cuda.empty_cache()
        return torch.cat([self._within_memory(self._filled(part))[: len(part)] for part in tiles.split(self.batch)])

    def _filled(self, tiles: Tensor) -> Tensor:
        """Return tiles filled up to a batch with copies of the first, for a network that needs it."""
        missing = 0 if getattr(self.network, "any_number", False) else max(self.batch - len(tiles), 0)
        return torch.cat([tiles, tiles[:1].expand(missing, -1, -1, -1)]) if missing else tiles


def out_of_memory(error: BaseException) -> bool:
    """Return whether memory ran out, of a GPU or of PyTorch's allocator on the CPU."""
    return isinstance(error, (MemoryError, torch.OutOfMemoryError)) or "can't allocate memory" in str(error)
