"""Datasets: the right pixels and labels, and one line for every defect."""

import errno
import gzip
import hashlib
import math
import os
import shutil
import socket
import struct
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from evofool.datasets import (
    Dataset,
    StoredImages,
    fetch,
    folder,
    half,
    load_dataset,
    read_idx,
    with_extra_class,
)
from evofool.datasets import mnist as mnist_files
from evofool.errors import EvofoolError, UsageError
from evofool.images import load_photograph
from tests.conftest import Mirror

SHARED_DATA = Path(__file__).parents[3] / "shared" / "data"
MNIST_FILES = (
    "train-images-idx3-ubyte",
    "train-labels-idx1-ubyte",
    "t10k-images-idx3-ubyte",
    "t10k-labels-idx1-ubyte",
)


def idx(array: np.ndarray) -> bytes:
    return struct.pack(f">BBBB{array.ndim}I", 0, 0, 8, array.ndim, *array.shape) + array.tobytes()


def error_line(function: Callable[..., object], *arguments: object, **options: object) -> str:
    with pytest.raises(EvofoolError) as caught:
        function(*arguments, **options)
    line = str(caught.value)
    assert line
    assert "\n" not in line
    return line


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache, so that no test reads or writes the user's."""
    folder = tmp_path / "cache"
    monkeypatch.setenv("EVOFOOL_CACHE", str(folder))
    return folder


@pytest.fixture
def mnist(monkeypatch: pytest.MonkeyPatch) -> dict[str, bytes]:
    """MNIST's real files, unpacked; EVOFOOL_DATA is set to where they are."""
    data = Path(os.environ.get("EVOFOOL_DATA") or SHARED_DATA)
    files = {}
    for name in MNIST_FILES:
        plain, packed = data / "mnist" / name, data / "mnist" / f"{name}.gz"
        if plain.exists():
            files[name] = plain.read_bytes()
        elif packed.exists():
            files[name] = gzip.decompress(packed.read_bytes())
        else:
            pytest.skip("MNIST is not here: set EVOFOOL_DATA to a folder that has its four files in mnist/")
    monkeypatch.setenv("EVOFOOL_DATA", str(data))
    return files


# Known datasets


def test_mnist_is_the_published_one(mnist: dict[str, bytes]) -> None:
    loaded = load_dataset("mnist")
    assert loaded.name == "mnist"
    assert loaded.class_names[0] == "zero"
    assert loaded.class_names[9] == "nine"
    assert loaded.train_images.shape == (60_000, 28, 28, 1)
    assert loaded.test_images.shape == (10_000, 28, 28, 1)
    assert loaded.train_labels.tolist()[:5] == [5, 0, 4, 1, 9]
    assert loaded.test_labels.tolist()[:5] == [7, 2, 1, 0, 4]
    assert np.bincount(loaded.test_labels).tolist() == [980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009]
    assert loaded.train_images.mean() == pytest.approx(33.318, abs=1e-3)
    for images, labels in (loaded[2:4], loaded[4:6]):
        assert images.dtype == np.uint8
        assert labels.dtype == np.int32


def test_digits_are_laid_out_like_mnist() -> None:
    digits = load_dataset("digits")
    images = np.concatenate([digits.train_images, digits.test_images])
    assert images.shape == (1797, 28, 28, 1)
    assert images.dtype == np.uint8
    assert images.max() == 255
    assert images[:, 4:-4, 4:-4].mean() > 50
    framed = images.copy()
    framed[:, 4:-4, 4:-4] = 0
    assert not framed.any()


def test_digits_shrink_to_their_source() -> None:
    """Averaged down to 8x8 again, the images look like scikit-learn's."""
    source = pytest.importorskip("sklearn.datasets").load_digits()
    digits = load_dataset("digits")
    first_zero = digits.train_images[digits.train_labels == 0][0, 4:-4, 4:-4, 0]
    shrunk = np.asarray(Image.fromarray(first_zero).resize((8, 8), Image.Resampling.BOX))
    correlation = np.corrcoef(shrunk.ravel(), source.images[source.target == 0][0].ravel())[0, 1]
    assert correlation > 0.95


def test_digits_hold_out_every_fifth_image_of_each_class() -> None:
    source = pytest.importorskip("sklearn.datasets").load_digits()
    digits = load_dataset("digits")
    of_class = np.bincount(source.target)
    assert np.bincount(digits.test_labels).tolist() == (of_class // 5).tolist()
    assert np.bincount(digits.train_labels).tolist() == (of_class - of_class // 5).tolist()
    trained_on = {image.tobytes() for image in digits.train_images}
    assert not trained_on & {image.tobytes() for image in digits.test_images}
    assert np.array_equal(digits.test_images, load_dataset("digits").test_images)


def test_digits_without_scikit_learn_say_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "sklearn", None)
    assert "pip install scikit-learn" in error_line(load_dataset, "digits")


@pytest.mark.parametrize("name", ["mnits", "", "imagenet"])
def test_an_unknown_name_lists_the_known_ones(name: str) -> None:
    line = error_line(load_dataset, name)
    assert repr(name) in line
    assert "Allowed: digits, mnist, cifar10, the path of a folder" in line


# IDX files


def arrays(ndim: int) -> st.SearchStrategy[np.ndarray]:
    shapes = st.tuples(*[st.integers(1, 6)] * ndim)
    return shapes.flatmap(
        lambda shape: st.binary(min_size=math.prod(shape), max_size=math.prod(shape)).map(
            lambda content: np.frombuffer(content, np.uint8).reshape(shape)
        )
    )


@pytest.fixture(scope="module")
def idx_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("idx") / "file"


@settings(max_examples=40, deadline=None)
@given(array=st.one_of(arrays(1), arrays(3)), packed=st.booleans())
def test_read_idx_returns_what_was_written(idx_path: Path, array: np.ndarray, packed: bool) -> None:
    content = idx(array)
    idx_path.write_bytes(gzip.compress(content) if packed else content)
    read = read_idx(idx_path)
    assert read.dtype == np.uint8
    assert np.array_equal(read, array)


@settings(max_examples=15, deadline=None)
@given(array=st.one_of(arrays(1), arrays(3)), packed=st.booleans())
def test_read_idx_refuses_every_truncation(idx_path: Path, array: np.ndarray, packed: bool) -> None:
    content = gzip.compress(idx(array)) if packed else idx(array)
    for length in range(len(content)):
        idx_path.write_bytes(content[:length])
        assert str(idx_path) in error_line(read_idx, idx_path)


@settings(max_examples=100, deadline=None)
@given(array=st.one_of(arrays(1), arrays(3)), data=st.data(), change=st.integers(1, 255))
def test_read_idx_refuses_every_changed_byte_of_the_header(
    idx_path: Path, array: np.ndarray, data: st.DataObject, change: int
) -> None:
    content = bytearray(idx(array))
    content[data.draw(st.integers(0, 3 + 4 * array.ndim))] ^= change
    idx_path.write_bytes(content)
    assert str(idx_path) in error_line(read_idx, idx_path)


def test_read_idx_states_the_promised_and_the_actual_size(idx_path: Path) -> None:
    content = idx(np.ones((5, 3, 2), np.uint8))
    for damaged, actual in ((content[:-1], 29), (content + b"\0", 31)):
        idx_path.write_bytes(damaged)
        line = error_line(read_idx, idx_path)
        assert "30 bytes" in line
        assert str(actual) in line


def test_read_idx_refuses_other_formats(idx_path: Path) -> None:
    packed = bytearray(gzip.compress(idx(np.arange(200, dtype=np.uint8))))
    packed[len(packed) // 2] ^= 0xFF
    for content in (
        bytes(packed),
        gzip.compress(b"") + b"junk",
        b"<html>404</html>",
        idx(np.ones((0,), np.uint8)),
    ):
        idx_path.write_bytes(content)
        assert str(idx_path) in error_line(read_idx, idx_path)
    assert "No such file" in error_line(read_idx, idx_path.with_name("absent"))
    error_line(read_idx, idx_path.parent)


# Damaged or missing MNIST, on small files of the same layout


@pytest.fixture
def small_mnist(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "data" / "mnist"
    folder.mkdir(parents=True)
    for name, count in zip(MNIST_FILES, (6, 6, 3, 3), strict=True):
        shape = (count, 28, 28) if "images" in name else (count,)
        (folder / name).write_bytes(idx(np.full(shape, 7, np.uint8)))
    monkeypatch.setenv("EVOFOOL_DATA", str(folder.parent))
    return folder


def test_mnist_missing_says_how_to_get_it(
    tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("EVOFOOL_DATA", raising=False)
    line = error_line(load_dataset, "mnist")
    assert "evofool fetch mnist" in line
    assert "EVOFOOL_DATA" in line
    assert str(cache / "mnist") in line
    monkeypatch.setenv("EVOFOOL_DATA", str(tmp_path / "elsewhere"))
    assert str(tmp_path / "elsewhere" / "mnist") in error_line(load_dataset, "mnist")


def test_mnist_is_found_in_the_cache(small_mnist: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cache.mkdir()
    small_mnist.rename(cache / "mnist")
    assert len(load_dataset("mnist").train_labels) == 6
    monkeypatch.delenv("EVOFOOL_DATA")
    assert len(load_dataset("mnist").test_images) == 3


def test_mnist_may_be_packed(small_mnist: Path) -> None:
    for name in MNIST_FILES:
        (small_mnist / f"{name}.gz").write_bytes(gzip.compress((small_mnist / name).read_bytes()))
        (small_mnist / name).unlink()
    assert load_dataset("mnist").train_images.shape == (6, 28, 28, 1)


@pytest.mark.parametrize(
    ("name", "shape", "value", "complaint"),
    [
        (MNIST_FILES[0], (6,), 7, "28x28"),
        (MNIST_FILES[1], (6, 28, 28), 7, "labels"),
        (MNIST_FILES[2], (3, 28, 27), 7, "28x28"),
        (MNIST_FILES[2], (4, 28, 28), 7, "4 images and 3 labels"),
        (MNIST_FILES[3], (3,), 10, "0 to 9"),
    ],
)
def test_mnist_mislabelled_names_the_file(
    small_mnist: Path, name: str, shape: tuple[int, ...], value: int, complaint: str
) -> None:
    (small_mnist / name).write_bytes(idx(np.full(shape, value, np.uint8)))
    line = error_line(load_dataset, "mnist")
    assert str(small_mnist / name) in line
    assert complaint in line


def test_mnist_with_swapped_parts_is_refused(small_mnist: Path) -> None:
    (small_mnist / MNIST_FILES[0]).rename(small_mnist / "swapped")
    (small_mnist / MNIST_FILES[2]).rename(small_mnist / MNIST_FILES[0])
    (small_mnist / "swapped").rename(small_mnist / MNIST_FILES[2])
    assert "3 images and 6 labels" in error_line(load_dataset, "mnist")


# Folders


def write_images(folder: Path, count: int, mode: str = "L", size: tuple[int, int] = (7, 5)) -> None:
    folder.mkdir(parents=True)
    for i in range(count):
        Image.new(mode, size, (10 * i,) * 3 if mode == "RGB" else 10 * i).save(folder / f"{i}.png")


def test_folder_of_grey_images(tmp_path: Path) -> None:
    pets = tmp_path / "pets"
    write_images(pets / "dog", 11)
    write_images(pets / "cat", 5)
    (pets / "README.txt").write_text("not a class")
    (pets / ".hidden").mkdir()
    (pets / "cat" / ".DS_Store").write_text("not an image")
    loaded = load_dataset(str(pets))
    assert loaded.name == "pets"
    assert loaded.class_names == ("cat", "dog")
    assert loaded.train_images.shape == (13, 5, 7, 1)
    assert loaded.train_labels.tolist() == [0] * 4 + [1] * 9
    assert loaded.test_labels.tolist() == [0, 1, 1]
    # In the order of the names: 0, 1, 10, 2, 3, 4, ... for the dogs.
    assert loaded.test_images[:, 0, 0, 0].tolist() == [40, 30, 80]
    assert loaded.train_images[:4, 2, 3, 0].tolist() == [0, 10, 20, 30]


def test_folder_with_any_colour_is_rgb(tmp_path: Path) -> None:
    write_images(tmp_path / "grey", 5)
    write_images(tmp_path / "red", 5)
    Image.new("RGB", (7, 5), (200, 0, 1)).save(tmp_path / "red" / "0.png")
    loaded = load_dataset(str(tmp_path))
    assert loaded.train_images.shape == (8, 5, 7, 3)
    assert loaded.train_images[loaded.train_labels == 1][0, 0, 0].tolist() == [200, 0, 1]
    assert (loaded.train_images[loaded.train_labels == 0][3] == 30).all()


def test_folder_of_grey_in_every_depth_and_format(tmp_path: Path) -> None:
    write_images(tmp_path / "a", 5)
    (tmp_path / "b").mkdir()
    images = {
        "0.png": Image.new("1", (7, 5), 1),
        "1.png": Image.fromarray(np.full((5, 7), 0x80FF, np.uint16)),
        "2.png": Image.new("LA", (7, 5), (90, 255)),
        "3.bmp": Image.new("L", (7, 5), 60),
        "4.jpg": Image.new("L", (7, 5), 50),
    }
    for name, image in images.items():
        image.save(tmp_path / "b" / name)
    loaded = load_dataset(f"{tmp_path}/")
    assert loaded.train_images[4:, 0, 0].tolist() == [[255], [128], [90], [60]]
    assert loaded.test_images[1, 0, 0, 0] == pytest.approx(50, abs=2)


def test_folder_with_its_own_split(tmp_path: Path) -> None:
    for part, count in (("train", 3), ("test", 2)):
        write_images(tmp_path / part / "a", count)
        write_images(tmp_path / part / "b", count)
    loaded = load_dataset(str(tmp_path))
    assert loaded.class_names == ("a", "b")
    assert loaded.train_labels.tolist() == [0, 0, 0, 1, 1, 1]
    assert loaded.test_labels.tolist() == [0, 0, 1, 1]
    assert loaded.test_images.dtype == np.uint8
    assert loaded.test_labels.dtype == np.int32
    assert loaded.test_images[:, 0, 0, 0].tolist() == [0, 10, 0, 10]


def test_folder_split_must_have_the_same_classes(tmp_path: Path) -> None:
    for part, other in (("train", "b"), ("test", "c")):
        write_images(tmp_path / part / "a", 1)
        write_images(tmp_path / part / other, 1)
    assert "'b'" in error_line(load_dataset, str(tmp_path))
    write_images(tmp_path / "train" / "c", 1)
    (tmp_path / "test" / "b").mkdir()
    assert f"{tmp_path / 'test' / 'b'} has no images" in error_line(load_dataset, str(tmp_path))


def test_folder_that_is_not_there(tmp_path: Path) -> None:
    for path in (tmp_path / "absent", Path(__file__)):
        with pytest.raises(UsageError, match="there is no folder"):
            load_dataset(str(path))


def test_folder_needs_two_classes(tmp_path: Path) -> None:
    assert "has none" in error_line(load_dataset, str(tmp_path))
    write_images(tmp_path / "lonely", 5)
    assert "only 'lonely'" in error_line(load_dataset, str(tmp_path))


def test_folder_class_needs_enough_images(tmp_path: Path) -> None:
    write_images(tmp_path / "enough", 5)
    write_images(tmp_path / "few", 4)
    line = error_line(load_dataset, str(tmp_path))
    assert str(tmp_path / "few") in line
    assert "has 4" in line


def test_folder_images_must_have_one_size(tmp_path: Path) -> None:
    write_images(tmp_path / "a", 5)
    write_images(tmp_path / "b", 5, size=(5, 7))
    line = error_line(load_dataset, str(tmp_path))
    assert str(tmp_path / "b" / "0.png") in line
    assert "5x7" in line
    assert "7x5" in line
    assert "give an image size" in line
    assert "image_size must be above zero" in error_line(load_dataset, str(tmp_path), image_size=0)


def test_folder_images_are_fitted_to_a_size(tmp_path: Path) -> None:
    write_images(tmp_path / "a", 5)
    write_images(tmp_path / "b", 5, mode="RGB", size=(40, 20))
    loaded = load_dataset(str(tmp_path), image_size=6)
    assert loaded.train_images.shape == (8, 6, 6, 3)
    assert loaded.test_images.shape == (2, 6, 6, 3)
    for row, (name, number) in enumerate([(name, number) for name in "ab" for number in range(4)]):
        expected = load_photograph(tmp_path / name / f"{number}.png", (6, 6, 3))
        np.testing.assert_array_equal(loaded.train_images[row], expected)


def test_an_image_size_is_for_folders() -> None:
    assert "the images of digits have one size" in error_line(load_dataset, "digits", image_size=32)


def test_a_large_folder_stays_in_its_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_images(tmp_path / "a", 6)
    write_images(tmp_path / "b", 7)
    small = load_dataset(str(tmp_path))
    monkeypatch.setattr(folder, "IN_MEMORY", small.train_images.nbytes)  # less than both parts
    large = load_dataset(str(tmp_path))
    assert isinstance(large.train_images, StoredImages)
    assert isinstance(large.test_images, StoredImages)
    assert large.train_images.shape == small.train_images.shape
    np.testing.assert_array_equal(np.asarray(large.train_images), small.train_images)
    for index in (slice(2, 5), np.array([3, 0, 3]), small.train_labels == 1, slice(0, 0)):
        np.testing.assert_array_equal(large.train_images[index], small.train_images[index])
    both = [half(dataset, "second") for dataset in (large, small)]
    both += [with_extra_class(dataset, "c", dataset.train_images) for dataset in (large, small)]
    for stored, array in (both[:2], both[2:]):
        assert isinstance(stored.train_images, StoredImages)
        np.testing.assert_array_equal(stored.train_labels, array.train_labels)
        np.testing.assert_array_equal(stored.train_images[:], array.train_images)
        np.testing.assert_array_equal(stored.test_images[:], array.test_images)
    monkeypatch.setattr(folder, "IN_MEMORY", small.train_images.nbytes + small.test_images.nbytes)
    assert isinstance(load_dataset(str(tmp_path)).train_images, np.ndarray)


# Halves, and one more class


@given(counts=st.lists(st.integers(2, 9), min_size=1, max_size=4), seed=st.integers(0, 99))
def test_halves_are_disjoint_and_stratified(counts: list[int], seed: int) -> None:
    labels = np.repeat(np.arange(len(counts), dtype=np.int32), counts)
    np.random.default_rng(seed).shuffle(labels)
    images = np.arange(len(labels), dtype=np.uint8).reshape(-1, 1, 1, 1)
    whole = Dataset("it", tuple("abcd"[: len(counts)]), images, labels, images[:1], labels[:1])
    first, second = half(whole, "first"), half(whole, "second")
    assert np.bincount(first.train_labels).tolist() == [-(-count // 2) for count in counts]
    assert np.bincount(second.train_labels).tolist() == [count // 2 for count in counts]
    numbers = [part.train_images.ravel() for part in (first, second)]
    assert sorted(np.concatenate(numbers)) == list(range(len(labels)))
    for part, chosen in zip((first, second), numbers, strict=True):
        np.testing.assert_array_equal(part.train_labels, labels[chosen])
        assert part.test_images is whole.test_images


def test_halves_are_cut_at_random_but_always_alike() -> None:
    labels = np.zeros(200, np.int32)
    images = np.arange(200, dtype=np.uint8).reshape(-1, 1, 1, 1)
    whole = Dataset("it", ("a",), images, labels, images[:1], labels[:1])
    chosen = half(whole, "first").train_images.ravel()
    # Of random halves, the sum of the numbers has a standard deviation of 408 around 9,950.
    assert abs(int(chosen.sum(dtype=int)) - 9950) < 1600
    assert chosen[:8].tolist() == [2, 3, 10, 12, 13, 14, 16, 18]
    one = whole._replace(train_images=images[:1], train_labels=labels[:1])
    assert "no halves" in error_line(half, one, "first")


def test_an_extra_class_is_held_out_in_part() -> None:
    digits = load_dataset("digits")
    levels = np.arange(12, dtype=np.uint8)[:, None, None, None]
    noise = np.broadcast_to(levels, (12, 28, 28, 1))
    wider = with_extra_class(digits, "noise", noise)
    assert wider.class_names == (*digits.class_names, "noise")
    np.testing.assert_array_equal(wider.train_images[: len(digits.train_images)], digits.train_images)
    assert wider.train_images[-10:, 0, 0, 0].tolist() == [0, 1, 2, 3, 5, 6, 7, 8, 10, 11]
    assert wider.test_images[-2:, 0, 0, 0].tolist() == [4, 9]
    assert wider.train_labels[-10:].tolist() == [10] * 10
    assert wider.test_labels.dtype == np.int32
    for name, images, words in (
        ("three", noise, "digits has a class 'three' already"),
        ("noise", noise[:4], "'noise' needs 5 images or more"),
        ("noise", noise[:, 1:], r"(27, 28, 1)"),
        ("a\nb", noise, "control characters"),
    ):
        assert words in error_line(with_extra_class, digits, name, images)


def test_folder_with_an_unreadable_image_names_it(tmp_path: Path) -> None:
    write_images(tmp_path / "a", 5)
    write_images(tmp_path / "b", 5)
    victim = tmp_path / "a" / "3.png"
    whole = victim.read_bytes()
    pickled = b"\x80\x04K\x01."
    for content in (b"", b"not an image", whole[: len(whole) // 2], pickled):
        victim.write_bytes(content)
        assert str(victim) in error_line(load_dataset, str(tmp_path))
    victim.unlink()
    victim.mkdir()
    assert str(victim) in error_line(load_dataset, str(tmp_path))


def test_folder_class_that_cannot_be_printed_is_refused_before_images_are_read(tmp_path: Path) -> None:
    write_images(tmp_path / "a", 5)
    for name in ("b\nc", os.fsdecode(b"b\xff")):
        (tmp_path / name).mkdir()
        (tmp_path / name / "0.png").write_text("not an image")
        for index in range(1, 5):
            (tmp_path / name / f"{index}.png").write_text("not an image")
        assert "control characters or unpaired surrogates" in error_line(load_dataset, str(tmp_path))
        shutil.rmtree(tmp_path / name)


def test_folder_with_32_bit_pixels_is_refused(tmp_path: Path) -> None:
    write_images(tmp_path / "a", 5)
    write_images(tmp_path / "b", 5)
    Image.new("F", (7, 5), 0.5).save(tmp_path / "b" / "5.tiff")
    assert "8 bits" in error_line(load_dataset, str(tmp_path))


# Downloads


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()} if folder.exists() else {}


def test_fetch_downloads_once_and_repairs(
    mnist: dict[str, bytes], mirror: Mirror, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mirror.files = {f"{name}.gz": gzip.compress(content, 1) for name, content in mnist.items()}
    assert fetch("mnist", mirror.url + "/", quiet=True) == cache / "mnist"
    assert contents(cache / "mnist") == mnist
    assert len(mirror.requested) == 4

    fetch("mnist", mirror.url, quiet=True)
    assert len(mirror.requested) == 4

    damaged = cache / "mnist" / MNIST_FILES[3]
    damaged.write_bytes(damaged.read_bytes()[:-1])
    fetch("mnist", mirror.url, quiet=True)
    assert mirror.requested[4:] == [f"{MNIST_FILES[3]}.gz"]
    assert contents(cache / "mnist") == mnist

    monkeypatch.delenv("EVOFOOL_DATA")
    assert len(load_dataset("mnist").test_labels) == 10_000


def test_fetch_takes_files_that_were_downloaded_by_hand(
    mnist: dict[str, bytes], mirror: Mirror, cache: Path
) -> None:
    (cache / "mnist").mkdir(parents=True)
    for name, content in mnist.items():
        (cache / "mnist" / f"{name}.gz").write_bytes(gzip.compress(content, 1))
    fetch("mnist", mirror.url, quiet=True)
    assert mirror.requested == []


def test_fetch_accepts_a_server_that_unpacks_on_the_way(
    mnist: dict[str, bytes], mirror: Mirror, cache: Path
) -> None:
    mirror.files = {f"{name}.gz": gzip.compress(content, 1) for name, content in mnist.items()}
    mirror.headers = {"Content-Encoding": "gzip"}
    fetch("mnist", mirror.url, quiet=True)
    assert contents(cache / "mnist") == mnist


def test_fetch_shows_its_progress_unless_quiet(
    mnist: dict[str, bytes], mirror: Mirror, cache: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (cache / "mnist").mkdir(parents=True)
    for name in MNIST_FILES[:3]:
        (cache / "mnist" / name).write_bytes(mnist[name])
    mirror.files = {f"{MNIST_FILES[3]}.gz": gzip.compress(mnist[MNIST_FILES[3]])}
    fetch("mnist", mirror.url)
    shown = capsys.readouterr()
    assert shown.out == ""
    assert MNIST_FILES[3] in shown.err
    (cache / "mnist" / MNIST_FILES[3]).unlink()
    fetch("mnist", mirror.url, quiet=True)
    assert capsys.readouterr() == ("", "")


def test_fetch_tries_the_next_mirror(mirror: Mirror, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The right files of a set that is not MNIST, so that this needs no data."""
    files = {name: idx(np.full((3,), i, np.uint8)) for i, name in enumerate(MNIST_FILES)}
    mirror.files = {f"good/{name}.gz": gzip.compress(content) for name, content in files.items()}
    mirror.files[f"bad/{MNIST_FILES[0]}.gz"] = b"an error page with status 200"
    monkeypatch.setattr(
        mnist_files, "MNIST_MD5", {name: hashlib.md5(content).hexdigest() for name, content in files.items()}
    )
    monkeypatch.setattr(mnist_files, "MNIST_MIRRORS", (f"{mirror.url}/bad/", f"{mirror.url}/good/"))
    fetch("mnist", quiet=True)
    assert contents(cache / "mnist") == files


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        (None, "404"),
        (b"an error page with status 200", "not the right file"),
        (gzip.compress(idx(np.ones((3,), np.uint8))), "not the right file"),
        (gzip.compress(bytes(1000))[:-9], "ended before"),
        (b"", "not the right file"),
    ],
    # Names of their own: what gzip packs has the second of its packing in it, which differs between workers.
    ids=["missing", "error page", "another file", "cut short", "empty"],
)
def test_fetch_of_a_wrong_file_changes_nothing(
    mirror: Mirror, cache: Path, content: bytes | None, complaint: str
) -> None:
    kept = cache / "mnist" / MNIST_FILES[0]
    kept.parent.mkdir(parents=True)
    kept.write_bytes(b"what was here before")
    if content is not None:
        mirror.files = {f"{MNIST_FILES[0]}.gz": content}
    line = error_line(fetch, "mnist", mirror.url, quiet=True)
    assert f"{mirror.url}/{MNIST_FILES[0]}.gz: " in line
    assert complaint in line
    assert str(cache / "mnist") in line
    assert "another mirror" in line
    assert contents(cache / "mnist") == {MNIST_FILES[0]: b"what was here before"}


def test_fetch_that_is_cut_off_leaves_nothing(mirror: Mirror, cache: Path) -> None:
    mirror.files = {f"{MNIST_FILES[0]}.gz": gzip.compress(bytes(1000))}
    mirror.claimed_length = 5000
    error_line(fetch, "mnist", mirror.url, quiet=True)
    assert contents(cache / "mnist") == {}


def test_fetch_keeps_a_good_file_when_another_fails(
    mnist: dict[str, bytes], mirror: Mirror, cache: Path
) -> None:
    good = cache / "mnist" / MNIST_FILES[0]
    good.parent.mkdir(parents=True)
    good.write_bytes(mnist[MNIST_FILES[0]])
    assert MNIST_FILES[1] in error_line(fetch, "mnist", mirror.url, quiet=True)
    assert contents(cache / "mnist") == {MNIST_FILES[0]: mnist[MNIST_FILES[0]]}


def test_fetch_without_a_connection(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    with socket.socket() as taken:
        # Bound and not listening: nobody else can take the port, and connecting to it is refused.
        taken.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{taken.getsockname()[1]}"
        line = error_line(fetch, "mnist", url, quiet=True)
    assert url in line
    assert "Connection refused" in line
    assert len(line) < 400 + len(str(cache))
    assert contents(cache / "mnist") == {}


@pytest.mark.parametrize("url", ["", "no-scheme", "ftp://127.0.0.1", "http://[::1"])
def test_fetch_refuses_an_invalid_address(url: str) -> None:
    assert f"cannot fetch {url}/{MNIST_FILES[0]}.gz" in error_line(fetch, "mnist", url, quiet=True)


def test_fetch_into_a_cache_that_cannot_be_written(mirror: Mirror, cache: Path) -> None:
    cache.write_text("a file where the folder belongs")
    assert str(cache) in error_line(fetch, "mnist", mirror.url, quiet=True)
    assert mirror.requested == []


def test_fetch_onto_a_full_disk(mirror: Mirror, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    content = idx(np.ones((3,), np.uint8))
    mirror.files = {f"{MNIST_FILES[0]}.gz": gzip.compress(content)}
    monkeypatch.setattr(mnist_files, "MNIST_MD5", {MNIST_FILES[0]: hashlib.md5(content).hexdigest()})

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(Path, "write_bytes", full)
    line = error_line(fetch, "mnist", mirror.url, quiet=True)
    assert "No space left on device" in line
    assert mirror.url in line
    assert contents(cache / "mnist") == {}


def test_fetch_knows_what_can_be_downloaded() -> None:
    with pytest.raises(UsageError, match="Allowed: mnist, cifar10"):
        fetch("digits")
