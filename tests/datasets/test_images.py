from __future__ import annotations

import io
import json
import logging
import os
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from sklearn.datasets import load_digits

from elegans_pyg.datasets import image_sources
from elegans_pyg.datasets.images import ImageData, load_images, stratified_part, stratified_split

IMAGE_ROOT = os.environ.get("ELEGANS_PYG_IMAGES")
BYTES_STRUCT = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
CLASSES = ["cat", "dog", "worm"]


@pytest.fixture(autouse=True)
def _own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("ELEGANS_PYG_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("ELEGANS_PYG_IMAGES", raising=False)


def png(pixels: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()


def random_pixels(count: int, seed: int, shape: tuple[int, ...] = (5, 7)) -> list[np.ndarray]:
    return list(np.random.default_rng(seed).integers(0, 256, (count, *shape), dtype=np.uint8))


def table(encoded, labels, image="image", label="label", kind=BYTES_STRUCT, names=CLASSES):
    if kind == BYTES_STRUCT:
        encoded = [{"bytes": data, "path": None} for data in encoded]
    columns = {image: pa.array(encoded, kind), label: pa.array(labels)}
    made = pa.table(columns)
    if names is not None:
        features = {image: {"_type": "Image"}, label: {"_type": "ClassLabel", "names": names}}
        made = made.replace_schema_metadata({"huggingface": json.dumps({"info": {"features": features}})})
    return made


def parquet_folder(folder: Path, train=None, test=None, **options) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    pixels = random_pixels(12, 0)
    default = ([png(p) for p in pixels[:9]], [0, 1, 2] * 3), ([png(p) for p in pixels[9:]], [2, 0, 1])
    for split, content, usual in (("train", train, default[0]), ("test", test, default[1])):
        pq.write_table(table(*(content or usual), **options), folder / f"{split}.parquet")
    return folder


def expected(pixels: list[np.ndarray]) -> torch.Tensor:
    """(n, C, H, W) from arrays, by a loop that shares nothing with the decoder."""
    made = torch.empty(len(pixels), 1 if pixels[0].ndim == 2 else 3, *pixels[0].shape[:2], dtype=torch.uint8)
    for n, array in enumerate(pixels):
        for channel in range(made.shape[1]):
            made[n, channel] = torch.from_numpy(array if array.ndim == 2 else array[:, :, channel].copy())
    return made


def assert_same(left: ImageData, right: ImageData) -> None:
    for key in ("train_images", "train_labels", "test_images", "test_labels"):
        assert torch.equal(getattr(left, key), getattr(right, key))
    assert (left.classes, left.name) == (right.classes, right.name)


def test_digits_counts_and_pixels():
    data = load_images()
    assert (data.name, data.in_channels, data.image_size, data.num_classes) == ("digits", 1, (8, 8), 10)
    assert (len(data.train_images), len(data.test_images)) == (1438, 359)
    bunch = load_digits()
    both = torch.cat([data.train_labels, data.test_labels])
    assert both.bincount().tolist() == np.bincount(bunch.target).tolist()
    # Every image is there once: compare the multiset of (label, pixels) with scikit-learn's own.
    pixels = torch.cat([data.train_images, data.test_images]).flatten(1).numpy()
    made = sorted(zip(both.tolist(), (tuple(row) for row in pixels.tolist()), strict=True))
    wanted = [[int(np.floor(value * 255 / 16 + 0.5)) for value in row] for row in bunch.data]
    assert made == sorted(zip(bunch.target.tolist(), map(tuple, wanted), strict=True))
    assert data.train_images.max() == 255


def test_digits_split_never_changes():
    data = load_images("digits")
    assert data.test_labels.bincount().tolist() == [36, 36, 35, 37, 36, 36, 36, 36, 35, 36]
    assert int((data.test_images.long().sum((1, 2, 3)) * torch.arange(359)).sum()) == 320566453


@settings(max_examples=40, deadline=None)
@given(st.lists(st.integers(0, 4), min_size=2, max_size=60))
def test_stratified_split_is_a_partition_with_a_fifth_of_every_class(labels):
    array = np.array(labels)
    keys = [f"image-{row}" for row in range(len(labels))]
    counts = np.bincount(array)
    if (counts == 1).any():
        with pytest.raises(ValueError, match="at least 2 images of each class"):
            stratified_split(array, keys)
        return
    train, test = stratified_split(array, keys)
    assert sorted([*train, *test]) == list(range(len(labels)))
    for label in set(labels):
        tested = int((array[test] == label).sum())
        assert 1 <= tested < counts[label]
        assert abs(tested - counts[label] / 5) <= max(0.5, 1 - counts[label] / 5)
    # Which rows are tested follows their keys, not their order.
    back = np.arange(len(labels))[::-1]
    _, reversed_test = stratified_split(array[back], [keys[row] for row in back])
    assert {keys[row] for row in test} == {keys[back[row]] for row in reversed_test}


@settings(max_examples=40, deadline=None)
@given(st.lists(st.integers(0, 4), min_size=1, max_size=60), st.data())
def test_stratified_part_keeps_the_classes_shares(labels, data):
    array = np.array(labels)
    counts = np.bincount(array)
    count = data.draw(st.integers(int((counts > 0).sum()), len(labels)))
    rows = stratified_part(array, count)
    assert len(set(rows.tolist())) == count
    assert rows.tolist() == sorted(rows.tolist())
    kept = np.bincount(array[rows], minlength=len(counts))
    assert (kept[counts > 0] >= 1).all()
    # Of every class the same share, to within one image.
    bound = max((n - 1) / total for n, total in zip(kept, counts, strict=True) if total)
    assert all(n / total >= bound - 1e-9 for n, total in zip(kept, counts, strict=True) if total)
    assert set(rows.tolist()) <= set(stratified_part(array, min(count + 3, len(labels))).tolist())


def test_a_part_of_the_training_images():
    whole, part = load_images("digits"), load_images("digits", train_images=100)
    assert len(part.train_images) == 100
    assert part.train_labels.bincount().tolist() == [10] * 10
    assert int((part.train_images.long().sum((1, 2, 3)) * torch.arange(100)).sum()) == 24742903
    assert torch.equal(part.test_images, whole.test_images)
    assert_same(load_images("digits", train_images=1438), whole)
    for wrong in (9, 1439):
        with pytest.raises(ValueError, match=f"train_images: expected 10 to 1,438 of digits, got {wrong}; change it"):
            load_images("digits", train_images=wrong)
    with pytest.raises(TypeError, match=r"train_images: expected an integer, got 1\.5"):
        load_images("digits", train_images=1.5)


@pytest.mark.parametrize("shape", [(5, 7), (4, 6, 3)])
@pytest.mark.parametrize(
    ("image", "label", "kind"),
    [
        ("image", "label", BYTES_STRUCT),
        ("img", "fine_label", BYTES_STRUCT),
        ("images", "labels", pa.binary()),
        ("image", "label", pa.large_binary()),
    ],
)
def test_parquet_gives_back_the_arrays_it_was_made_from(tmp_path, shape, image, label, kind):
    train, test = random_pixels(9, 1, shape), random_pixels(4, 2, shape)
    labels = [2, 0, 1, 1, 0, 2, 2, 2, 0]
    folder = parquet_folder(
        tmp_path / "mine", ([png(p) for p in train], labels), ([png(p) for p in test], [0, 0, 2, 1]), image=image, label=label, kind=kind
    )
    data = load_images(folder)
    assert torch.equal(data.train_images, expected(train))
    assert torch.equal(data.test_images, expected(test))
    assert data.train_labels.tolist() == labels
    assert data.test_labels.tolist() == [0, 0, 2, 1]
    assert (data.classes, data.name, data.image_size) == (CLASSES, "mine", shape[:2])


@settings(max_examples=15, deadline=None)
@given(st.integers(1, 40), st.integers(1, 9), st.integers(1, 9), st.booleans(), st.integers(1, 7))
def test_decoding_in_tasks_keeps_rows_in_order(count, height, width, colour, rows_per_task):
    pixels = random_pixels(count, 3, (height, width, 3) if colour else (height, width))
    encoded = image_sources.EncodedImages([png(p) for p in pixels], np.zeros(count, dtype=np.int64), [("file", 0)])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(image_sources, "_ROWS_PER_TASK", rows_per_task)
        decoded, layout = image_sources.decode(encoded)
    assert torch.equal(decoded, expected(pixels))
    assert (layout.width, layout.height, layout.mode) == (width, height, "RGB" if colour else "L")


def test_parquet_shards_in_a_hub_clone(tmp_path):
    pixels = random_pixels(6, 4)
    home = tmp_path / "mnist" / "plain_text"
    home.mkdir(parents=True)
    for number in range(2):
        rows = slice(2 * number, 2 * number + 2)
        pq.write_table(table([png(p) for p in pixels[rows]], [number, 2]), home / f"train-{number:05d}-of-00002-0a1b2c3d.parquet")
    pq.write_table(table([png(p) for p in pixels[4:]], [1, 0]), home / "test-00000-of-00001.parquet")
    pq.write_table(table([png(pixels[0])], [1]), home / "validation.parquet")
    data = load_images("mnist", root=tmp_path)
    assert torch.equal(data.train_images, expected(pixels[:4]))
    assert data.train_labels.tolist() == [0, 2, 1, 2]
    assert torch.equal(data.test_images, expected(pixels[4:]))


def test_classes_without_metadata_are_numbers(tmp_path):
    assert load_images(parquet_folder(tmp_path / "plain", names=None)).classes == ["0", "1", "2"]


def test_known_name_is_found_under_root_and_environment(tmp_path, monkeypatch):
    parquet_folder(tmp_path / "root" / "mnist")
    monkeypatch.setitem(sys.modules, "datasets", None)
    by_argument = load_images("mnist", root=tmp_path / "root")
    monkeypatch.setenv("ELEGANS_PYG_IMAGES", str(tmp_path / "root"))
    assert_same(load_images("mnist"), by_argument)
    assert by_argument.name == "mnist"
    assert load_images("digits").name == "digits"


def class_folders(folder: Path, prefix: str, per_class: int, seed: int) -> dict[str, np.ndarray]:
    made = {}
    for number, name in enumerate(CLASSES):
        home = folder / prefix / name
        home.mkdir(parents=True)
        for index, pixels in enumerate(random_pixels(per_class, seed + number)):
            (home / f"{index:02d}.png").write_bytes(png(pixels))
            made[f"{name}/{index:02d}.png"] = pixels
    return made


def test_class_folders_with_train_and_test(tmp_path):
    train = class_folders(tmp_path / "zoo", "train", 3, 10)
    test = class_folders(tmp_path / "zoo", "test", 2, 20)
    (tmp_path / "zoo" / "train" / "cat" / ".DS_Store").write_bytes(b"x")
    data = load_images(str(tmp_path / "zoo"))
    assert torch.equal(data.train_images, expected(list(train.values())))
    assert torch.equal(data.test_images, expected(list(test.values())))
    assert data.train_labels.tolist() == [0, 0, 0, 1, 1, 1, 2, 2, 2]
    assert (data.classes, data.name) == (CLASSES, "zoo")


def test_class_folders_without_split_are_split_by_file_name(tmp_path):
    made = class_folders(tmp_path / "zoo", ".", 10, 30)
    data = load_images(tmp_path / "zoo")
    assert data.train_labels.bincount().tolist() == [8, 8, 8]
    assert data.test_labels.bincount().tolist() == [2, 2, 2]
    by_pixels = {pixels.tobytes(): name.split("/")[0] for name, pixels in made.items()}
    seen = set()
    for pixels, labels in ((data.train_images, data.train_labels), (data.test_images, data.test_labels)):
        for image, label in zip(pixels, labels.tolist(), strict=True):
            assert by_pixels[image[0].numpy().tobytes()] == CLASSES[label]
            seen.add(image[0].numpy().tobytes())
    assert seen == set(by_pixels)
    (tmp_path / "zoo").rename(tmp_path / "moved")
    assert torch.equal(load_images(tmp_path / "moved").test_images, data.test_images)


def test_jpeg_is_decoded_as_pillow_does(tmp_path):
    buffer = io.BytesIO()
    Image.fromarray(random_pixels(1, 5, (8, 8, 3))[0]).save(buffer, "JPEG")
    data = load_images(parquet_folder(tmp_path / "p", ([buffer.getvalue()], [0]), ([buffer.getvalue()], [0])))
    assert torch.equal(data.train_images, expected([np.array(Image.open(buffer))]))


def test_second_load_decodes_nothing(tmp_path, monkeypatch):
    folder = parquet_folder(tmp_path / "mine")
    first = load_images(folder)

    def forbidden(*_):
        raise AssertionError("decoded again")

    with monkeypatch.context() as patch:
        patch.setattr(image_sources, "decode_image", forbidden)
        assert_same(load_images(folder), first)
        os.utime(folder / "test.parquet", ns=(1, 1))
        with pytest.raises(AssertionError, match="decoded again"):
            load_images(folder)
    parquet_folder(folder, test=([png(random_pixels(1, 99)[0])], [1]))
    assert len(load_images(folder).test_images) == 1


def test_cache_folder_follows_argument_then_environment(tmp_path, monkeypatch):
    folder = parquet_folder(tmp_path / "mine")
    load_images(folder, cache=tmp_path / "given")
    load_images(folder)
    monkeypatch.delenv("ELEGANS_PYG_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    load_images(folder)
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    load_images(folder)
    for cache in ("given", "cache", "xdg/elegans_pyg", "home/.cache/elegans_pyg"):
        (file,) = (tmp_path / cache / "images").iterdir()
        assert file.name.startswith("mine-")
        assert file.suffix == ".safetensors"


@pytest.mark.parametrize("damage", ["truncated", "flipped", "empty", "text"])
def test_damaged_cache_is_rebuilt(tmp_path, caplog, damage):
    folder = parquet_folder(tmp_path / "mine")
    first = load_images(folder)
    (file,) = (tmp_path / "cache" / "images").iterdir()
    content = bytearray(file.read_bytes())
    content[-1] ^= 1
    file.write_bytes({"truncated": content[:-3], "flipped": content, "empty": b"", "text": b"not a cache at all"}[damage])
    assert_same(load_images(folder), first)
    assert [record.message.partition(" (")[0] for record in caplog.records] == [f"{file}: unusable image cache is rebuilt"]
    caplog.clear()
    assert_same(load_images(folder), first)
    assert not caplog.records


def test_unwritable_cache_warns_once_and_goes_on(tmp_path, caplog):
    (tmp_path / "file").write_text("")
    data = load_images(parquet_folder(tmp_path / "mine"), cache=tmp_path / "file")
    assert len(data.train_images) == 9
    (record,) = caplog.records
    assert record.levelno == logging.WARNING
    assert "images are not cached" in record.message
    assert "\n" not in record.message


def test_full_disk_warns_and_leaves_no_partial_file(tmp_path, caplog, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    assert len(load_images(parquet_folder(tmp_path / "mine")).train_images) == 9
    assert "No space left on device" in caplog.text
    assert not list((tmp_path / "cache" / "images").iterdir())


GOOD = [png(p) for p in random_pixels(4, 6)]
TEST = (GOOD[:1], [0])


@pytest.mark.parametrize(
    ("train", "options", "message"),
    [
        (([*GOOD[:2], GOOD[2][:40]], [0, 1, 2]), {}, r"train\.parquet, row 2 \(counted from 0\): expected an image, got damaged bytes"),
        (([GOOD[0], b"no image"], [0, 1]), {}, r"row 1 .*damaged bytes \(of no known format\); replace"),
        (([b"", GOOD[0]], [0, 1]), {}, r"row 0 .*damaged bytes"),
        (([GOOD[0], png(np.zeros((5, 8), np.uint8))], [0, 1]), {}, r"row 1 .*expected a 7x5 L image like .*row 0 .*, got 8x5 L"),
        (([GOOD[0], png(np.zeros((5, 7, 3), np.uint8))], [0, 1]), {}, r"row 1 .*expected a 7x5 L image .*got 7x5 RGB"),
        (([png(np.zeros((5, 7, 4), np.uint8))], [0]), {}, r"row 0 .*expected an 8-bit grey \(L\) or RGB image, got mode RGBA; convert"),
        ((GOOD[:3], [0, 3, 1]), {}, r"row 1 .*expected a label from 0 to 2, got 3"),
        ((GOOD[:3], [0, 1, -1]), {}, r"row 2 .*expected a label of 0 or more, got -1"),
        ((GOOD[:3], [0, 1, -1]), {"names": None}, r"row 2 .*expected a label of 0 or more, got -1"),
        ((GOOD[:3], [0, 10**9, 1]), {"names": None}, r"row 1 .*run from 0 without a gap, got 1000000000 but no 2"),
        ((GOOD[:3], [0, None, 1]), {}, r"row 1 .*expected a label, got null"),
        (([GOOD[0], None], [0, 1]), {}, r"row 1 .*expected image bytes, got null"),
        ((GOOD[:2], [0.0, 1.0]), {}, r"train\.parquet: expected whole-number labels, got double"),
        ((GOOD[:2], ["a", "b"]), {}, r"expected whole-number labels, got string"),
        ((GOOD[:2], [0, 1]), {"image": "pixels"}, r"train\.parquet: expected a column named image or img or images, got none"),
        ((GOOD[:2], [0, 1]), {"label": "target"}, r"expected a column named label or labels or fine_label, got none"),
        (([1, 2], [0, 1]), {"kind": pa.int64()}, r"expected image bytes, or a struct with the field 'bytes', got int64"),
        (([], pa.array([], pa.int64())), {}, r"train\.parquet: expected at least one row, got an empty file"),
    ],
)
def test_bad_parquet_content_is_refused(tmp_path, train, options, message):
    test = TEST if options.get("kind") is None else ([1], [0])
    with pytest.raises(ValueError, match=message) as caught:
        load_images(parquet_folder(tmp_path / "bad", train, test, **options))
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "cache").exists()


def test_null_struct_is_a_null_image(tmp_path):
    folder = parquet_folder(tmp_path / "bad")
    pq.write_table(pa.table({"image": pa.array([None], BYTES_STRUCT), "label": [0]}), folder / "test.parquet")
    with pytest.raises(ValueError, match=r"test\.parquet, row 0 .*expected image bytes, got null"):
        load_images(folder)


def test_first_of_several_damaged_images_is_named(tmp_path, monkeypatch):
    monkeypatch.setattr(image_sources, "_ROWS_PER_TASK", 1)
    with pytest.raises(ValueError, match=r"row 1 "):
        load_images(parquet_folder(tmp_path / "bad", ([GOOD[0], *[b"damaged"] * 8], [0] * 9), TEST))


def test_row_is_counted_within_its_shard(tmp_path):
    for number, content in enumerate([GOOD[:2], [GOOD[2], b"damaged"]]):
        pq.write_table(table(content, [0, 1]), tmp_path / f"train-{number:05d}-of-00002.parquet")
    pq.write_table(table(*TEST), tmp_path / "test.parquet")
    with pytest.raises(ValueError, match=r"train-00001-of-00002\.parquet, row 1 "):
        load_images(tmp_path)


def test_test_images_must_be_like_training_images(tmp_path):
    with pytest.raises(ValueError, match=r"test\.parquet, row 0 .*expected a 7x5 L image like .*train\.parquet, row 0.*got 2x2 L"):
        load_images(parquet_folder(tmp_path / "bad", test=([png(np.zeros((2, 2), np.uint8))], [0])))


def test_test_classes_must_be_training_classes(tmp_path):
    folder = parquet_folder(tmp_path / "bad")
    pq.write_table(table(*TEST, names=["dog", "cat", "worm"]), folder / "test.parquet")
    with pytest.raises(ValueError, match=r"test\.parquet: expected the class names of .*train\.parquet, got others"):
        load_images(folder)


@pytest.mark.parametrize("metadata", [b"{", b"[]", b'{"info": {"features": {"pixels": {}}}}'])
def test_unreadable_class_names_are_refused(tmp_path, metadata):
    folder = parquet_folder(tmp_path / "bad")
    pq.write_table(table(*TEST).replace_schema_metadata({"huggingface": metadata}), folder / "test.parquet")
    with pytest.raises(ValueError, match=r"test\.parquet: expected 'huggingface' metadata that describes 'label'"):
        load_images(folder)


@pytest.mark.parametrize("content", ["truncated", "empty", "text"])
def test_unreadable_parquet_is_refused(tmp_path, content):
    file = parquet_folder(tmp_path / "bad") / "train.parquet"
    file.write_bytes({"truncated": file.read_bytes()[:-20], "empty": b"", "text": b"label,image\n0,x.png\n"}[content])
    with pytest.raises(ValueError, match=r"train\.parquet: expected a Parquet file, got an unreadable one \(.*\); copy or fetch it again"):
        load_images(tmp_path / "bad")


@pytest.mark.parametrize("split", ["train", "test"])
def test_missing_split_is_refused(tmp_path, split):
    (parquet_folder(tmp_path / "half") / f"{split}.parquet").unlink()
    with pytest.raises(FileNotFoundError, match=rf"half: expected {split}\.parquet .*, got only (train|test)\.parquet"):
        load_images(tmp_path / "half")
    class_folders(tmp_path / "zoo", {"train": "test", "test": "train"}[split], 2, 0)
    with pytest.raises(FileNotFoundError, match=rf"got (train|test) without {split}; add {split}"):
        load_images(tmp_path / "zoo")


def test_doubtful_sets_of_parquet_files_are_refused(tmp_path):
    folder = parquet_folder(tmp_path / "set")
    shard = folder / "train-00000-of-00002.parquet"
    shard.write_bytes((folder / "train.parquet").read_bytes())
    with pytest.raises(ValueError, match=r"expected one set of train files, got train-00000-of-00002\.parquet, train\.parquet"):
        load_images(folder)
    (folder / "train.parquet").unlink()
    with pytest.raises(FileNotFoundError, match="expected 2 train files, got 1"):
        load_images(folder)
    parquet_folder(tmp_path / "two" / "a")
    parquet_folder(tmp_path / "two" / "b")
    with pytest.raises(ValueError, match="expected Parquet files in one sub-folder, got a, b"):
        load_images(tmp_path / "two")


def test_bad_class_folders_are_refused(tmp_path):
    zoo = tmp_path / "zoo"
    with_stranger = class_folders(zoo, ".", 3, 0)
    assert len(with_stranger) == 9
    (zoo / "cat" / "notes.txt").write_text("x")
    with pytest.raises(ValueError, match=r"notes\.txt: expected an image file \(\.png"):
        load_images(zoo)
    (zoo / "cat" / "notes.txt").unlink()
    (zoo / "dog" / "01.png").write_bytes(GOOD[0][:30])
    with pytest.raises(ValueError, match=r"dog/01\.png: expected an image, got damaged bytes"):
        load_images(zoo)
    (zoo / "dog" / "01.png").write_bytes(GOOD[0])
    (zoo / "eel").mkdir()
    with pytest.raises(ValueError, match="eel: expected images, got an empty class folder"):
        load_images(zoo)
    (zoo / "eel" / "0.png").write_bytes(GOOD[0])
    with pytest.raises(ValueError, match=r"at least 2 images of each class .*, got 1, eel/0\.png"):
        load_images(zoo)
    (tmp_path / "nothing").mkdir()
    with pytest.raises(FileNotFoundError, match="nothing: expected Parquet files or class sub-folders of images, got neither"):
        load_images(tmp_path / "nothing")


def test_test_folder_with_an_unknown_class_is_refused(tmp_path):
    class_folders(tmp_path / "zoo", "train", 2, 0)
    class_folders(tmp_path / "zoo", "test", 2, 0)
    (tmp_path / "zoo" / "test" / "cat").rename(tmp_path / "zoo" / "test" / "eel")
    with pytest.raises(ValueError, match=r"test/eel: expected one of the training classes \(cat, dog, worm\)"):
        load_images(tmp_path / "zoo")


def test_unknown_names_and_folders_are_refused(tmp_path):
    with pytest.raises(ValueError, match=r"name: expected one of digits, mnist, .*cifar100 or a folder, got 'minst'"):
        load_images("minst", root=tmp_path)
    with pytest.raises(ValueError, match="got ''"):
        load_images("")
    with pytest.raises(FileNotFoundError, match="name: expected an existing folder, got"):
        load_images(tmp_path / "absent")
    with pytest.raises(FileNotFoundError, match=r"root: expected a folder of image data sets, got .*absent"):
        load_images("mnist", root=tmp_path / "absent")
    (tmp_path / "file.parquet").write_bytes(b"")
    with pytest.raises(ValueError, match=r"name: expected a folder of images, got the file .*file\.parquet"):
        load_images(tmp_path / "file.parquet")


def test_missing_environment_root_is_named(tmp_path, monkeypatch):
    monkeypatch.setenv("ELEGANS_PYG_IMAGES", str(tmp_path / "absent"))
    with pytest.raises(FileNotFoundError, match="ELEGANS_PYG_IMAGES: expected a folder"):
        load_images("mnist")


def test_missing_extra_is_named(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "PIL.Image", None)
    with pytest.raises(ImportError, match=r"needs 'PIL\.Image'.*pip install 'elegans-pyg\[images\]'"):
        load_images(parquet_folder(tmp_path / "mine"))


class FakeHub:
    """Stands in for the package `datasets`: notes what is asked for, hands out Arrow tables."""

    def __init__(self, tables):
        self.tables, self.asked = tables, []

    def load_dataset(self, path, split):
        self.asked.append((path, split))
        content = self.tables[split]

        class Split:
            def with_format(self, kind):
                assert kind == "arrow"
                return ArrowRows()

        class ArrowRows:
            def __getitem__(self, key):
                assert key == slice(None)
                return content

        return Split()


@pytest.mark.parametrize(
    ("name", "identity", "image", "label"),
    [
        ("mnist", "ylecun/mnist", "image", "label"),
        ("fashion_mnist", "zalando-datasets/fashion_mnist", "image", "label"),
        ("cifar10", "uoft-cs/cifar10", "img", "label"),
        ("cifar100", "uoft-cs/cifar100", "img", "fine_label"),
    ],
)
def test_hub_is_asked_once_for_the_right_set(tmp_path, monkeypatch, name, identity, image, label):
    pixels = random_pixels(5, 8)
    tables = {
        "train": table([png(p) for p in pixels[:3]], [0, 2, 1], image, label),
        "test": table([png(p) for p in pixels[3:]], [1, 1], image, label),
    }
    for split in tables:
        tables[split] = tables[split].append_column("coarse_label", pa.array([7] * len(tables[split])))
    hub = FakeHub(tables)
    monkeypatch.setitem(sys.modules, "datasets", hub)
    data = load_images(name, root=tmp_path)
    assert hub.asked == [(identity, "train"), (identity, "test")]
    assert torch.equal(data.train_images, expected(pixels[:3]))
    assert (data.train_labels.tolist(), data.test_labels.tolist()) == ([0, 2, 1], [1, 1])
    assert (data.classes, data.name) == (CLASSES, name)
    assert_same(load_images(name), data)
    assert len(hub.asked) == 2


def test_bad_hub_row_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "datasets", FakeHub({"train": table(GOOD[:2], [0, 1]), "test": table([b"damaged"], [0])}))
    with pytest.raises(ValueError, match=r"ylecun/mnist\[test\], row 0 .*damaged bytes"):
        load_images("mnist")


def test_hub_without_network_says_how_to_go_on(monkeypatch):
    def load_dataset(path, split):
        raise RuntimeError("Cannot send a request.\nLong explanation")

    monkeypatch.setitem(sys.modules, "datasets", SimpleNamespace(load_dataset=load_dataset))
    with pytest.raises(ConnectionError, match=r"uoft-cs/cifar10: .*\(Cannot send a request\).*root=FOLDER.*FOLDER/cifar10 holds") as caught:
        load_images("cifar10")
    assert "\n" not in str(caught.value)


def test_hub_without_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(ImportError, match=r"fetching 'mnist' from the Hugging Face hub needs 'datasets'.*elegans-pyg\[images\]"):
        load_images("mnist")


@pytest.mark.parametrize(("terminal", "quiet", "shown"), [(True, False, True), (True, True, False), (False, False, False)])
def test_progress_only_after_a_while_on_a_terminal(tmp_path, monkeypatch, capsys, terminal, quiet, shown):
    monkeypatch.setattr("sys.stderr.isatty", lambda: terminal)
    monkeypatch.setenv("TERM", "xterm")
    load_images(parquet_folder(tmp_path / "fast"))
    assert capsys.readouterr().err == ""
    monkeypatch.setattr(image_sources, "_PATIENCE_S", 0.0)
    load_images(parquet_folder(tmp_path / "slow"), quiet=quiet)
    text = capsys.readouterr().err
    assert ("slow: decoding" in text) == shown
    assert shown or text == ""


def image_data(**changes) -> ImageData:
    fields = dict(
        name="toy",
        train_images=torch.zeros(4, 1, 2, 3, dtype=torch.uint8),
        train_labels=torch.tensor([0, 1, 1, 0]),
        test_images=torch.zeros(2, 1, 2, 3, dtype=torch.uint8),
        test_labels=torch.tensor([1, 0]),
        classes=["a", "b"],
    )
    return ImageData(**{**fields, **changes})


@pytest.mark.parametrize(
    "device",
    ["cpu", pytest.param("cuda", marks=[pytest.mark.cuda, pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA GPU")])],
)
def test_image_data_to_moves_every_tensor_and_leaves_the_original(device):
    data = image_data()
    moved = data.to(device)
    assert {getattr(moved, key).device.type for key in ("train_images", "train_labels", "test_images", "test_labels")} == {device}
    assert {getattr(data, key).device.type for key in ("train_images", "train_labels", "test_images", "test_labels")} == {"cpu"}
    assert_same(moved.to("cpu"), data)
    assert repr(data) == "ImageData(toy: 4 train, 2 test, 1x2x3, 2 classes)"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"train_images": torch.zeros(4, 1, 2, 3)},
            r"train_images: expected \(n, C, H, W\) uint8 pixels, got \(4, 1, 2, 3\) torch.float32",
        ),
        ({"test_images": torch.zeros(2, 2, 3, dtype=torch.uint8)}, r"test_images: expected \(n, C, H, W\)"),
        ({"test_images": torch.zeros(0, 1, 2, 3, dtype=torch.uint8)}, r"test_images: expected .* got \(0, 1, 2, 3\)"),
        ({"train_labels": torch.zeros(3, dtype=torch.int64)}, r"train_labels: expected \(4,\) int64"),
        ({"train_labels": torch.zeros(4)}, r"train_labels: expected \(4,\) int64.*torch.float32"),
        ({"test_labels": torch.tensor([0, 2])}, r"test_labels: expected labels from 0 to 1, got 2"),
        ({"test_labels": torch.tensor([0, -1])}, r"test_labels: expected labels from 0 to 1, got -1"),
        ({"test_images": torch.zeros(2, 3, 2, 3, dtype=torch.uint8)}, r"test_images: expected images of \(1, 2, 3\) like train_images"),
    ],
)
def test_image_data_refuses_what_does_not_fit(changes, message):
    with pytest.raises(ValueError, match=message):
        image_data(**changes)


needs_images = pytest.mark.skipif(not IMAGE_ROOT, reason="needs ELEGANS_PYG_IMAGES, a folder with mnist, fashion_mnist and cifar10")


@needs_images
@pytest.mark.parametrize(
    ("name", "shape", "class_counts", "first_class", "means"),
    [
        # Mean pixel of the MNIST test set and channel means of the CIFAR-10 test set, over 255, as commonly published.
        ("mnist", (10000, 1, 28, 28), [980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009], "0", [0.1325]),
        ("cifar10", (10000, 3, 32, 32), [1000] * 10, "airplane", [0.4942, 0.4851, 0.4504]),
    ],
)
def test_published_test_sets(tmp_path, name, shape, class_counts, first_class, means):
    # A few test rows in place of the training file keep this short.
    (tmp_path / name).mkdir()
    (tmp_path / name / "test.parquet").symlink_to(Path(IMAGE_ROOT) / name / "test.parquet")
    pq.write_table(pq.read_table(tmp_path / name / "test.parquet").slice(0, 100), tmp_path / name / "train.parquet")
    data = load_images(name, root=tmp_path)
    assert data.test_images.shape == shape
    assert torch.equal(data.test_images[:100], data.train_images)
    assert data.test_labels.bincount().tolist() == class_counts
    assert (len(data.classes), data.classes[0]) == (10, first_class)
    assert data.test_images.double().mean((0, 2, 3)).div(255).tolist() == pytest.approx(means, abs=0.002)


@pytest.mark.slow
@needs_images
def test_published_fashion_mnist(monkeypatch):
    monkeypatch.setenv("ELEGANS_PYG_IMAGES", IMAGE_ROOT)
    data = load_images("fashion_mnist")
    assert (data.train_images.shape, data.test_images.shape) == ((60000, 1, 28, 28), (10000, 1, 28, 28))
    assert data.train_labels.bincount().tolist() == [6000] * 10
    assert data.test_labels.bincount().tolist() == [1000] * 10
    assert data.train_images.double().mean().item() / 255 == pytest.approx(0.2860, abs=0.0005)
