"""`vocbench weights`: weight files."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click
from vocbench.benchmarks.cli.options import Group, Named
from vocbench.pipeline.weights import WEIGHTS, check, fetch, import_files, location


@click.group(cls=Group)
def weights() -> None:
    """List, fetch and verify weights."""


@weights.command("list", examples=["vocbench weights list --json"])
@click.option("--json", "as_json", is_flag=True)
def weights_list(as_json: bool) -> None:
    """List all known weights, and whether their files are present."""
    rows: list[dict[str, Any]] = [
        {"name": name, "here": location(name).is_file(), "bytes": entry.size, "licence": entry.licence, "about": entry.about,
         "path": str(location(name)), "sha256": entry.sha256}
        for name, entry in WEIGHTS.items()
    ]  # fmt: skip
    if as_json:
        click.echo(json.dumps(rows, indent=2))
        return
    for row in rows:
        state = "here" if row["here"] else "not fetched"
        click.echo(f"{row['name']:22s} {state:12s} {row['bytes'] / 1e6:7.1f} MB  {row['licence']:8s} {row['about']}")


@weights.command("fetch", examples=["vocbench weights fetch owan-2019"])
@click.argument("name", type=Named("weights", tuple(WEIGHTS)), metavar="NAME")
def weights_fetch(name: str) -> None:
    """Fetch a weights file into the cache and check its SHA-256."""
    click.echo(fetch(name))


@weights.command("verify", examples=["vocbench weights verify --json"])
@click.option("--json", "as_json", is_flag=True, help="Print a JSON object from names to states.")
def weights_verify(as_json: bool) -> None:
    """Check the SHA-256 of every weights file that is present."""
    states = {}
    for name, entry in WEIGHTS.items():
        states[name] = "sound" if location(name).is_file() else "not fetched"
        try:
            if location(name).is_file():
                check(location(name), entry)
        except ValueError as error:
            states[name] = "damaged"
            click.echo(f"{name}: {error}", err=True)
    if as_json:
        click.echo(json.dumps(states, indent=2))
    else:
        click.echo("".join(f"{name}: {state}\n" for name, state in states.items()), nl=False)
    if "damaged" in states.values():
        raise SystemExit(1)


@weights.command("import", examples=["vocbench weights import rl-restore RL-Restore/models"])
@click.argument("name", type=Named("weights", ("rl-restore",)))
@click.argument("folder", type=click.Path(path_type=Path))
def weights_import(name: str, folder: Path) -> None:
    """Convert the authors' own files into one checked file in the cache."""
    click.echo(import_files(name, folder))


@weights.command(
    "average", examples=["vocbench weights average trained.safetensors owan.safetensors --share 0.1 --out mixed.safetensors"]
)
@click.argument("first", type=click.Path(path_type=Path))
@click.argument("second", type=click.Path(path_type=Path))
@click.option("--share", required=True, type=click.FloatRange(0, 1), help="Share of the second file; the first has the rest.")
@click.option("--out", required=True, type=click.Path(path_type=Path), help="The new file (.safetensors).")
def weights_average(first: Path, second: Path, share: float, out: Path) -> None:
    """Average a network with the one that its training started from.

    FIRST is a safetensors file of `vocbench train`, whose recipe and tiling the new file keeps; SECOND is any file of the same
    network. Their average often keeps what was learned and regains what was forgotten (WiSE-FT, Wortsman et al. 2022).
    """
    from vocbench.restorer.training.trainable import average

    if out.exists():
        raise ValueError(f"{out}: already there; choose another --out")
    average(first, second, share, out)
    click.echo(out)
