from vocbench.benchmarks.words import counted


def test_a_noun_is_in_the_plural_but_for_one():
    assert [counted(count, "photo") for count in range(3)] == ["0 photos", "1 photo", "2 photos"]
