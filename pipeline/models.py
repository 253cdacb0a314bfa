"""The tables of names: restorers and detectors, and how each is built."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import nn
from vocbench.pipeline import weights as store
from vocbench.pipeline.names import DEFAULT_RESTORER, NETWORKS
from vocbench.pipeline.own import made_by_factory
from vocbench.pipeline.specs import OWN, Options, Spec, choose_device, parse_spec
from vocbench.restorer.contract import Facts
from vocbench.restorer.guard import Guarded
from vocbench.restorer.tiling import Tiled, Tiling
from vocbench.restorer.weight_files import WeightsFile, open_weights, read_facts


@dataclass(frozen=True)
class Built:
    """A built model, and the facts that its results depend on."""

    model: nn.Module
    sha256: str | None = None  # of its weights file
    cut: Tiled | None = None  # the network with its tiling and engine

    @property
    def facts(self) -> Facts:
        """Return the facts as they are now: a batch is halved where memory runs out."""
        if self.cut is None:
            return Facts(self.sha256)
        return Facts(self.sha256, getattr(self.cut.network, "engine", None), str(self.cut.tiling), self.cut.batch)


Builder = Callable[[str | None, Options], Built]


def _file(given: str | None, name: str) -> Path:
    if given is None and name not in store.WEIGHTS:
        raise ValueError(f"{name} comes without weights; train some (`vocbench train {name} …`) and give {name}:FILE")
    return Path(given) if given else store.find(name)


def _weights(given: str | None, name: str) -> WeightsFile:
    """Open the given weights file, or the checked one of the table."""
    if given is not None or name not in store.WEIGHTS:
        return open_weights(_file(given, name))
    file = open_weights(store.present(name))
    store.check_sum(file.path, file.sha256, store.entry(name))
    return file


def _owan(name: str) -> Builder:
    def build(given: str | None, options: Options) -> Built:
        from vocbench.restorer.engines.placement import Placement
        from vocbench.restorer.engines.select import fastest_batch, make_engine
        from vocbench.restorer.networks.owan_files import RELEASED_TILING, load_owan

        file = _weights(given, name)
        tiling = Tiling.parse(options.tile or file.facts.tiling or RELEASED_TILING)
        network = load_owan(file, "owan" if name == "owan-2019" else name)
        place = Placement(options.device, tiling)
        batch = options.batch or fastest_batch(network, place, options.engine)
        engine = make_engine(network, replace(place, batch=batch if tiling.size else 1), options.engine)
        cut = Tiled(engine, tiling, batch)
        return Built(_guarded(cut, options), file.sha256, cut)

    return build


def _owan_gated(given: str | None, options: Options) -> Built:
    from vocbench.pipeline.gate import Gated

    built = _owan(DEFAULT_RESTORER if given is None else network_of(given, DEFAULT_RESTORER))(given, options)
    return replace(built, model=Gated(built.model))


def _guarded(network: nn.Module, options: Options) -> nn.Module:
    return Guarded(network) if options.guard else network


def _without_weights(name: str, build: Callable[[str, Options], nn.Module]) -> Builder:
    """Return the builder of a model that takes no weights file."""

    def checked(given: str | None, options: Options) -> Built:
        if given is not None:
            raise ValueError(f"{name} takes no weights, got {given!r}; write {name} alone")
        return Built(build(name, options))

    return checked


def _identity(name: str, options: Options) -> nn.Module:
    return nn.Identity()


def _mobilenet_ssd(given: str | None, options: Options) -> Built:
    from vocbench.detection.detectors.mobilenet_ssd import load_mobilenet_ssd

    path = _file(given, "mobilenet-ssd")  # checked where it is the table's
    sha256 = store.sha256(path) if given else store.entry("mobilenet-ssd").sha256
    return Built(load_mobilenet_ssd(path).to(options.device), sha256)


def _rl_restore(given: str | None, options: Options) -> Built:
    from vocbench.restorer.networks.rl_restore import load_rl_restore

    file = _weights(given, "rl-restore")
    return Built(_guarded(load_rl_restore(file).to(options.device), options), file.sha256)


def _dncnn(given: str | None, options: Options) -> Built:
    from vocbench.restorer.networks.dncnn import ClippedDnCNN, load_dncnn

    file = _weights(given, "dncnn")
    built = _cut(ClippedDnCNN(load_dncnn(file), options.device), options, file.sha256)
    return replace(built, model=_guarded(built.model, options))


def _cut(network: nn.Module, options: Options, sha256: str | None) -> Built:
    """Return a network for whole photos, or for tiles if the options ask for them."""
    if options.tile in (None, "whole"):
        return Built(network, sha256)
    cut = Tiled(network, Tiling.parse(options.tile), options.batch or 1)
    return Built(cut, sha256, cut)


def _classical(name: str, options: Options) -> nn.Module:
    from vocbench.restorer.networks.classical import CLASSICAL, Classical

    return Classical(CLASSICAL[name])


def _spandrel(given: str | None, options: Options) -> Built:
    from vocbench.restorer.networks.spandrel_network import load_spandrel

    if given is None:
        raise ValueError("spandrel needs a weights file: spandrel:FILE")
    return _cut(load_spandrel(given, options.device), options, store.sha256(given))


def _torchvision(name: str, options: Options) -> nn.Module:
    from vocbench.detection.detectors.torchvision_ssd import load_torchvision

    return load_torchvision(name).to(options.device)


def _ssd300_voc(given: str | None, options: Options) -> Built:
    from vocbench.detection.detectors.ssd300_voc import load_ssd300_voc

    if given is None:
        raise ValueError("ssd300-voc needs a checkpoint of amdegroot/ssd.pytorch or lufficc/SSD: ssd300-voc:FILE.pth")
    return Built(load_ssd300_voc(given).to(options.device), store.sha256(given))


def _ultralytics(given: str | None, options: Options) -> Built:
    from vocbench.detection.detectors.ultralytics_adapter import load_ultralytics

    if given is None:
        raise ValueError("ultralytics needs a model: FILE.pt, FILE.onnx or FILE.yaml")
    path = Path(given)
    model = load_ultralytics(path, options.device, options.trust_weights)
    return Built(model, store.sha256(path) if path.is_file() else None)


RESTORERS: dict[str, Builder] = {
    **{name: _owan(name) for name in (*NETWORKS, "owan-2019")},
    "owan-gated": _owan_gated,
    "rl-restore": _rl_restore,
    "dncnn": _dncnn,
    "identity": _without_weights("identity", _identity),
    "nlm": _without_weights("nlm", _classical),
    "median": _without_weights("median", _classical),
    "bilateral": _without_weights("bilateral", _classical),
    "tv": _without_weights("tv", _classical),
    "richardson-lucy": _without_weights("richardson-lucy", _classical),
    "spandrel": _spandrel,
}
DETECTORS: dict[str, Builder] = {
    "mobilenet-ssd": _mobilenet_ssd,
    "ssd300": _without_weights("ssd300", _torchvision),
    "ssdlite": _without_weights("ssdlite", _torchvision),
    "ssd300-voc": _ssd300_voc,
    "ultralytics": _ultralytics,
}


def parse_restorer(text: str) -> Spec:
    return parse_spec(text, tuple(RESTORERS))


def parse_detector(text: str) -> Spec:
    return parse_spec(text, tuple(DETECTORS))


def owan_file(text: str) -> Path:
    """Return the weights file of an OWAN's specification; ValueError for another restorer."""
    from vocbench.restorer.networks.owan_files import NETWORKS

    spec, known = parse_restorer(text), (*NETWORKS, "owan-2019")
    if spec.name not in known:
        raise ValueError(f"this is for OWAN's own networks ({', '.join(known)}, with :FILE for other weights), not {spec.name}")
    return _file(spec.weights, spec.name)


def _own(spec: Spec, options: Options, kind: str) -> Built:
    """Return a user's own model; a restorer is cut into tiles where the options ask for them."""
    model = made_by_factory(spec, options.device, kind)
    sha256 = store.sha256(Path(spec.weights)) if spec.weights else None
    return _cut(model, options, sha256) if kind == "restorer" else Built(model, sha256)


def _build(spec: Spec, options: Options, table: dict[str, Builder], kind: str) -> Built:
    if spec.name in table:
        with torch.random.fork_rng(devices=[]):  # networks draw random weights before theirs are loaded
            return table[spec.name](spec.weights, options)
    if OWN.fullmatch(spec.name):
        return _own(spec, options, kind)
    raise ValueError(f"unknown {kind} {spec.name!r}; choose one of {', '.join(table)}, or FILE.py:factory for your own")


def built_restorer(spec: Spec, options: Options | None = None) -> Built:
    """Return the restorer of a specification, frozen, with its facts."""
    built = _build(spec, options or Options(), RESTORERS, "restorer")
    if isinstance(built.model, nn.Module):
        built.model.eval().requires_grad_(False)
    return built


def built_detector(spec: Spec, options: Options | None = None) -> Built:
    """Return the detector of a specification with its facts."""
    return _build(spec, options or Options(), DETECTORS, "detector")


def build_restorer(spec: Spec, options: Options | None = None) -> nn.Module:
    """Return the restorer of a specification, frozen: (B, 3, H, W) RGB in [0, 1] to the same shape and range."""
    return built_restorer(spec, options).model


def build_detector(spec: Spec, options: Options | None = None) -> nn.Module:
    """Return the detector of a specification: a list of (3, H, W) RGB images in [0, 1] to a list of `Detections`."""
    return built_detector(spec, options).model


def _restorer_spec(model: str | Path) -> Spec:
    """Return the specification of a restorer's name, or of a weights file that says which network it is for."""
    path = Path(model)
    if not (path.suffix in (".safetensors", ".pth") and path.is_file()):
        return parse_restorer(str(model))
    network = network_of(path)
    if network not in RESTORERS:
        raise ValueError(f"{path}: does not say which network it is for; give NAME:{path}, such as owan:{path}")
    return Spec(network, network, str(path))


def network_of(path: str | Path, otherwise: str = "") -> str:
    """Return the name of the network that a weights file says it is for."""
    return read_facts(path).network or otherwise


def load_restorer(
    model: str | Path = DEFAULT_RESTORER,
    *,
    device: str = "auto",
    tile: str | None = None,
    engine: str = "auto",
    batch: int = 0,
    guard: bool = True,
) -> nn.Module:
    """Return a restorer, in evaluation mode and frozen: (B, 3, H, W) float RGB in [0, 1] to the same shape and range.

    `model` is a name of `RESTORERS`, NAME:FILE, a weights file of this project, or `package.module:factory`. `device` is auto,
    cpu, cuda or cuda:N. `tile` is SIZE:STRIDE in pixels or `whole`, in place of the tiling of the weights. `engine` says how
    OWAN is executed, `batch` is the number of tiles per batch, 0 for the fastest on this machine. `guard` undoes colour changes
    by OWAN, DnCNN and RL-Restore that no degradation can explain. Raises ValueError and OSError.
    """
    options = Options(tile, engine, choose_device(device), batch, guard=guard)
    options.check()
    return build_restorer(_restorer_spec(model), options)


def load_detector(model: str | Path = "mobilenet-ssd", *, device: str = "auto", trust_weights: bool = False) -> nn.Module:
    """Return a detector, in evaluation mode: a list of (3, H, W) float RGB images in [0, 1] to a list of `Detections`.

    `model` is a name of `DETECTORS`, NAME:FILE, a model file of ultralytics, or `package.module:factory`. `device` is auto,
    cpu, cuda or cuda:N. `trust_weights` allows files that may run code when they are loaded. Raises ValueError and OSError.
    """
    options = Options(device=choose_device(device), trust_weights=trust_weights)
    return build_detector(parse_detector(str(model)), options)
