"""`vocbench speed` and `vocbench export`."""

from __future__ import annotations

from pathlib import Path

import click
from vocbench.benchmarks.cli.options import OWAN, Command, Named, device_option, json_option, tile_option
from vocbench.benchmarks.cli.progress import Progress
from vocbench.benchmarks.cli.show import show
from vocbench.benchmarks.settings import to_json, write_json
from vocbench.pipeline.names import DEFAULT_RESTORER, EXPORTS
from vocbench.pipeline.specs import choose_device
from vocbench.restorer.cutting import Tiling


@click.command(cls=Command, examples=["vocbench speed", "vocbench speed --size 1920x1080 --engine native --json"])
@click.option("--restorer", default=DEFAULT_RESTORER, show_default=True, type=OWAN, help="Weights of OWAN.")
@click.option("--size", default="500x375", show_default=True, metavar="WIDTHxHEIGHT", help="Size of the photo in pixels.")
@click.option("--engine", "wanted", multiple=True, help="Only these engines and peers (repeatable); the plain one always runs.")
@tile_option
@click.option("--batch", default=0, type=click.IntRange(0), help="Tiles per batch; default: as for restoring.")
@click.option("--rounds", default=5, show_default=True, type=click.IntRange(1), help="Timed rounds after one of warm-up.")
@device_option
@json_option
@click.option("--out", type=click.Path(path_type=Path), help="Folder for speed.json and speed.md.")
def speed(restorer, size, wanted, tile, batch, rounds, device, as_json, out) -> None:
    """Measure milliseconds per photo under every available engine, beside what a user would take instead.

    Engines run in alternation, so that other load on the machine affects all of them alike. Errors are relative to the plain
    float32 network. The row `library` is a program's call `restore(photo)`. Processor time is summed over all threads; other
    load changes it less than wall time.
    """
    try:
        width, height = (int(side) for side in size.lower().split("x"))
    except ValueError:
        raise ValueError(f"--size {size!r}: expected WIDTHxHEIGHT in pixels, such as 500x375") from None
    from vocbench.benchmarks.experiments import speed as timing
    from vocbench.pipeline.models import owan_file
    from vocbench.restorer.files import cache_folder
    from vocbench.restorer.networks.owan_files import RELEASED_TILING
    from vocbench.restorer.weight_files import read_facts

    path = owan_file(restorer)
    tiling = Tiling.parse(tile or read_facts(path).tiling or RELEASED_TILING)
    chosen = choose_device(device)
    say = lambda text: click.echo(text, err=True)  # noqa: E731
    batch = batch or timing.default_batch(path, tiling, chosen)
    case = timing.Case(restorer, path, tiling, (width, height), chosen, batch, cache_folder())
    total = len(timing.candidates(wanted, chosen)) * (1 + rounds)
    with Progress(total, unit="photos") as shown:
        measured = timing.measure(case, wanted, rounds, say, lambda name: shown.advance(note=name))
    content = timing.table(measured, case)
    text = timing.to_markdown(content)
    if out:
        out.mkdir(parents=True, exist_ok=True)
        write_json(out / "speed.json", content)
        (out / "speed.md").write_text(text)
    if as_json:
        click.echo(to_json(content))
    else:
        show(text)


@click.command(cls=Command, examples=["vocbench export owan-half --format onnx --out owan-half.onnx"])
@click.argument("restorer", default=DEFAULT_RESTORER, type=OWAN, metavar="NAME[:WEIGHTS]")
@click.option("--format", "name", required=True, type=Named("format", EXPORTS), help="Format of the file.")
@click.option("--out", required=True, type=click.Path(path_type=Path), help="The file to write.")
def export(restorer: str, name: str, out: Path) -> None:
    """Write OWAN for another runtime, for any height and width, and check the file against the network."""
    from vocbench.pipeline.models import owan_file
    from vocbench.restorer.engines.export import check_path
    from vocbench.restorer.engines.export import export as write
    from vocbench.restorer.networks.owan_files import load_owan

    check_path(name, out)
    error = write(load_owan(owan_file(restorer)), name, out)
    click.echo(f"{out}: {name}, largest error on three sizes {error:.1e}")
