"""CIFAR-10: the right pixels and labels of its binary batches, and one line for every defect."""

import hashlib
import io
import tarfile
from pathlib import Path

import numpy as np
import pytest

from evofool.datasets import cifar10, fetch, load_dataset
from evofool.errors import EvofoolError
from tests.conftest import Mirror

NAMES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
COUNT = 40


def batch(first_label: int = 0) -> bytes:
    """Records whose labels go round, and whose red, green and blue planes count up from 0, 1 and 2."""
    planes = (np.arange(1024)[None, :] + np.arange(3)[:, None]).astype(np.uint8).tobytes()
    return b"".join(bytes([(first_label + number) % 10]) + planes for number in range(COUNT))


@pytest.fixture
def small(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of two training batches of 40 images."""
    monkeypatch.setattr(cifar10, "_IMAGES", COUNT)
    monkeypatch.setenv("EVOFOOL_DATA", str(tmp_path))
    monkeypatch.setenv("EVOFOOL_CACHE", str(tmp_path / "cache"))
    folder = tmp_path / "cifar10"
    folder.mkdir()
    (folder / "data_batch_2.bin").write_bytes(batch())
    (folder / "data_batch_4.bin").write_bytes(batch(first_label=3))
    (folder / "batches.meta.txt").write_text("\n".join(NAMES) + "\n\n")
    return folder


def test_planes_of_colours_become_pixels(small: Path) -> None:
    loaded = load_dataset("cifar10")
    assert loaded.class_names == NAMES
    assert loaded.train_images.dtype == np.uint8
    image = loaded.train_images[0]
    assert image.shape == (32, 32, 3)
    assert image[0, 0].tolist() == [0, 1, 2]
    assert image[0, 1].tolist() == [1, 2, 3]
    assert image[1, 0].tolist() == [32, 33, 34]


def test_without_test_images_every_tenth_of_a_class_is_held_out(small: Path) -> None:
    loaded = load_dataset("cifar10")
    # Eight of each class, so none has a tenth.
    assert len(loaded.test_labels) == 0
    for number in (1, 3, 5):
        (small / f"data_batch_{number}.bin").write_bytes(batch())
    loaded = load_dataset("cifar10")
    assert np.bincount(loaded.test_labels).tolist() == [2] * 10
    assert np.bincount(loaded.train_labels).tolist() == [18] * 10


def test_with_test_images_none_is_held_out(small: Path) -> None:
    (small / "test_batch.bin").write_bytes(batch(first_label=5))
    loaded = load_dataset("cifar10")
    assert loaded.train_labels.tolist() == [*range(10)] * 4 + [(3 + n) % 10 for n in range(COUNT)]
    assert loaded.test_labels.tolist() == [(5 + n) % 10 for n in range(COUNT)]


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("data_batch_4.bin", batch()[:-1], "data_batch_4.bin is cut off: it has 122919 bytes, not 122920"),
        ("data_batch_4.bin", batch()[: 3073 * 39], "is cut off"),
        ("data_batch_2.bin", batch() + b"\0", "is damaged"),
        ("data_batch_2.bin", b"\x0a" + batch()[1:], "data_batch_2.bin is damaged: its labels go up to 10"),
        ("test_batch.bin", b"", "test_batch.bin is cut off"),
        ("batches.meta.txt", b"cat\ndog\n", "should name 10 classes"),
        ("batches.meta.txt", b"\xff\xfe", "cannot read the class names"),
        ("batches.meta.txt", None, "cannot read the class names"),
    ],
)
def test_damage_names_the_file(small: Path, name: str, content: bytes | None, words: str) -> None:
    (small / name).unlink(missing_ok=True)
    if content is not None:
        (small / name).write_bytes(content)
    with pytest.raises(EvofoolError) as caught:
        load_dataset("cifar10")
    assert words in str(caught.value)
    assert str(small / name) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_missing_says_how_to_get_it(small: Path, tmp_path: Path) -> None:
    for path in small.iterdir():
        path.unlink()
    with pytest.raises(EvofoolError, match="evofool fetch cifar10") as caught:
        load_dataset("cifar10")
    assert str(small) in str(caught.value)
    assert str(tmp_path / "cache" / "cifar10") in str(caught.value)


def test_the_published_batches(data: Path) -> None:
    if not (data / "cifar10" / "data_batch_1.bin").is_file():
        pytest.skip("needs EVOFOOL_DATA with cifar10/")
    loaded = load_dataset("cifar10")
    assert loaded.class_names == NAMES
    # The first of the first batch are a frog, two trucks, a deer and two automobiles.
    assert loaded.train_labels[:6].tolist() == [6, 9, 9, 4, 1, 1]
    assert loaded.train_images[0, 0, 0].tolist() == [59, 62, 63]


# Downloads


def archive(files: dict[str, bytes]) -> bytes:
    content = io.BytesIO()
    with tarfile.open(fileobj=content, mode="w:gz") as tar:
        for name, its in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(its)
            tar.addfile(member, io.BytesIO(its))
        link = tarfile.TarInfo("cifar-10-batches-bin/data_batch_1.bin")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        tar.addfile(link)
    return content.getvalue()


@pytest.fixture
def served(small: Path, mirror: Mirror, monkeypatch: pytest.MonkeyPatch) -> Mirror:
    """A server of an archive in the form of the original one, with other members among them."""
    names = [*(f"data_batch_{number}.bin" for number in range(1, 6)), "test_batch.bin"]
    files = {f"cifar-10-batches-bin/{name}": batch() for name in names}
    files["cifar-10-batches-bin/batches.meta.txt"] = "\n".join(NAMES).encode()
    files["../../outside.bin"] = b"never written"
    files["cifar-10-batches-bin/readme.html"] = b"not asked for"
    _serve(mirror, archive(files), monkeypatch)
    monkeypatch.delenv("EVOFOOL_DATA")
    return mirror


def _serve(mirror: Mirror, content: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cifar10, "CIFAR10_MD5", hashlib.md5(content).hexdigest())
    mirror.files = {"cifar-10-binary.tar.gz": content}


def test_fetch_takes_only_its_files_from_the_archive(served: Mirror, tmp_path: Path) -> None:
    folder = fetch("cifar10", served.url, quiet=True)
    assert folder == tmp_path / "cache" / "cifar10"
    assert sorted(path.name for path in folder.iterdir()) == [
        "batches.meta.txt",
        *(f"data_batch_{number}.bin" for number in range(1, 6)),
        "test_batch.bin",
    ]
    assert (folder / "data_batch_1.bin").read_bytes() == batch()
    assert not list(tmp_path.rglob("outside.bin"))
    assert len(load_dataset("cifar10").train_labels) == 5 * COUNT

    fetch("cifar10", served.url, quiet=True)
    assert len(served.requested) == 1


def test_fetch_of_another_archive_changes_nothing(
    served: Mirror, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    served.files["cifar-10-binary.tar.gz"] += b"\0"
    with pytest.raises(EvofoolError, match="not the right file"):
        fetch("cifar10", served.url, quiet=True)
    _serve(served, archive({"cifar-10-batches-bin/test_batch.bin": batch()}), monkeypatch)
    with pytest.raises(EvofoolError, match=r"the archive lacks data_batch_1.bin, .*batches.meta.txt"):
        fetch("cifar10", served.url, quiet=True)
    assert not list((tmp_path / "cache" / "cifar10").iterdir())
