"""How code is compiled, kept and loaded: with a small source of its own in place of the engine's."""

import os
import shutil
import stat

import pytest
from vocbench.restorer.engines import compiled

pytestmark = pytest.mark.skipif(compiled.compiler() is None, reason="needs a C++ compiler")
SOURCE = 'extern "C" int answer() { return 42; }\n'


@pytest.fixture
def source(tmp_path, monkeypatch):
    monkeypatch.setenv("VOCBENCH_CACHE", str(tmp_path / "cache"))
    path = tmp_path / "small.cpp"
    path.write_text(SOURCE)
    return path


def answer(source):
    """What the library compiled of `source` gives."""
    library = compiled.load("small", source)
    assert library is not None
    return library.answer()


def compiler():
    command = compiled.compiler()
    assert command is not None
    return command


def libraries(tmp_path):
    return sorted((tmp_path / "cache" / "compiled").glob("*.so"))


def test_a_library_is_compiled_once_and_kept(source, tmp_path, monkeypatch):
    assert answer(source) == 42
    (kept,) = libraries(tmp_path)
    monkeypatch.setattr(compiled, "_compile", None)
    assert answer(source) == 42
    assert libraries(tmp_path) == [kept]


@pytest.mark.parametrize("damage", [lambda path: os.truncate(path, 100), lambda path: path.write_bytes(b""),
                                    lambda path: path.with_suffix(".sha256").unlink(),
                                    lambda path: path.with_suffix(".sha256").write_bytes(b"\xff\xfe")])  # fmt: skip
def test_a_damaged_library_is_compiled_again(source, tmp_path, damage):
    """A truncated one that is loaded ends the process with a bus error."""
    folder = compiled.private_folder(tmp_path / "cache" / "compiled")
    command = compiler()
    path = folder / f"small-{compiled._key(command, [source])}.so"
    compiled._compile(command, source, path)
    whole = path.read_bytes()
    damage(path)
    assert answer(source) == 42
    assert path.read_bytes() == whole


def test_another_source_compiler_or_processor_is_another_library(source, monkeypatch):
    command = compiler()
    first = compiled._key(command, [source])
    monkeypatch.setattr(compiled, "processor", lambda: "another")
    second = compiled._key(command, [source])
    monkeypatch.setattr(compiled, "_output_of", lambda command: "g++ 99.1")
    third = compiled._key(command, [source])
    source.write_text(SOURCE + "// more\n")
    assert len({first, second, third, compiled._key(command, [source])}) == 4


def test_what_the_compiler_says_is_told(source, caplog):
    source.write_text("int answer( { return 42; }\n")
    assert compiled.load("small", source) is None
    assert "the compiled engine is not used" in caplog.text
    assert "small.cpp:1:" in caplog.text
    assert "error" in caplog.text


def test_a_compiler_that_cannot_be_run_is_told(source, monkeypatch, caplog, tmp_path):
    broken = tmp_path / "cxx"
    broken.write_text("#!/bin/sh\necho 'error: no licence left' >&2\nexit 3\n")
    broken.chmod(0o755)
    monkeypatch.setenv("CXX", f"{broken} --quiet")
    assert compiled.load("small", source) is None
    assert "error: no licence left" in caplog.text


def test_without_a_compiler_there_is_no_library(source, monkeypatch):
    monkeypatch.setattr(shutil, "which", lambda name: None)
    assert compiled.load("small", source) is None


@pytest.mark.skipif(os.name != "posix", reason="permissions are POSIX's")
def test_nobody_else_may_write_where_code_is_loaded_from(source, tmp_path, monkeypatch, caplog):
    open_to_all = tmp_path / "cache" / "compiled"
    open_to_all.mkdir(parents=True)
    open_to_all.chmod(0o777)
    compiled.load("small", source)
    assert stat.S_IMODE(open_to_all.stat().st_mode) == 0o700
    monkeypatch.setattr(os, "getuid", lambda: open_to_all.stat().st_uid + 1)
    elsewhere = compiled.private_folder(open_to_all)
    assert elsewhere != open_to_all
    assert stat.S_IMODE(elsewhere.stat().st_mode) == 0o700
    assert "compiled code cannot be kept there (it is a link or belongs to another user)" in caplog.text


def test_loading_leaves_denormals_and_the_environment_alone(source):
    """GCC before 13 links code into libraries made with -ffast-math that flushes denormals to zero in the whole process."""
    assert not {"-ffast-math", "-Ofast", "-funsafe-math-optimizations"} & set(compiled.FLAGS)
    before = dict(os.environ)
    compiled.load("small", source)
    assert 5e-324 / 2 == 0 and 2.5e-308 / 4 > 0
    assert dict(os.environ) == before


def test_a_compiler_that_takes_too_long_is_told_without_its_command(source, monkeypatch, caplog):
    monkeypatch.setattr(compiled, "MINUTES", 0)
    assert compiled.load("small", source) is None
    assert caplog.messages[0].endswith("compiling took more than 0 s; is this machine busy? The next start tries again")
