import struct

import pytest
import torch
from vocbench.restorer.images import read_image
from vocbench.restorer.networks.rl_restore import (
    PATCH,
    STOP,
    RLRestore,
    import_checkpoints,
    load_rl_restore,
    same_pad,
    vote_patches,
)
from vocbench.restorer.networks.tensorflow_checkpoint import crc32c, masked_crc32c, read_checkpoint
from vocbench.restorer.quality import psnr
from vocbench.restorer.training.photos import list_photos

# From the authors' own classes in test mode: tools of each patch (13 is stop) and PSNR of input and after the last step.
REFERENCE = {
    "mild": [
        ("7 2 12", 19.5641, 24.5707),
        ("7 1 7", 20.2012, 25.7798),
        ("5 12 13", 22.4545, 24.2797),
        ("8 1 13", 17.8829, 24.2104),
    ],
    "moderate": [
        ("8 1 7", 18.5119, 24.5202),
        ("8 1 13", 17.3996, 20.9890),
        ("7 7 13", 21.2444, 28.4762),
        ("10 7 13", 23.2453, 25.0463),
    ],
    "severe": [
        ("7 2 7", 18.2617, 20.7970),
        ("7 7 7", 22.7480, 26.2140),
        ("7 2 7", 17.6437, 20.0333),
        ("8 10 12", 21.0117, 26.6240),
    ],
}
FIRST_VALUES = [2.6968, 3.1500, 2.3493, -1.8681, 2.9644, 3.1196, 3.4441, 3.2268, 2.7096, 2.8993, 2.8592, 2.9422, 0.0000]


@pytest.fixture(scope="module")
def network(shared, tmp_path_factory):
    path = tmp_path_factory.mktemp("rl") / "rl.safetensors"
    import_checkpoints(shared / "weights/rl_restore", path)
    return load_rl_restore(path)


def patches(shared, name):
    folder = shared / "data/rl_restore_test"
    both = [torch.stack([read_image(p) for p in list_photos([folder / f"{name}_{kind}"])]) for kind in ("in", "gt")]
    return [batch.transpose(2, 3) for batch in both]  # the authors feed patches with height and width swapped


@pytest.mark.parametrize("name", REFERENCE)
def test_the_authors_actions_and_psnr_are_reached(shared, network, name):
    degraded, clean = patches(shared, name)
    restored, actions, _ = network.restore_patches(degraded)
    for i, (tools, before, after) in enumerate(REFERENCE[name]):
        assert " ".join(str(action + 1) for action in actions[i].tolist()) == tools
        assert psnr(degraded[i : i + 1], clean[i : i + 1]).item() == pytest.approx(before, abs=1e-3)
        assert psnr(restored[i : i + 1], clean[i : i + 1]).item() == pytest.approx(after, abs=0.01)


def test_the_agents_values_are_the_authors(shared, network):
    values = network.restore_patches(patches(shared, "mild")[0])[2]
    torch.testing.assert_close(values[0][0], torch.tensor(FIRST_VALUES), atol=2e-3, rtol=0)


def test_a_batch_of_patches_is_each_patch_alone(shared, network):
    degraded = patches(shared, "moderate")[0]
    together = network.restore_patches(degraded)[0]
    alone = torch.cat([network.restore_patches(patch[None])[0] for patch in degraded])
    torch.testing.assert_close(together, alone, atol=1e-5, rtol=0)


@pytest.mark.parametrize("size", [(63, 63), (64, 130), (20, 31)])
def test_photos_of_any_size_are_restored_and_their_tools_told(network, size):
    torch.manual_seed(0)
    images = torch.rand(2, 3, *size)
    restored = network(images)
    assert restored.shape == images.shape
    assert restored.min() >= 0 and restored.max() <= 1
    notes = [one.note for one in network.restore_many(list(images))]
    assert len(notes) == 2
    assert all(note == "none" or all(1 <= int(tool) <= 12 for tool in note.split()) for note in notes)


def test_patches_vote_without_overlap_and_the_rest_is_left_out():
    image = torch.rand(1, 3, 130, 190)
    cut = vote_patches(image)
    assert cut.shape == (2 * 3, 3, PATCH, PATCH)
    assert torch.equal(cut[4], image[0, :, 63:126, 63:126])


class OneTool(torch.nn.Module):
    """An agent that always wants the same actions, one per step."""

    def __init__(self, votes):
        super().__init__()
        self.votes, self.value, self.step = votes, torch.nn.Linear(1, 1), 0

    def begin(self, count, like):
        return like.new_zeros(count, 1), like.new_zeros(count, 1)

    def forward(self, x, last, state):
        values = torch.zeros(len(x), 13)
        for patch, action in enumerate(self.votes[self.step]):
            values[patch, action] = 1
        self.step += 1
        return values, state


def test_the_most_votes_win_the_lowest_of_equals_and_stop_ends():
    network = RLRestore()
    network.add_module("agent", OneTool([[3, 3, 5, 5], [STOP, 7, 7, STOP], [STOP] * 4]))
    (restored,) = network.restore_many([torch.rand(3, 126, 126)])
    assert restored.note == "4 8"


def test_same_padding_puts_the_odd_pixel_last():
    x = same_pad(torch.ones(1, 1, 32, 63), 5, 2)
    assert x.shape == (1, 1, 35, 67)
    assert x[0, 0, :, 33].tolist() == [0] + [1] * 32 + [0, 0]


def test_crc32c_is_castagnolis():
    assert crc32c(b"123456789") == 0xE3069283
    assert masked_crc32c(b"") == 0xA282EAD8


def test_damage_is_found_and_named(shared, tmp_path):
    source = shared / "weights/rl_restore/toolbox/tool01"
    for suffix in (".index", ".data-00000-of-00001"):
        data = bytearray((source.parent / f"tool01{suffix}").read_bytes())
        (tmp_path / f"tool01{suffix}").write_bytes(data)
    assert set(read_checkpoint(tmp_path / "tool01")) == {f"conv{i}/{part}" for i in (1, 2, 3) for part in ("weights", "biases")}
    for suffix in (".index", ".data-00000-of-00001"):
        path = tmp_path / f"tool01{suffix}"
        sound = path.read_bytes()
        for damaged in (sound[: len(sound) // 2], b"", sound[:40] + bytes([sound[40] ^ 1]) + sound[41:]):
            path.write_bytes(damaged)
            with pytest.raises(ValueError, match="tool01: not a readable TensorFlow checkpoint"):
                read_checkpoint(tmp_path / "tool01")
        path.write_bytes(sound)
    with pytest.raises(FileNotFoundError, match=r"none\.index: no such file"):
        read_checkpoint(tmp_path / "none")


def test_exchanged_folders_are_named(shared, tmp_path):
    (tmp_path / "models").symlink_to(shared / "weights/rl_restore/toolbox")
    (tmp_path / "toolbox").symlink_to(shared / "weights/rl_restore/toolbox")
    with pytest.raises(
        ValueError, match=r"models and toolbox do not hold RL-Restore's variables .*; give the folder that holds"
    ):
        import_checkpoints(tmp_path, tmp_path / "x.safetensors")
    with pytest.raises(FileNotFoundError, match=r"no checkpoint \*\.index; give the folder that holds models \(the agent\)"):
        import_checkpoints(shared / "weights/rl_restore/toolbox", tmp_path / "x.safetensors")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["models", "toolbox"]


def test_weights_that_cannot_be_written_are_told(shared, tmp_path, monkeypatch):
    from safetensors import SafetensorError
    from vocbench.restorer import weight_files

    def full(tensors, path, metadata):
        raise SafetensorError("I/O error: No space left on device (os error 28)")

    with pytest.raises(
        OSError, match=r"x\.safetensors: the weights could not be written \(No such file or directory\); free some"
    ):
        import_checkpoints(shared / "weights/rl_restore", tmp_path / "none" / "x.safetensors")
    monkeypatch.setattr(weight_files, "save_file", full)
    with pytest.raises(OSError, match=r"x\.safetensors: the weights could not be written \(I/O error: No space left on device"):
        import_checkpoints(shared / "weights/rl_restore", tmp_path / "x.safetensors")
    assert list(tmp_path.iterdir()) == []


def test_a_footer_alone_is_not_a_checkpoint(tmp_path):
    (tmp_path / "x.index").write_bytes(b"\0" * 40 + struct.pack("<Q", 0xDB4775248B80FB57))
    (tmp_path / "x.data-00000-of-00001").write_bytes(b"")
    with pytest.raises(ValueError, match="not a readable TensorFlow checkpoint"):
        read_checkpoint(tmp_path / "x")
