import pytest
import torch
from torch import nn
from vocbench.pipeline.task_loss import DetectorLoss, relative, view, weighted


def test_differences_are_in_parts_of_the_wanted_maps_mean():
    maps = [torch.tensor([3.0, 5.0]), torch.tensor([0.0])]
    wanted = [torch.tensor([2.0, -4.0]), torch.tensor([1.0])]
    assert relative(maps, wanted).item() == pytest.approx((5 / 3 + 1) / 2)  # mean |difference| 5, mean |wanted| 3; and 1 of 1
    assert relative(wanted, wanted) == 0
    assert torch.isfinite(relative([torch.zeros(3)], [torch.zeros(3)]))  # a map that is off everywhere


def test_a_mean_by_weights_is_zero_without_any():
    assert weighted(torch.tensor([1.0, 4.0]), torch.tensor([2.0, 1.0])) == 2
    assert weighted(torch.tensor([1.0, 4.0]), torch.zeros(2)) == 0


def test_several_detectors_losses_add_up():
    class Constant(nn.Module):
        def __init__(self, value):
            super().__init__()
            self.value = value

        def forward(self, restored, clean, step):
            return (restored - clean).sum() * self.value + step

    loss = DetectorLoss(Constant(2.0), Constant(3.0))
    assert loss(torch.ones(1, 3, 2, 2), torch.zeros(1, 3, 2, 2), step=1) == 12 * 5 + 2


def test_other_detectors_and_missing_files_are_named(tmp_path):
    with pytest.raises(ValueError, match=r"detector 'ssd300': expected mobilenet-ssd or a \.pt file of YOLOv8"):
        view("ssd300")
    with pytest.raises(FileNotFoundError, match=r"none\.pt: no such model file"):
        view(str(tmp_path / "none.pt"))
