"""What programs do to a stage that they embed: copy, save, fork, spawn, thread, move, load, trace, compile and train it.

Every engine at hand, with the shipped weights on photos that scikit-image carries, so that an engine of zeros, of other weights
or of one constant picture fails.
"""

import copy
import io
import json
import os
import pickle
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from importlib.util import find_spec

import pytest
import torch
from skimage.data import astronaut
from torch.utils.data import DataLoader, Dataset
from vocbench.pipeline.weights import find
from vocbench.restorer.engines import native
from vocbench.restorer.engines.placement import Placement
from vocbench.restorer.engines.select import make_engine
from vocbench.restorer.networks.owan_files import load_owan
from vocbench.restorer.tiling import Tiled, Tiling

from tests.support.commands import PYTHONPATH

TILING = Tiling(32, 24)
STAGES = [
    (weights, engine)
    for engine in ("native", "openvino", "torch")
    for weights in ("owan", "owan-half")
    if (engine, weights) != ("openvino", "owan-half")  # by the same code, and compiling takes seconds
    if engine != "native" or native.available()
    if engine != "openvino" or find_spec("openvino")
]
every_stage = pytest.mark.parametrize(("weights", "engine"), STAGES)


def photo(left=180, height=40, width=36):
    """A piece of a portrait (3, height, width) in [0, 1]."""
    return torch.from_numpy(astronaut()).permute(2, 0, 1)[:, 90 : 90 + height, left : left + width].float() / 255


def load(weights):
    return load_owan(find(weights)).eval().requires_grad_(False)


def stage(weights="owan", engine="native", trained=True):
    network = load(weights)
    if not trained:
        for parameter in network.parameters():
            parameter.mul_(0.9)
    return Tiled(make_engine(network, Placement(tiling=TILING), engine), TILING, 4)


_wanted: dict = {}


def wanted(weights, left=180):
    """What the plain network makes of the photo in the same tiles."""
    if (weights, left) not in _wanted:
        _wanted[weights, left] = stage(weights, "torch")(photo(left)[None])
        assert (_wanted[weights, left] - photo(left)).abs().max() > 0.02  # the weights do something
    return _wanted[weights, left]


def same(found, weights, left=180):
    torch.testing.assert_close(found, wanted(weights, left), atol=1e-4, rtol=0)
    return True


@every_stage
def test_it_is_the_plain_network(weights, engine):
    assert same(stage(weights, engine)(photo()[None]), weights)


@every_stage
def test_it_is_copied_pickled_saved_and_averaged(weights, engine):
    made = stage(weights, engine)
    for _ in range(2):  # before its first photo, and after
        buffer = io.BytesIO()
        torch.save(made, buffer)
        buffer.seek(0)
        averaged = torch.optim.swa_utils.AveragedModel(made)
        averaged.update_parameters(made)
        copies = [copy.deepcopy(made), pickle.loads(pickle.dumps(made)), torch.load(buffer, weights_only=False), averaged]
        for one in copies:
            assert same(one(photo()[None]), weights)
        assert len(buffer.getvalue()) < 4e6  # the parameters and nothing made of them
        made(photo()[None])


@every_stage
def test_a_copy_has_weights_of_its_own(weights, engine):
    made = stage(weights, engine)
    other = copy.deepcopy(made)
    for parameter in other.parameters():
        parameter.mul_(0.9)
    assert (other(photo()[None]) - wanted(weights)).abs().max() > 0.02
    assert same(made(photo()[None]), weights)


@every_stage
def test_loaded_weights_run_whatever_ran_before(weights, engine):
    """As `load_state`: a mixture of old and new weights ran."""
    made, state = stage(weights, engine, trained=False), stage(weights, "torch").state_dict()
    before = made(photo()[None])
    made.load_state_dict(state)
    assert same(made(photo()[None]), weights)
    assert (before - wanted(weights)).abs().max() > 0.02


@every_stage
@pytest.mark.parametrize("how", ["in place", "data", "another tensor", "another module"])
def test_changed_weights_run_however_they_were_changed(weights, engine, how):
    made, trained = stage(weights, engine, trained=False), load(weights)
    made(photo()[None])
    network = made.network.network
    if how == "another module":
        made.network.network = trained
    for old, new in zip(network.parameters(), trained.parameters(), strict=True):
        if how == "in place":
            old.copy_(new)
        elif how == "data":
            old.data.copy_(new)  # autograd's version counter does not see it
        elif how == "another tensor":
            old.data = new.clone()
    assert same(made(photo()[None]), weights)


class Photos(Dataset):
    def __init__(self, made):
        self.made = made

    def __len__(self):
        return 2

    def __getitem__(self, i):
        return self.made.restore_many([photo(180 + 20 * i)])[0]


@every_stage
def test_a_forked_worker_restores_after_its_parent_did(weights, engine):
    """As `fork_hang`: the worker waited for threads that a fork does not take along."""
    photos = Photos(stage(weights, engine))
    assert same(photos[0][None], weights)
    loader = DataLoader(photos, num_workers=1, multiprocessing_context="fork", timeout=300)
    for i, batch in enumerate(loader):
        assert same(batch, weights, 180 + 20 * i)


@every_stage
def test_a_forked_worker_restores_as_the_first(weights, engine):
    (first, second) = DataLoader(Photos(stage(weights, engine)), num_workers=1, multiprocessing_context="fork", timeout=300)
    assert same(first, weights)
    assert same(second, weights, 200)


SPAWN = """
import torch
from torch.utils.data import ConcatDataset, DataLoader
from tests.restorer.engines.test_host_programs import Photos, STAGES, photo, same, stage
if __name__ == "__main__":
    made = [stage(*names) for names in STAGES]
    for one in made:
        one(photo()[None])
    loader = DataLoader(ConcatDataset(map(Photos, made)), num_workers=1, multiprocessing_context="spawn", timeout=300)
    for i, batch in enumerate(loader):
        print(same(batch, STAGES[i // 2][0], 180 + 20 * (i % 2)))
"""


def run(code, tmp_path, **variables):
    """Run a program of a user's in a process of its own."""
    program = tmp_path / "program.py"
    program.write_text(code)
    environment = os.environ | {"PYTHONPATH": PYTHONPATH} | variables
    done = subprocess.run([sys.executable, str(program)], capture_output=True, text=True, env=environment, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_spawned_workers_restore(tmp_path):
    assert run(SPAWN, tmp_path).split() == ["True"] * 2 * len(STAGES)


@every_stage
def test_four_threads_share_one_stage(weights, engine):
    """As `threads`: OpenVINO's request was busy."""
    made = stage(weights, engine)
    with ThreadPoolExecutor(4) as pool:
        results = list(pool.map(lambda i: made.restore_many([photo(180 + 20 * (i % 2))])[0], range(8)))
    for i, result in enumerate(results):
        assert same(result[None], weights, 180 + 20 * (i % 2))


@every_stage
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_other_precisions_restore_as_well(weights, engine, dtype):
    """As `dtype_move`: half precision corrupted the heap, double gave NaN."""
    made = stage(weights, engine).to(dtype)
    found = made(photo()[None].to(dtype))
    assert found.dtype == dtype
    assert (found.float() - wanted(weights)).abs().max() <= {torch.float16: 0.05, torch.bfloat16: 0.3, torch.float64: 1e-4}[
        dtype
    ]
    assert made.network(photo()[None, :, :32, :32]).dtype == torch.float32  # the image's precision, not the weights'
    if dtype == torch.float64:
        assert same(made.float()(photo()[None]), weights)


@every_stage
def test_parameters_without_numbers_are_told(weights, engine):
    with pytest.raises((ValueError, NotImplementedError), match="meta"):
        stage(weights, engine).to("meta")(photo()[None])


def _training_step(made, image):
    """The gradient of the image, all parameters after a step, and what the stage gives then, in double precision."""
    made.requires_grad_(True)
    image = image.clone().requires_grad_(True)
    optimizer = torch.optim.SGD(made.parameters(), 1e-2)
    made(image).square().mean().backward()
    optimizer.step()
    parameters = torch.cat([parameter.detach().flatten() for parameter in made.parameters()])
    return image.grad.double(), parameters.double(), made(photo()[None].to(image)).detach().double()


@every_stage
def test_a_training_step_behind_the_engine_is_that_of_the_plain_network(weights, engine):
    """Rounding may be that of PyTorch, which moves the gradients of some weights by up to half a percent."""
    image = photo()[None, :, :24, :20]
    before = torch.cat([parameter.detach().flatten() for parameter in stage(weights, "torch").parameters()])
    exact = _training_step(stage(weights, "torch").double(), image.double())
    plain, made = _training_step(stage(weights, "torch"), image), _training_step(stage(weights, engine), image)
    assert exact[0].norm() > 1e-6
    for of_exact, of_plain, of_made, start in zip(exact, plain, made, (0, before, wanted(weights)), strict=True):
        rounding = (of_plain - of_exact).norm()
        assert (of_made - of_exact).norm() <= 1e-3 * (of_exact - start).norm() + 10 * rounding
        assert rounding <= 0.02 * (of_exact - start).norm()
    assert (made[2] - wanted(weights)).abs().max() > 1e-4  # the step did something


@pytest.mark.filterwarnings("ignore")  # torch's own, of tracing: nothing comes of it
@pytest.mark.parametrize(("weights", "engine"), [names for names in STAGES if names[1] != "torch"])
def test_tracing_is_refused(weights, engine):
    """As `trace`: the trace gave one constant picture for every input."""
    made = stage(weights, engine)
    with pytest.raises(RuntimeError, match=f"the engine '{engine}' runs compiled code, which torch.jit.trace cannot record"):
        torch.jit.trace(made, photo()[None], check_trace=False)


@every_stage
def test_compiled_by_torch_it_restores_each_photo(weights, engine):
    made = stage(weights, engine).network
    compiled = torch.compile(made, backend="eager")
    with torch.no_grad():
        for left in (180, 200):
            tile = photo(left, 32, 32)[None]
            torch.testing.assert_close(compiled(tile), made(tile), atol=1e-4, rtol=0)
            torch.testing.assert_close(made(tile), stage(weights, "torch").network(tile), atol=1e-4, rtol=0)
    torch.compiler.reset()


HOST = """
import json, os, threading, torch
from tests.restorer.engines.test_host_programs import photo, stage
def state():
    seen = []
    def look():
        torch.ones(10).sum()
        seen.append(torch.get_num_threads())
    thread = threading.Thread(target=look)
    thread.start()
    thread.join()
    denormal = torch.tensor([1e-39]).mul(0.5).item()  # zero where denormals are flushed
    return [torch.get_num_threads(), seen[0], denormal > 0, torch.initial_seed(), torch.random.get_rng_state().sum().item(),
            torch.is_grad_enabled(), dict(os.environ)]
torch.set_num_threads(2)
before = state()
made = stage({weights!r}, {engine!r})
made(photo()[None])
after = state()
print(json.dumps([before[:-1], after[:-1], before[-1] == after[-1]]))
"""


@pytest.mark.parametrize(("weights", "engine"), [names for names in STAGES if names[0] == "owan"])
def test_the_host_program_stays_as_it_was(tmp_path, weights, engine):
    """As `set_num_threads`: new threads of the program were left with one PyTorch thread, and denormals became zero."""
    before, after, same_environment = json.loads(
        run(HOST.format(weights=weights, engine=engine), tmp_path, OMP_NUM_THREADS="2").splitlines()[-1]
    )
    assert before == after
    assert before[:3] == [2, 2, True]
    assert same_environment


@every_stage
def test_a_photo_does_not_depend_on_those_that_come_with_it(weights, engine):
    made = stage(weights, engine)
    alone = made.restore_many([photo()])[0]
    assert torch.equal(made.restore_many([photo(20, 50, 90), photo()])[1], alone)


class Counting(torch.nn.Module):
    """Counts the tiles that an engine is given."""

    def __init__(self, engine):
        super().__init__()
        self.engine, self.any_number, self.tiles = engine, engine.any_number, 0

    def forward(self, tiles):
        self.tiles += len(tiles)
        return self.engine(tiles)


@every_stage
def test_no_tile_is_computed_that_nobody_asked_for(weights, engine):
    """As `batch_fill`: a picture of one tile cost sixteen."""
    made = stage(weights, engine)
    counting = Counting(made.network)
    tiled = Tiled(counting, TILING, 16)
    assert same(tiled(photo()[None]), weights)
    assert counting.tiles == 4
    tiled.restore_many([photo(180, 32, 32)])
    assert counting.tiles == 5
