"""How units go to workers on Ray and come back, with a Ray of this process: no cluster, and workers that die when told to."""

from collections import deque
from types import SimpleNamespace
from typing import Any

import pytest
from vocbench.benchmarks.running.clock import Clock
from vocbench.benchmarks.running.ray_workers import ATTEMPTS, IN_HAND, OnRay, _RayCrew
from vocbench.benchmarks.running.unit import Equipment
from vocbench.benchmarks.settings import RunSettings

ray = pytest.importorskip("ray")
SETTINGS = RunSettings("sample", "all", "voc", (), ())


class Actor:
    """A worker that holds the units given to it; once it died, none of them comes back."""

    def __init__(self):
        self.most, self.held, self.is_dead = 0, 0, False
        self.begin = SimpleNamespace(remote=lambda: ("begin", self))
        self.answer = SimpleNamespace(remote=lambda: ("answer", self))
        self.compute = SimpleNamespace(remote=self._given)

    def _given(self, unit):
        self.held += 1
        self.most = max(self.most, self.held)
        return self, unit.number, object()  # another reference each time


class FakeRay:
    """As much of Ray as a crew uses: workers start at once, and what was asked for first is done first.

    As many workers die over a unit as `dies` says.
    """

    exceptions = ray.exceptions

    def __init__(self, dies=None):
        self.dies, self.actors = dies or {}, []

    def remote(self, kind):
        return SimpleNamespace(options=lambda **given: SimpleNamespace(remote=self._made))

    def _made(self, *given):
        self.actors.append(Actor())
        return self.actors[-1]

    def wait(self, references, timeout=None):
        done = next((one for one in references if one[0] == "begin"), references[0])
        return [done], [one for one in references if one is not done]

    def kill(self, actor):
        pass

    def get(self, reference):
        if reference[0] == "begin":
            return Equipment({}, {}, "a GPU")
        actor, unit, _ = reference
        actor.held -= 1
        if not actor.is_dead and self.dies.get(unit, 0) > 0:
            self.dies[unit] -= 1
            actor.is_dead = True
        if actor.is_dead:
            raise ray.exceptions.RayActorError()
        clock = Clock()
        clock.spent["restore"] = 1.0
        return f"pictures of {unit}", clock


def computed(fake, units=7, workers=2):
    """The units in the order in which they were stored, the pictures kept, and the clock."""
    crew = _RayCrew(fake, SETTINGS, OnRay(workers=workers, cpus=1.0, gpus=0.0))
    crew.start()
    kept: list[str] = []
    stored: list[int] = []
    clock = Clock()
    plan: Any = SimpleNamespace(
        units=[[f"photo{i}"] for i in range(units)],
        inventory={f"photo{i}": SimpleNamespace(photo="0" * 64) for i in range(units)},
        settings=SETTINGS, known={}, store=SimpleNamespace(place="store"), data=SimpleNamespace(classes=("dog",)),
        artist=SimpleNamespace(keep=kept.append),
    )  # fmt: skip
    crew.compute(plan, deque(range(units)), stored.append, clock)
    return stored, kept, clock


def test_every_unit_is_computed_once_and_no_worker_has_more_than_it_may():
    fake = FakeRay()
    stored, kept, clock = computed(fake)
    assert sorted(stored) == list(range(7))
    assert sorted(kept) == [f"pictures of {i}" for i in range(7)]
    assert clock.spent["restore"] == 7 / 2  # two workers beside each other
    assert [actor.most for actor in fake.actors] == [IN_HAND, IN_HAND]


def test_a_unit_whose_worker_died_goes_to_another_one_and_a_worker_is_hired_in_its_place():
    fake = FakeRay(dies={2: 1, 5: 1})
    stored, _, clock = computed(fake)
    assert sorted(stored) == list(range(7))
    assert clock.spent["restore"] == 7 / 2
    assert [actor.is_dead for actor in fake.actors].count(False) == 2
    assert len(fake.actors) == 4


def test_a_unit_over_which_workers_die_again_and_again_is_named():
    with pytest.raises(OSError, match=rf"{ATTEMPTS} workers on Ray died at the photos photo3: "):
        computed(FakeRay(dies={3: ATTEMPTS}))
