"""`vocbench demo`: a page for the browser that restores a dropped picture and shows what a detector finds before and after."""

from __future__ import annotations

import errno
import os
import socket
import threading
from importlib.util import find_spec

import click
from vocbench.benchmarks.cli.options import DETECTOR, RESTORER, Command, model_options
from vocbench.pipeline.specs import Options, choose_device


@click.command(
    cls=Command,
    examples=[
        "vocbench demo",
        "vocbench demo --restorer owan --restorer mine=owan:mine.safetensors --detector yolo11n.pt --trust-weights",
    ],
)
@click.option(
    "--restorer",
    "restorers",
    multiple=True,
    type=RESTORER,
    help="Restorer to offer; repeatable; default: all that need no file.",
)
@click.option(
    "--detector", "detectors", multiple=True, type=DETECTOR, help="Detector to offer; repeatable; default mobilenet-ssd."
)
@click.option(
    "--host", default="127.0.0.1", show_default=True, help="Address to listen on; 0.0.0.0 makes it reachable from the network."
)
@click.option("--port", default=7860, show_default=True, type=click.IntRange(0, 65535), help="Port; 0 picks a free one.")
@click.option("--browser/--no-browser", default=True, show_default=True, help="Open the page in the browser.")
@model_options
def demo(restorers, detectors, host, port, browser, device, **given) -> None:
    """Try restoring in the browser: drop a picture, or degrade one with sliders.

    Pictures stay on this machine: the page is served here, needs no network and sends nothing anywhere. Ctrl-C ends it.
    """
    if find_spec("gradio") is None:
        raise ValueError('the demo needs Gradio; install it with pip install ".[demo]"')
    _check_free(host, port)
    os.environ.setdefault("GRADIO_ANALYTICS_ENABLED", "False")
    from vocbench.benchmarks.cli.demo_page import Workshop, serve

    options = Options(device=choose_device(device), **given)
    options.check()
    workshop = Workshop(tuple(restorers) or at_hand(), tuple(detectors) or ("mobilenet-ssd",), options)
    page, address = serve(workshop, host, port, browser)
    click.echo(f"the demo is at {address} ; Ctrl-C ends it")
    try:
        threading.Event().wait()
    finally:
        page.close()


def _check_free(host: str, port: int) -> None:
    """Raise OSError, with the remedy, if the address cannot be listened on."""
    try:
        socket.create_server((host, port), family=socket.AF_INET6 if ":" in host else socket.AF_INET).close()
    except OSError as error:
        taken = "another program, maybe another demo, uses this port; choose another --port (0 picks a free one)"
        remedy = taken if error.errno == errno.EADDRINUSE else "choose another --host or --port"
        raise OSError(f"{host}:{port}: cannot listen there ({error.strerror}); {remedy}") from None


def at_hand() -> tuple[str, ...]:
    """Return the restorers that need no file of the user's, the default first."""
    from vocbench.pipeline.names import DEFAULT_RESTORER, RESTORERS
    from vocbench.pipeline.weights import WEIGHTS

    classical = ("nlm", "median", "bilateral", "tv", "richardson-lucy")
    known = [name for name in RESTORERS if name in WEIGHTS or name in classical]
    return (DEFAULT_RESTORER, *(name for name in known if name != DEFAULT_RESTORER))
