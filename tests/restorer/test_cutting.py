"""The policy by which photos are cut, as text."""

import pytest
from vocbench.restorer.cutting import Tiling


def test_a_policy_is_read_from_the_text_that_it_writes():
    assert Tiling.parse("63:42") == Tiling(63, 42)
    assert Tiling.parse("whole") == Tiling()
    assert [str(Tiling.parse(text)) for text in ("63:42", "whole", "1:1")] == ["63:42", "whole", "1:1"]


@pytest.mark.parametrize("text", ["", "63", "63:", "a:b", "-63:42", "63:42:1", "Whole", "123456:1"])
def test_other_text_is_refused_with_an_example(text):
    with pytest.raises(ValueError, match="is neither 'whole' nor SIZE:STRIDE in pixels, such as 63:42"):
        Tiling.parse(text)


@pytest.mark.parametrize(("size", "stride"), [(63, 64), (63, 0), (0, 0), (63, None), (None, 42)])
def test_tiles_that_leave_pixels_out_are_refused(size, stride):
    with pytest.raises(ValueError, match=r"a tiling needs 0 < stride <= size, got size"):
        Tiling(size, stride)
