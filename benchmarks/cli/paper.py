"""`vocbench quality` and `attention`: the tables and figures of the OWAN paper that need no detector."""

from __future__ import annotations

from pathlib import Path

import click
from vocbench.benchmarks.cli.options import OWAN, RESTORER, Command, Named, model_options
from vocbench.benchmarks.cli.progress import Progress
from vocbench.benchmarks.cli.show import show
from vocbench.pipeline.names import RECIPES
from vocbench.pipeline.specs import Options, choose_device
from vocbench.restorer.files import make_folder

FOLDER = click.Path(path_type=Path)


@click.command(
    cls=Command,
    examples=[
        "vocbench quality --clean photos --restorer owan --restorer dncnn",
        "vocbench quality --pairs degraded/ clean/ --restorer owan --out tables",
    ],
)
@click.option("--clean", "folder", type=FOLDER, help="Folder of clean photos, cut and degraded by --recipe.")
@click.option("--recipe", "recipes", multiple=True, default=("mild", "moderate", "severe"), show_default=True,
              type=Named("recipe", RECIPES), help="Degradation recipe; repeatable.")  # fmt: skip
@click.option("--pairs", nargs=2, multiple=True, type=FOLDER, metavar="INPUT TARGET", help="Folders of pairs; repeatable.")
@click.option("--restorer", "restorers", multiple=True, type=RESTORER, help="Restorer to measure; repeatable; default owan.")
@click.option("--patch", default=63, show_default=True, help="Side of a patch in pixels.")
@click.option("--limit", default=400, show_default=True, help="Patches per recipe, spread over photos and scales.")
@click.option("--seed", default=0, show_default=True, help="Seed of the degradations.")
@click.option("--out", type=FOLDER, help="Folder for quality.json, quality.csv and quality.md.")
@model_options
def quality(folder, recipes, pairs, restorers, patch, limit, seed, out, tile, device, **given) -> None:
    """Measure PSNR and SSIM of restorers on patches: the paper's Tables 1, 3 and 4.

    Patches are restored whole unless --tile says otherwise. SSIM: uniform 7x7 window, three channels averaged, data range 1.
    """
    if (folder is None) == (not pairs):
        raise click.UsageError("give either --clean with --recipe, or --pairs")
    from vocbench.benchmarks.experiments import restoration_quality as tables
    from vocbench.pipeline.models import build_restorer, parse_restorer

    options = Options(tile or "whole", device=choose_device(device), **given)
    specs = [parse_restorer(text) for text in restorers or ("owan",)]
    models = {spec.label: build_restorer(spec, options) for spec in specs}
    if pairs:
        sets = {one.name: tables.read_pairs(one, two) for one, two in pairs}
    else:
        sets = {recipe: tables.cut_patches(folder, recipe, patch, limit, seed) for recipe in recipes}
    with Progress(sum(map(len, sets.values())) * len(models), unit="patches") as shown:
        rows = []
        for name, patch_pairs in sets.items():

            def step(label: str, patches: int, name: str = name) -> None:
                shown.advance(patches, f"{name}, {label}")

            rows += tables.measure(name, patch_pairs, models, step)
    show(tables.to_markdown(rows))
    if out:
        make_folder(out)
        tables.write(out, rows)


@click.command(cls=Command, examples=["vocbench attention --clean photos --out figures"])
@click.option("--clean", "folder", required=True, type=FOLDER, help="Folder of clean photos.")
@click.option("--restorer", default="owan", show_default=True, type=OWAN, help="Weights of OWAN.")
@click.option(
    "--degraded", multiple=True, type=FOLDER,
    help="Folder of photos that are degraded already, such as raindrops; the set is named after it; repeatable.",
)  # fmt: skip
@click.option("--patch", default=128, show_default=True, type=click.IntRange(16), help="Side of a patch in pixels.")
@click.option("--limit", default=200, show_default=True, type=click.IntRange(1), help="Patches of each set.")
@click.option("--seed", default=0, show_default=True, help="Seed of the degradations.")
@click.option("--out", required=True, type=FOLDER, help="Folder for attention.npz and the two figures.")
def attention(
    folder: Path, restorer: str, degraded: tuple[Path, ...], patch: int, limit: int, seed: int, out: Path
) -> None:  # fmt: skip
    """Show attention weights by distortion: the paper's Figures 7 and 8, as pictures and arrays."""
    from vocbench.benchmarks.experiments.attention import Patches, measure_attention, write_figures
    from vocbench.pipeline.models import owan_file
    from vocbench.restorer.networks.owan_files import load_owan

    network = load_owan(owan_file(restorer))
    patches = Patches(folder, {one.resolve().name: one for one in degraded}, patch, limit, seed)
    make_folder(out)
    with Progress(len(patches.names) * limit, unit="patches") as shown:
        statistics = measure_attention(network, patches, lambda name: shown.advance(note=name))
    for path in write_figures(statistics, out):
        click.echo(path)
