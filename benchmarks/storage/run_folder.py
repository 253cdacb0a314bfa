"""The folder of a run: every path in it, and its records read and written."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from vocbench.benchmarks.settings import write_json
from vocbench.benchmarks.storage.records import Inventory, RunRecord, Timing, read_json, read_record
from vocbench.benchmarks.storage.store import Store
from vocbench.restorer.files import closest_name


@dataclass(frozen=True)
class RunFolder:
    """A run's folder, existing or not. Files of the first detector have plain names, those of others `NAME-DETECTOR`."""

    path: Path

    @property
    def record(self) -> Path:
        """Return the file of what is needed to repeat the run; a folder without it holds no run."""
        return self.path / "run.json"

    @property
    def inventory(self) -> Path:
        """Return the file of the photos' and annotations' checksums."""
        return self.path / "inventory.json"

    @property
    def timing(self) -> Path:
        """Return the file of the seconds of each stage and the peak memory."""
        return self.path / "timing.json"

    @property
    def lock(self) -> Path:
        """Return the file that is locked while a run writes here."""
        return self.path / ".lock"

    @property
    def examples(self) -> Path:
        """Return the folder of `NUMBER_IMAGE.png`, photos side by side."""
        return self.path / "examples"

    @property
    def gallery(self) -> Path:
        """Return the folder of `IMAGE/VARIANT.jpg`, the photos that changed most."""
        return self.path / "gallery"

    @property
    def store(self) -> Path:
        """Return the folder of the predictions, where the record names no other place."""
        return self.path / "store"

    def results(self, detector: str | None = None) -> Path:
        """Return the file of the results under a detector; None: the first."""
        return self._of("results.json", detector)

    def table(self, form: str, detector: str | None = None) -> Path:
        """Return the file of a detector's table as `csv`, `md` or `tex`; None: the first."""
        return self._of(f"table.{form}", detector)

    def report(self, detector: str | None = None) -> Path:
        """Return the page of a detector; None: the first."""
        return self._of("report.html", detector)

    def _of(self, name: str, detector: str | None) -> Path:
        stem, dot, form = name.partition(".")
        return self.path / (name if detector is None else f"{stem}-{detector}{dot}{form}")

    def all_results(self) -> list[Path]:
        """Return the results of every detector that are there, the first one's first."""
        return [self.results(), *sorted(self.path.glob("results-*.json"))]

    def all_tables(self) -> list[Path]:
        """Return the Markdown tables that are there, the first detector's first."""
        return sorted(self.path.glob("table*.md"), key=lambda path: (len(path.name), path.name))

    @property
    def is_begun(self) -> bool:
        """Return whether the folder holds a run."""
        return self.record.is_file()

    @property
    def is_finished(self) -> bool:
        """Return whether the folder holds results."""
        return self.results().is_file()

    def read_record(self) -> RunRecord:
        """Return the run's record; FileNotFoundError where there is no run, ValueError naming the file where it is damaged."""
        if not self.is_begun:
            raise FileNotFoundError(f"{self.path}: holds no run (no run.json); `vocbench runs` lists runs")
        return read_record(self.record)

    def read_inventory(self) -> Inventory:
        """Return the run's checksums, none where there is no such file."""
        return read_json(self.inventory, Inventory) if self.inventory.is_file() else {}

    def read_timing(self) -> Timing | None:
        """Return the run's times, None where there is no such file."""
        return read_json(self.timing, Timing) if self.timing.is_file() else None

    def write_record(self, record: RunRecord) -> None:
        """Write the run's record, whole or not at all."""
        write_json(self.record, record)

    def write_inventory(self, inventory: Inventory) -> None:
        """Write the run's checksums, whole or not at all."""
        write_json(self.inventory, inventory)

    def write_timing(self, timing: Timing) -> None:
        """Write the run's times, whole or not at all."""
        write_json(self.timing, timing)

    def open_store(self, record: RunRecord) -> Store:
        """Return the store of the run's predictions: in this folder, or where the record says."""
        return Store(record.store or self.store)


def check_resumed(out: Path) -> None:
    """Raise FileNotFoundError if the folder to resume does not exist: a misspelt name would start a new run."""
    if not out.exists():
        raise FileNotFoundError(
            f"{out}: no such folder, so there is nothing to resume{closest_name(out)}; correct `out`, or start without `resume`"
        )


def run_folders(root: Path) -> list[RunFolder]:
    """Return the folders below `root` that hold runs, in the order of their names."""
    return [RunFolder(path.parent) for path in sorted(root.glob("**/run.json"))]
