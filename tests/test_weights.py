import hashlib
import subprocess
import sys
import threading
import zipfile
from dataclasses import replace
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer

import pytest
from click.testing import CliRunner
from vocbench.benchmarks.cli import cli
from vocbench.pipeline import weights
from vocbench.pipeline.weights import WEIGHTS, Package, Url, Weights, Wheel, fetch, find, location


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
        FileNotFoundError, match=r"'test' are not at hand and could not be fetched .*; put http.* at .*test\.bin"
    ):
        find("test")
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
    found = subprocess.run([sys.executable, "-c", "import vocbenchtestwheel"], capture_output=True, check=False)
    assert found.returncode


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
            assert find(name)


def test_every_entry_is_complete():
    for known in WEIGHTS.values():
        assert len(known.sha256) == 64
        assert known.size > 0
        assert known.licence
        assert known.about


def test_the_commands_list_fetch_and_verify(server, cache, monkeypatch):
    folder, address = server
    (folder / "w.bin").write_bytes(CONTENT)
    monkeypatch.setattr(weights, "WEIGHTS", {"test": entry(Url(f"{address}/w.bin"))})
    run = partial(CliRunner().invoke, cli, catch_exceptions=False)
    assert "not fetched" in run(["weights", "list"]).output
    assert run(["weights", "fetch", "test"]).exit_code == 0
    assert "here" in run(["weights", "list"]).output
    assert run(["weights", "verify"]).output == "test: sound\n"
    (cache / "test.bin").write_bytes(b"damaged")
    damaged = run(["weights", "verify"])
    assert damaged.exit_code == 1


def test_an_unknown_name_is_told():
    with pytest.raises(ValueError, match="no weights named 'none'; there are owan"):
        fetch("none")


def test_rl_restores_checkpoints_are_imported_into_the_cache(shared, cache):
    with pytest.raises(FileNotFoundError, match="run `vocbench weights import rl-restore FOLDER`"):
        find("rl-restore")
    done = CliRunner().invoke(
        cli, ["weights", "import", "rl-restore", str(shared / "weights/rl_restore")], catch_exceptions=False
    )
    assert done.exit_code == 0
    assert find("rl-restore") == cache / "rl-restore.safetensors"
    assert sorted(path.name for path in cache.iterdir()) == ["rl-restore.safetensors"]
