"""The image store: built once, complete or absent, and never written to afterwards."""

from __future__ import annotations

import logging
import os
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from errno import ENOSPC
from pathlib import Path

import pytest
import torch
from filelock import FileLock
from PIL import Image

from glimpse_env.datasets import load, store
from glimpse_env.datasets.decode import read_image
from glimpse_env.datasets.store import HEADER, Plan, Store, map_store, open_store

FILES = [f"birds/{number}.png" for number in range(7)]


@pytest.fixture(autouse=True)
def cache(monkeypatch, tmp_path) -> Path:
    """An empty cache folder, in slices of two photographs."""
    monkeypatch.setenv("GLIMPSE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(store, "SLICE", 2)
    return tmp_path / "cache"


@pytest.fixture
def photographs(tmp_path) -> Path:
    """Seven noisy pictures of several sizes."""
    for number, name in enumerate(FILES):
        path = tmp_path / "data" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.merge("RGB", [Image.effect_noise((20 + number, 30), 80) for _ in range(3)]).save(path)
    return tmp_path / "data"


@pytest.fixture
def decoded(monkeypatch) -> Counter[str]:
    """How often each photograph was decoded."""
    count: Counter[str] = Counter()

    def counting(path: Path, *options: object) -> object:
        count[path.name] += 1
        return read_image(path, *options)  # pyright: ignore[reportArgumentType]

    monkeypatch.setattr(store, "read_image", counting)
    return count


@pytest.fixture
def open_birds(photographs) -> Callable[[], Store]:
    """Open the store of the pictures at 12 pixels."""
    return lambda: open_store("birds-train", photographs, FILES, 12, "stretch")


def list_cache(cache: Path) -> list[str]:
    """The files of the cache but for lock files."""
    return sorted(path.name for path in cache.iterdir() if path.suffix != ".lock")


def test_a_store_holds_what_decoding_one_by_one_gives(open_birds, photographs, cache, caplog):
    with caplog.at_level(logging.INFO, "glimpse_env"):
        birds = open_birds()
    expected = [read_image(photographs / name, 12, "stretch") for name in FILES]
    assert torch.equal(birds.images, torch.stack([pixels for pixels, _ in expected]))
    assert birds.extents.tolist() == [list(extent) for _, extent in expected]
    assert "7 photographs at 12 px" in caplog.text
    (file,) = cache.glob("*.images")
    assert file.read_bytes()[:HEADER].startswith(b'{"name": "birds-train"')


def test_a_store_is_reused_without_decoding(open_birds, decoded):
    first = open_birds()
    assert decoded == {Path(name).name: 1 for name in FILES}
    again = open_birds()
    assert sum(decoded.values()) == 7
    assert torch.equal(first.images, again.images)
    assert torch.equal(first.extents, again.extents)
    assert first.key == again.key


def test_writing_to_the_pixels_never_reaches_the_file(open_birds):
    birds = open_birds()
    before = birds.images.clone()
    birds.images.zero_()
    assert torch.equal(open_birds().images, before)


def test_size_fit_name_and_folder_each_have_a_store_of_their_own(photographs, cache, tmp_path, decoded):
    settings = [("birds-train", size, fit) for size, fit in ((12, "stretch"), (13, "stretch"), (12, "crop"))]
    settings.append(("birds-test", 12, "stretch"))
    assert len({open_store(name, photographs, FILES, size, fit).key for name, size, fit in settings}) == 4
    other = photographs.rename(tmp_path / "other")
    open_store("birds-train", other, FILES, 12, "stretch")
    assert len(list_cache(cache)) == 5
    assert sum(decoded.values()) == 35


CHANGES: dict[str, Callable[[Path, Path], object]] = {
    "last byte missing": lambda file, _: file.write_bytes(file.read_bytes()[:-1]),
    "header not written": lambda file, _: file.write_bytes(bytes(HEADER) + file.read_bytes()[HEADER:]),
    "empty": lambda file, _: file.write_bytes(b""),
    "photograph written again": lambda _, photograph: os.utime(photograph, (1, 1)),
    "photograph replaced": lambda _, photograph: Image.new("RGB", (9, 9), "red").save(photograph),
}


@pytest.mark.parametrize("change", CHANGES)
def test_a_truncated_or_stale_store_is_rebuilt(open_birds, photographs, cache, decoded, caplog, change):
    key = open_birds().key
    (file,) = cache.glob("*.images")
    CHANGES[change](file, photographs / FILES[3])
    birds = open_birds()
    assert "building it again" in caplog.text
    assert ("damaged: " if change == "last byte missing" else "is stale or damaged") in caplog.text
    assert sum(decoded.values()) == 14
    expected = [read_image(photographs / name, 12, "stretch")[0] for name in FILES]
    assert torch.equal(birds.images, torch.stack(expected))
    # Equal pixels have the same key, and so do the features computed from them.
    assert (birds.key != key) == (change == "photograph replaced")
    assert list_cache(cache) == [file.name]


def test_a_store_of_another_version_is_rebuilt(open_birds, decoded, monkeypatch):
    key = open_birds().key
    monkeypatch.setattr(store, "VERSION", store.VERSION + 1)
    assert open_birds().key == key
    assert sum(decoded.values()) == 14


def test_a_full_disk_is_named_and_nothing_is_left(open_birds, cache, monkeypatch):
    write = store.write_store

    def half(stream: object, plan: Plan, *rest: object) -> None:
        write(stream, plan, *rest)  # pyright: ignore[reportArgumentType]
        raise OSError(ENOSPC, "No space left on device")

    message = r"image store of birds-train needs .* GB in .*cache .*No space left.*GLIMPSE_CACHE"
    with monkeypatch.context() as full:
        full.setattr(store, "write_store", half)
        with pytest.raises(OSError, match=message) as caught:
            open_birds()
    assert caught.value.errno == ENOSPC
    assert list_cache(cache) == []
    assert len(open_birds().images) == 7


def test_too_little_disk_space_is_an_error_before_decoding(open_birds, cache, monkeypatch, decoded):
    usage = shutil.disk_usage
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage(path)._replace(free=100))
    with pytest.raises(OSError, match=r"needs .* GB in .*No space left"):
        open_birds()
    assert not decoded
    assert list_cache(cache) == []


def test_a_photograph_that_cannot_be_decoded_leaves_no_store(open_birds, photographs, cache):
    (photographs / FILES[5]).write_bytes(b"no picture")
    with pytest.raises(ValueError, match=r"birds/5\.png cannot be read as an image"):
        open_birds()
    assert list_cache(cache) == []


def test_what_a_killed_process_left_is_not_used(open_birds, cache, photographs):
    open_birds()
    (file,) = cache.glob("*.images")
    file.rename(cache / f"{file.name}.partial")
    (cache / f"{file.name}.partial").write_bytes(b"half")
    assert torch.equal(open_birds().images[0], read_image(photographs / FILES[0], 12, "stretch")[0])
    assert list_cache(cache) == [file.name]


def test_many_that_build_one_store_decode_it_once(open_birds, decoded, cache):
    with ThreadPoolExecutor(4) as pool:
        stores = list(pool.map(lambda _: open_birds(), range(4)))
    assert sum(decoded.values()) == 7
    assert len(list_cache(cache)) == 1
    assert all(torch.equal(birds.images, stores[0].images) for birds in stores)


CHILD = """
import logging, sys
from pathlib import Path
logging.basicConfig(level="INFO", stream=sys.stderr)
from glimpse_env.datasets import store
store.tqdm = store.write_store = None  # whoever builds fails
birds = store.open_store("birds-train", Path(sys.argv[1]), sys.argv[2:], 12, "stretch")
print(birds.key, int(birds.images.sum()))
"""


def test_another_process_waits_for_the_one_that_builds(photographs, open_birds, cache):
    open_birds()
    (file,) = cache.glob("*.images")
    whole = file.read_bytes()
    file.unlink()
    command, pipe = [sys.executable, "-c", CHILD, str(photographs), *FILES], subprocess.PIPE
    with FileLock(f"{file}.lock"):
        child = subprocess.Popen(command, stdout=pipe, stderr=pipe, text=True)
        assert child.stderr is not None
        for line in child.stderr:
            if "waiting for the process that builds" in line:
                break
        file.write_bytes(whole)  # now the builder is done
    output, errors = child.communicate(timeout=60)
    birds = open_birds()
    assert output.split() == [birds.key, str(int(birds.images.sum()))], errors


@pytest.mark.skipif(sys.platform != "linux", reason="asks Linux for the size of its memory")
def test_a_store_larger_than_memory_can_be_opened(tmp_path):
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    count = memory * 2 // (3 * 1024**2)
    plan = Plan("large", "", count, 1024, "stretch", "")
    with (tmp_path / "large.images").open("wb") as file:
        try:
            file.truncate(plan.length)  # a hole: it takes no disk space
        except OSError as error:
            pytest.skip(f"a file of {plan.length:,} bytes cannot be written here ({error})")
        file.seek(plan.length - 1)
        file.write(b"\x07")
    images = map_store(tmp_path / "large.images", plan).images
    assert images.shape == (count, 3, 1024, 1024)
    assert images[-1, -1, -1, -1] == 7
    assert images[count // 2].max() == 0


def test_a_large_folder_of_class_folders_is_decoded_into_a_store(photographs, cache, monkeypatch, decoded):
    (photographs / "fish").mkdir()
    Image.new("RGB", (30, 20)).save(photographs / "fish" / "0.png")
    small = load(photographs, image_size=12)
    assert small.key is None
    assert not cache.exists()
    monkeypatch.setattr("glimpse_env.datasets.sources.paths.MANY", 3)
    large = load(photographs, image_size=12)
    assert torch.equal(large.images, small.images)
    assert large.labels.tolist() == small.labels.tolist()
    assert large.key is not None
    assert large.key.startswith("data-train-12-")
    load(photographs, image_size=12)
    assert sum(decoded.values()) == len(large)
