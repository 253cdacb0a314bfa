import copy
import hashlib
import io
import pickle

import pytest
import torch
from skimage.data import astronaut
from torch import nn
from vocbench.pipeline import weights
from vocbench.pipeline.chain import RestoredDetector
from vocbench.pipeline.models import (
    DETECTORS,
    RESTORERS,
    build_detector,
    build_restorer,
    built_detector,
    built_restorer,
    load_restorer,
    owan_file,
    parse_detector,
    parse_restorer,
)
from vocbench.pipeline.names import DEFAULT_RESTORER
from vocbench.pipeline.specs import Options, Spec
from vocbench.restorer.guard import Guarded
from vocbench.restorer.networks.owan_files import build
from vocbench.restorer.tiling import Tiled
from vocbench.restorer.weight_files import save_weights


@pytest.mark.parametrize(
    ("text", "spec"),
    [
        ("owan", Spec("owan", "owan")),
        ("mine=owan:w.safetensors", Spec("mine", "owan", "w.safetensors")),
        ("owan:/a=b/w.pth", Spec("owan", "owan", "/a=b/w.pth")),
        ("my.module:factory", Spec("my.module-factory", "my.module:factory")),
        ("x=my.module:factory", Spec("x", "my.module:factory")),
        ("identity", Spec("identity", "identity")),
    ],
)
def test_specifications(text, spec):
    assert parse_restorer(text) == spec


def test_a_model_file_is_a_detector():
    assert parse_detector("y=dir/yolo11n.pt") == Spec("y", "ultralytics", "dir/yolo11n.pt")
    assert parse_detector("dir/yolo11n.onnx").label == "yolo11n"
    assert parse_detector("mobilenet-ssd:x.caffemodel") == Spec("mobilenet-ssd", "mobilenet-ssd", "x.caffemodel")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("clean=owan", "the label 'clean' is the name of a variant that every run has; choose another"),
        ("distorted=owan", "the label 'distorted' is the name of a variant that every run has"),
        ("clean+x=owan", r"the label 'clean\+x' is the name of a variant that every run has"),
        ("a b=owan", "the label 'a b' may hold letters, digits, .* at most 64"),
        ("<b>=owan", "the label '<b>' may hold letters"),
        ("=owan", r"'=owan' has an empty label; expected \[LABEL=\]NAME"),
        ("", r"'' names nothing; expected \[LABEL=\]NAME"),
    ],
)
def test_bad_labels_are_told(text, message):
    with pytest.raises(ValueError, match=message):
        parse_restorer(text)


def test_unknown_names_list_the_known_ones():
    with pytest.raises(ValueError, match="unknown restorer 'owam'; choose one of owan"):
        build_restorer(parse_restorer("owam"))
    with pytest.raises(ValueError, match="unknown detector 'ssd'; choose one of mobilenet-ssd"):
        build_detector(parse_detector("ssd"))


def test_a_factory_that_is_not_there_is_told():
    with pytest.raises(ValueError, match=r"'no\.such:thing' could not be imported"):
        build_restorer(parse_restorer("no.such:thing"))


@pytest.mark.parametrize(
    ("name", "message"),
    [
        (
            "broken_factory",
            r"'tests\.support\.fakes:broken_factory' could not be built: .* raised RuntimeError \(no weights here\)",
        ),
        (
            "needy_factory",
            r"'tests\.support\.fakes:needy_factory' could not be built: called without arguments, it raised TypeError",
        ),
        ("empty_factory", r"'tests\.support\.fakes:empty_factory' returned NoneType; expected a callable that takes images"),
    ],
)
def test_a_factory_that_fails_is_told(name, message):
    with pytest.raises(ValueError, match=message):
        build_restorer(parse_restorer(f"tests.support.fakes:{name}"))
    with pytest.raises(ValueError, match=message):
        build_detector(parse_detector(f"tests.support.fakes:{name}"))


def test_a_module_that_fails_on_import_is_told(tmp_path, monkeypatch):
    (tmp_path / "vocbench_bad_module.py").write_text("1 / 0")
    monkeypatch.syspath_prepend(str(tmp_path))
    with pytest.raises(ValueError, match=r"'vocbench_bad_module:make' could not be imported \(division by zero\)"):
        build_restorer(parse_restorer("vocbench_bad_module:make"))


def test_weights_for_what_takes_none_are_refused():
    for name in ("identity", "nlm", "median", "bilateral", "tv", "richardson-lucy"):
        with pytest.raises(ValueError, match=f"{name} takes no weights, got 'w.pth'; write {name} alone"):
            build_restorer(parse_restorer(f"{name}:w.pth"))
    for name in ("ssd300", "ssdlite"):
        with pytest.raises(ValueError, match=f"{name} takes no weights, got 'w.pth'"):
            build_detector(parse_detector(f"{name}:w.pth"))


def test_the_tables_are_literal_dicts_of_builders():
    for table in (RESTORERS, DETECTORS):
        assert type(table) is dict
        assert all(callable(builder) for builder in table.values())


def test_the_weights_own_tiling_is_used_and_can_be_overridden(tmp_path):

    save_weights(tmp_path / "w.safetensors", build("owan").state_dict(), "owan", "96:72")
    spec = parse_restorer(f"owan:{tmp_path}/w.safetensors")
    assert built_restorer(spec).facts.tile == "96:72"
    assert built_restorer(spec, Options(tile="whole")).facts.tile == "whole"
    assert built_restorer(spec).facts.sha256 == hashlib.sha256((tmp_path / "w.safetensors").read_bytes()).hexdigest()


def test_a_weights_file_of_the_table_is_hashed_once(mobilenet_weights, monkeypatch):
    hashed, sha256 = [], weights.sha256

    def noted(path):
        hashed.append(path)
        return sha256(path)

    monkeypatch.setattr(weights, "sha256", noted)
    built = built_detector(parse_detector("mobilenet-ssd"))
    assert built.sha256 == hashlib.sha256(mobilenet_weights.read_bytes()).hexdigest()
    assert hashed == [mobilenet_weights]


def test_a_users_network_is_put_into_evaluation():
    """Batch norms that went on learning would make a photo's result depend on those before it."""
    assert not build_restorer(parse_restorer("tests.support.fakes:Learner")).training
    assert not build_detector(parse_detector("tests.support.fakes:Learner")).training


def test_what_is_for_owan_alone_says_so():
    with pytest.raises(ValueError, match=r"this is for OWAN's own networks \(owan, .*owan-2019, .*\), not dncnn"):
        owan_file("dncnn")
    with pytest.raises(ValueError, match="not owan-gated"):
        owan_file("owan-gated")


def test_the_gate_stands_before_the_default_network_or_the_one_whose_weights_are_given(tmp_path):
    save_weights(tmp_path / "w.safetensors", build("owan").state_dict(), "owan", "96:72")
    assert built_restorer(parse_restorer("owan-gated")).facts == built_restorer(parse_restorer(DEFAULT_RESTORER)).facts
    assert built_restorer(parse_restorer(f"owan-gated:{tmp_path}/w.safetensors")).facts.tile == "96:72"


def test_networks_of_this_project_stand_behind_the_guard_unless_it_is_left_out(tmp_path):
    save_weights(tmp_path / "w.safetensors", build("owan").state_dict(), "owan", "96:72")
    spec = parse_restorer(f"owan:{tmp_path}/w.safetensors")
    assert isinstance(build_restorer(spec), Guarded)
    assert isinstance(build_restorer(spec, Options(guard=False)), Tiled)
    assert not isinstance(build_restorer(parse_restorer("nlm")), Guarded)  # a classical filter cannot paint


@pytest.mark.parametrize("name", ["owan-half", "dncnn", "nlm"])
def test_building_draws_nothing_from_the_programs_random_numbers(name):
    before = torch.random.get_rng_state()
    build_restorer(parse_restorer(name))
    assert torch.equal(torch.random.get_rng_state(), before)


@pytest.mark.parametrize("name", ["owan-gated", "dncnn", "nlm", "identity"])
def test_a_stage_with_any_restorer_is_copied_pickled_saved_and_averaged(name):
    """As `pickle`, of which the engines have tests of their own: whatever stands around a network goes with it."""
    photo = torch.from_numpy(astronaut()).permute(2, 0, 1)[:, 90:130, 180:216].float() / 255
    photo = (photo + 0.1 * torch.randn(photo.shape, generator=torch.Generator().manual_seed(0))).clamp(0, 1)
    chain = RestoredDetector(load_restorer(name, device="cpu", engine="torch", tile="40:30"), nn.Identity())
    (wanted,) = chain([photo])
    assert torch.equal(wanted, photo) == (name == "identity")
    torch.save(chain, saved := io.BytesIO())
    saved.seek(0)
    averaged = torch.optim.swa_utils.AveragedModel(chain)
    averaged.update_parameters(chain)
    for one in (copy.deepcopy(chain), pickle.loads(pickle.dumps(chain)), torch.load(saved, weights_only=False), averaged):
        assert torch.equal(one([photo])[0], wanted)
