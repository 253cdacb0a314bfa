"""Commands as users start them, in processes of their own."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
# Where another process finds `tests` and whatever this one was told to find.
PYTHONPATH = os.pathsep.join([str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])])
COMMAND = [sys.executable, "-c", "from vocbench.benchmarks.cli.main import main; main()"]
FAKES = ["--restorer", "bright=tests.support.fakes:Brighten", "--detector", "blob=tests.support.fakes:BlobDetector"]


def vocbench(*arguments, environment=None, **given):
    """The command line in a process of its own."""
    variables = os.environ | {"PYTHONPATH": PYTHONPATH, "OMP_NUM_THREADS": "1"} | (environment or {})
    command = [*COMMAND, *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, env=variables, check=False, cwd=ROOT, **given)


def run(folder, out, *more, **given):
    """`vocbench run` of fakes on a VOC folder."""
    return vocbench("run", "--data", folder, "--split", "val", "--unit", 2, *FAKES, "--out", out, *more, **given)


def complaints(done):
    """The lines of a command's standard error but for how far it is, which a slow machine says, and where results go."""
    return [line for line in done.stderr.splitlines() if not re.match(r"results go to |\d+ of \d+ photos, ", line)]


def timeless(path):
    """results.json without what a clock told."""
    content = json.loads(Path(path).read_text())
    content.pop("busy")
    for variant in content["variants"].values():
        variant.pop("seconds")
    return json.dumps(content)
