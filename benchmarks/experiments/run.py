"""A run: its photos computed into a folder, pictures of them drawn on the way, and the results written from what is stored."""

from __future__ import annotations

from pathlib import Path

from vocbench.benchmarks.reporting.examples import Examples
from vocbench.benchmarks.reporting.outputs import write_outputs
from vocbench.benchmarks.running.driver import Shared, chosen_photos, compute_run
from vocbench.benchmarks.running.local_workers import Runner
from vocbench.benchmarks.running.lock import locked
from vocbench.benchmarks.running.meter import Progress
from vocbench.benchmarks.settings import RunSettings
from vocbench.benchmarks.storage.run_folder import check_resumed


def run(
    settings: RunSettings,
    out: str | Path,
    resume: bool = False,
    runner: Runner | None = None,
    progress: Progress | None = None,
    store: str | None = None,
    accept_changes: bool = False,
    shared: Shared | None = None,
) -> Path:
    """Compute a run into the folder `out` and write its results; returns `out`.

    With `resume` it continues the run in `out`, a folder that must exist. `runner` says where it is computed, by default in
    this process. `store` is another place for the predictions than `out`/store: a folder, or a URL that fsspec knows; a resumed
    run remembers it. A run that was begun with other versions, code, hardware or sources of own models is resumed with
    `accept_changes` only. `progress(total, done)` is called once with numbers of photos and returns a function, which is called
    with the number of photos done since, which may be fractional, and the variant. `shared` has what the runs of a sweep have
    in common; its models are then used in place of `runner`'s. Raises ValueError and OSError with a message for the user;
    finished units are kept, and the run can be resumed.
    """
    if resume:
        check_resumed(Path(out))
    out, photos = Path(out), chosen_photos(settings)
    with locked(out):
        compute_run(settings, out, photos, Examples, resume, runner, progress, store, accept_changes, shared)
        write_outputs(out)
    return out
