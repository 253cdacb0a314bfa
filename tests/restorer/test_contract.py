"""What a restorer is asked, and how the notes of restorers inside each other become one."""

import pytest
import torch
from torch import nn
from vocbench.restorer.contract import Restored, join_notes, restore_each


class Together(nn.Module):
    """Halves images one at a time; all at once it doubles them and tells which one each was."""

    def forward(self, images):
        return images / 2

    def restore_many(self, images):
        return [Restored(2 * image, f"number {i}") for i, image in enumerate(images)]


class Plain(nn.Module):
    def forward(self, images):
        return images + 1


def images():
    return [torch.full((3, 2, 4), 0.25), torch.full((3, 5, 1), 0.5)]


def test_all_images_go_to_restore_many_at_once_where_it_is_there():
    with torch.no_grad():
        restored = restore_each(Together(), images())
    assert [one.note for one in restored] == ["number 0", "number 1"]
    assert [one.image.unique().item() for one in restored] == [0.5, 1.0]


def test_images_pass_one_by_one_where_gradients_are_recorded():
    restored = restore_each(Together(), images())
    assert [one.note for one in restored] == [None, None]
    assert [one.image.unique().item() for one in restored] == [0.125, 0.25]


def test_a_restorer_without_restore_many_gets_each_size_alone():
    with torch.no_grad():
        restored = restore_each(Plain(), images())
    assert [tuple(one.image.shape) for one in restored] == [(3, 2, 4), (3, 5, 1)]
    assert [one.image.unique().item() for one in restored] == [1.25, 1.5]


@pytest.mark.parametrize(
    ("notes", "joined"),
    [
        ((), None),
        ((None, None), None),
        (("restored", None), "restored"),
        ((None, "guarded"), "guarded"),
        (("restored", "tool 3", "guarded"), "restored, tool 3, guarded"),
        (("", "guarded"), "guarded"),
    ],
)
def test_notes_are_joined_in_order_and_none_is_none(notes, joined):
    assert join_notes(*notes) == joined
