"""The names of what can be chosen, as plain literals: reading them imports no torch.

The tables hold what the names stand for (`models.RESTORERS`, `recipes.RECIPES`, …).
"""

from __future__ import annotations

NETWORKS = (  # of OWAN
    "owan",
    "owan-half",
    "owan-quarter",
    "owan-no-attention",
    "owan-fixed-attention",
    "owan-half-no-attention",
    "owan-half-fixed-attention",
)
DEFAULT_RESTORER = "owan-half"  # of every command and function but those that repeat the paper's tables
RESTORERS = (
    *NETWORKS,
    "owan-2019",
    "owan-gated",
    "rl-restore",
    "dncnn",
    "identity",
    "nlm",
    "median",
    "bilateral",
    "tv",
    "richardson-lucy",
    "spandrel",
)
DETECTORS = ("mobilenet-ssd", "ssd300", "ssdlite", "ssd300-voc", "ultralytics")
ENGINES = ("auto", "native", "openvino", "triton", "torch")
EXPORTS = ("onnx", "openvino", "torchscript", "torch-export")
TRAINABLE = (*NETWORKS, "dncnn")
RECIPES = ("voc", "voc-blur", "mild", "moderate", "severe", "mix", "novel-train", "novel-test", "clean")
DEGRADATIONS = ("motion", "blur", "noise", "jpeg")
SCALES = ("native", "detector")  # where photos are restored
PROTOCOLS = ("voc07", "voc10", "coco")
