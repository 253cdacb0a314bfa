import numpy as np
from vocbench.benchmarks.reporting.confused import SHOWN, Cell, matrix
from vocbench.detection.confusion import Confusion


def test_a_row_is_shared_out_by_hand_count():
    counts = np.zeros((4, 4), int)
    counts[0] = [6, 0, 3, 3]  # of 12 cats 6 were detected as cats, 3 as dogs, 3 missed
    counts[2, 2] = 5
    counts[3, 2] = 1  # a dog where no object is
    made = matrix("owan", Confusion(counts), ["cat", "cow", "dog"])
    assert made.columns == ["cat", "dog", "missed"]  # no cow occurs
    assert dict(made.rows) == {
        "cat": [Cell(6, 50, True), Cell(3, 25, False), Cell(3, 25, False)],
        "dog": [Cell(0, 0, False), Cell(5, 100, True), Cell(0, 0, False)],
        "no object": [Cell(0, 0, False), Cell(1, 100, False), Cell(0, 0, False)],
    }
    assert made.left_out == 0


def test_of_many_classes_those_with_the_most_are_shown_in_their_order():
    count = SHOWN + 2
    counts = np.diag([*range(1, count + 1), 0])
    names = [f"class {i}" for i in range(count)]
    made = matrix("owan", Confusion(counts), names)
    assert made.columns == [*names[2:], "missed"]
    assert made.left_out == 2
    assert len(made.rows) == SHOWN + 1
