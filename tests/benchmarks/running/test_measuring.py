"""Rows that wait for their quality: what is measured, against what, and where it goes."""

import math
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from torch import nn
from vocbench.benchmarks.running.clock import Clock
from vocbench.benchmarks.running.measuring import Gathered
from vocbench.benchmarks.running.prepared import MOST_DECIBELS, Prepared
from vocbench.benchmarks.storage.row import Row


class Half(nn.Module):
    """A detector that sees photos at half of their sides."""

    def input_size(self, height, width):
        return height // 2, width // 2


def row(variant):
    return Row(unit=0, image="a", draw=0, variant=variant, detector="d", boxes=[], scores=[], labels=[])


def item(levels=0):
    """A photo of 20 x 30, and the same brighter by so many of 255 levels."""
    clean = torch.rand(3, 20, 30, generator=torch.Generator().manual_seed(0)) / 2
    return Prepared("a", 0, clean, clean + levels / 255, {}, 0.0)


def finished(gathered):
    clock = Clock()
    with ThreadPoolExecutor(1) as pool:
        rows = gathered.measured_by(pool).finish(clock)
    return rows, clock


def test_each_row_gets_the_quality_of_its_own_image():
    gathered, one = Gathered(), item(levels=10)
    gathered.add([row("clean")])
    gathered.add_measured([row("distorted")], [one], [one.degraded], Half())
    gathered.add_measured([row("twice")], [one], [one.clean + 20 / 255], Half())
    gathered.add_measured([row("perfect")], [one], [one.clean.clone()], Half())
    rows, clock = finished(gathered)
    assert [one.variant for one in rows] == ["clean", "distorted", "twice", "perfect"]
    assert rows[0].psnr is rows[0].ssim is None  # of which nothing was to be measured
    decibels = [20 * math.log10(25.5), 20 * math.log10(12.75), MOST_DECIBELS]
    assert [one.psnr for one in rows[1:]] == pytest.approx(decibels, abs=1e-4)
    assert rows[3].ssim == pytest.approx(1)
    assert clock.worked["workers_measure"] > 0


def test_an_image_that_two_detectors_share_is_measured_once():
    gathered, one = Gathered(), item(levels=10)
    for _ in range(2):
        gathered.add_measured([row("distorted")], [one], [one.degraded], Half())
    assert [len(photo.images) for photo in gathered.photos] == [1]
    first, second = finished(gathered)[0]
    assert first.psnr == second.psnr == pytest.approx(20 * math.log10(25.5), abs=1e-4)


def test_an_image_at_the_detectors_size_is_compared_with_the_clean_photo_at_that_size():
    gathered, one = Gathered(), item()
    small = torch.nn.functional.interpolate(one.clean[None], (10, 15), mode="bilinear", antialias=True)[0]
    gathered.add_measured([row("owan")], [one], [small], Half())
    gathered.add_measured([row("native")], [one], [one.clean.clone()], Half())
    assert [one.psnr for one in finished(gathered)[0]] == [MOST_DECIBELS, MOST_DECIBELS]


def test_rows_of_which_nothing_is_measured_wait_for_nobody():
    gathered = Gathered()
    gathered.add([row("clean")])
    with ThreadPoolExecutor(1) as pool:
        awaited = gathered.measured_by(pool)
    assert awaited.is_measured
    assert awaited.finish(Clock()) == [row("clean")]
