import pytest
import torch
from vocbench.restorer.training.checkpoint import check_beginning, checkpoint_of, read_checkpoint, write_checkpoint


def test_what_is_written_is_read(tmp_path):
    kept = {"settings": {"seed": 3}, "step": 7, "network": {"weight": torch.arange(3.0)}}
    write_checkpoint(tmp_path, kept)
    found = read_checkpoint(tmp_path, torch.device("cpu"))
    assert torch.equal(found.pop("network")["weight"], torch.arange(3.0))
    assert found == {"settings": {"seed": 3}, "step": 7}
    assert [path.name for path in tmp_path.iterdir()] == ["checkpoint.pt"]


def test_a_training_begins_where_there_is_none_and_goes_on_where_there_is_one(tmp_path):
    check_beginning(tmp_path, resume=False)
    with pytest.raises(FileNotFoundError, match=r"holds no checkpoint to resume from; correct `out`, or start without `res"):
        check_beginning(tmp_path, resume=True)
    write_checkpoint(tmp_path, {"settings": {}})
    check_beginning(tmp_path, resume=True)
    with pytest.raises(ValueError, match="already holds a checkpoint; continue with `resume=True` or choose another `out`"):
        check_beginning(tmp_path, resume=False)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "damaged, or no checkpoint of a training; start again with another `out`"),
        (b"PK\x03\x04 and so on", "damaged, or no checkpoint of a training"),
        ({"step": 3}, "no checkpoint of a training; start again with another `out`"),
    ],
)
def test_what_is_no_checkpoint_is_named(tmp_path, content, reason):
    if isinstance(content, bytes):
        checkpoint_of(tmp_path).write_bytes(content)
    else:
        write_checkpoint(tmp_path, content)
    with pytest.raises(ValueError, match=rf"checkpoint\.pt: {reason}"):
        read_checkpoint(tmp_path, torch.device("cpu"))
