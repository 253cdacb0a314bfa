"""Specifications of models in the forms that people write."""

import pytest
from vocbench.pipeline.specs import Options, Spec, choose_device, parse_spec

NAMES = ("owan", "spandrel", "ultralytics")


@pytest.mark.parametrize(
    ("text", "spec"),
    [
        ("owan", Spec("owan", "owan")),
        ("mine=owan", Spec("mine", "owan")),
        ("owan:a/b.pth", Spec("owan", "owan", "a/b.pth")),
        ("x=owan:C:/w.pth", Spec("x", "owan", "C:/w.pth")),
        ("owan:a=b.pth", Spec("owan", "owan", "a=b.pth")),
        ("runs/yolo11n.pt", Spec("yolo11n", "ultralytics", "runs/yolo11n.pt")),
        ("fast=yolo.ONNX", Spec("fast", "ultralytics", "yolo.ONNX")),
        ("my.nets:load", Spec("my.nets-load", "my.nets:load")),
        ("my.nets:load:w.pt", Spec("my.nets-load", "my.nets:load", "w.pt")),
        ("dir/nets.py:load", Spec("nets-load", "dir/nets.py:load")),
        ("n=dir/nets.py:load:w.pt", Spec("n", "dir/nets.py:load", "w.pt")),
    ],
)
def test_label_name_and_weights_are_told_apart(text, spec):
    assert parse_spec(text, NAMES) == spec


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("=owan", "has an empty label"),
        ("mine=", "names nothing"),
        ("", "names nothing"),
        ("a b=owan", "may hold letters, digits"),
        ("x" * 65 + "=owan", "at most 64"),
        ("clean=owan", "is the name of a variant that every run has"),
        ("distorted=owan", "is the name of a variant that every run has"),
        ("clean+x=owan", "is the name of a variant that every run has"),
    ],
)
def test_a_label_that_cannot_be_one_is_refused(text, reason):
    with pytest.raises(ValueError, match=reason):
        parse_spec(text, NAMES)


def test_a_label_may_begin_like_a_variant():
    assert parse_spec("cleaner=owan", NAMES).label == "cleaner"


def test_options_name_an_engine_and_a_policy_that_do_not_exist():
    Options(tile="63:42", engine="torch").check()
    with pytest.raises(ValueError, match="unknown engine 'warp'; choose one of auto, native"):
        Options(engine="warp").check()
    with pytest.raises(ValueError, match="tiling '63' is neither"):
        Options(tile="63").check()


@pytest.mark.parametrize(("gpus", "chosen"), [(0, "cpu"), (2, "cuda")])
def test_a_device_is_chosen_where_it_is_left_open(monkeypatch, gpus, chosen):
    monkeypatch.setattr("torch.cuda.is_available", lambda: gpus > 0)
    monkeypatch.setattr("torch.cuda.device_count", lambda: gpus)
    assert choose_device("auto") == chosen
    assert choose_device("cpu") == "cpu"


@pytest.mark.parametrize(
    ("gpus", "device", "reason"),
    [
        (0, "cuda", "PyTorch sees no CUDA GPU here; use `device=cpu`"),
        (2, "cuda:2", "PyTorch sees 2 CUDA GPUs here, counted from 0"),
        (2, "gpu", "expected auto, cpu, cuda or cuda:N"),
    ],
)
def test_a_device_that_is_not_there_is_refused(monkeypatch, gpus, device, reason):
    monkeypatch.setattr("torch.cuda.is_available", lambda: gpus > 0)
    monkeypatch.setattr("torch.cuda.device_count", lambda: gpus)
    with pytest.raises(ValueError, match=f"`device={device}`: {reason}"):
        choose_device(device)
