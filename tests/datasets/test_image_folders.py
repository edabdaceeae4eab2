"""Image folders: which images, in which order, and how they are decoded."""

import os
import pickle
import shutil
import tempfile
from io import BytesIO
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageFile, ImageOps

from dissectbench.datasets.decoding import decode
from dissectbench.datasets.image_folders import FlatFolder, ImageFolder
from dissectbench.datasets.probing_set import Subset
from dissectbench.harness.errors import InputError, UnreadableImageError


def write_image(path, colour=(200, 30, 30), size=(6, 4)):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, colour).save(path)
    return path


@pytest.fixture
def root(tmp_path):
    """Three classes; nine images."""
    for k, name in enumerate(["cat", "dog", "ant"]):
        for i in range(3):
            write_image(tmp_path / "set" / name / f"{i}.png", (80 * k, 20 * i, 0))
    return tmp_path / "set"


def listed(probe):
    return [(probe.locate(i), int(probe.labels[i])) for i in range(len(probe))]


def encoded(image, format_, **options):
    buffer = BytesIO()
    image.save(buffer, format_, **options)
    return buffer.getvalue()


# --- which images, in which order ------------------------------------------------------------------


def test_classes_and_images_are_in_torchvisions_order(tmp_path):
    from torchvision.datasets import ImageFolder as Torchvision

    names = [
        "b/2.png",
        "b/10.PNG",
        "b/z.jpg",
        "B/1.png",
        "a-c/1.png",
        "a/c/1.png",
        "a/d.bmp",
        "a/c-d/1.png",
    ]
    for name in names:
        write_image(tmp_path / name)
    (tmp_path / "a" / "notes.txt").write_text("text")
    ours, theirs = ImageFolder(tmp_path), Torchvision(str(tmp_path))
    assert ours.classes == tuple(theirs.classes)
    assert listed(ours) == theirs.samples


@settings(max_examples=15, deadline=None)
@given(
    st.lists(
        st.lists(st.text("abAB01-_ é.", min_size=1, max_size=3), min_size=1, max_size=3),
        min_size=1,
        max_size=6,
    )
)
def test_the_order_equals_torchvisions_for_all_names(names):
    from torchvision.datasets import ImageFolder as Torchvision

    with tempfile.TemporaryDirectory() as folder:
        for parts in names:
            # A leading letter: names that start with a dot are skipped here, but not by torchvision.
            path = Path(folder, *("x" + part.strip() for part in parts))
            path.mkdir(parents=True, exist_ok=True)
            for parent in [path, *path.parents][: len(parts)]:
                (parent / f"y{parts[-1].strip()}.jpg").touch()
        ours, theirs = ImageFolder(folder), Torchvision(folder)
        assert listed(ours) == theirs.samples


def test_hidden_files_and_folders_are_skipped(root):
    write_image(root / ".cache" / "1.png")
    write_image(root / "cat" / "._0.png")
    probe = ImageFolder(root)
    assert probe.classes == ("ant", "cat", "dog")
    assert len(probe) == 9


def test_a_flat_folder_is_sorted_and_includes_subfolders_only_if_recursive(root):
    write_image(root / "10.png")
    write_image(root / "9.jpg")
    assert FlatFolder(root).paths == ("10.png", "9.jpg")
    assert len(FlatFolder(root, recursive=True)) == 11
    assert FlatFolder(root).classes is None


def test_the_default_name_is_that_of_the_folder(root):
    assert ImageFolder(root).name == "set"
    assert ImageFolder(root, name="pets").name == "pets"


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda p: p / "missing", "no such folder: .*missing"),
        (lambda p: write_image(p / "a.png"), "is a file, not a folder"),
        (lambda p: p, "no class folders"),
        (lambda p: write_image(p / "a.png").parent, "probe=flat"),
        (
            lambda p: (write_image(p / "a" / "1.png"), (p / "b").mkdir(), p)[-1],
            "class folder .*b contains no images",
        ),
    ],
)
def test_a_folder_without_class_folders_is_refused(tmp_path, make, message):
    with pytest.raises(InputError, match=message):
        ImageFolder(make(tmp_path))


def test_an_empty_flat_folder_is_refused_with_a_hint_about_subfolders(root, tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="contains no images") as error:
        FlatFolder(tmp_path / "empty")
    assert error.value.hint is None
    with pytest.raises(InputError, match=r"recursive=true"):
        FlatFolder(root)


def test_a_folder_without_read_permission_is_an_error_and_not_skipped(root, monkeypatch):
    real = os.scandir

    def refuse(path="."):
        if str(path).endswith("dog"):
            raise PermissionError(13, "Permission denied", str(path))
        return real(path)

    monkeypatch.setattr(os, "scandir", refuse)
    with pytest.raises(InputError, match=r"cannot read the folder .*dog: Permission denied"):
        ImageFolder(root)


def test_a_file_name_that_is_not_utf8_is_refused(root):
    try:
        Path(os.fsdecode(os.fsencode(root / "cat") + b"/\xff.png")).touch()
    except OSError:
        pytest.skip("this file system accepts UTF-8 names only")
    with pytest.raises(InputError, match="not valid UTF-8"):
        ImageFolder(root)


# --- names of classes ------------------------------------------------------------------------------


def test_class_names_come_from_a_list_a_file_or_a_mapping(root, tmp_path):
    names = ("emmet", "feline", "canine")
    file = tmp_path / "names.txt"
    file.write_text("\n".join(names))
    mapping = dict(zip(("ant", "cat", "dog"), names, strict=True))
    for class_names in (list(names), str(file), {**mapping, "zebra": "unused"}):
        assert ImageFolder(root, class_names=class_names).classes == names


def test_too_few_class_names_are_refused(root):
    with pytest.raises(InputError, match="1000 names, but there are 3 class folders"):
        ImageFolder(root, class_names="ResNet50_Weights.IMAGENET1K_V2")
    with pytest.raises(InputError, match="no name for the folder 'dog'"):
        ImageFolder(root, class_names={"ant": "emmet", "cat": "feline"})


# --- decoding --------------------------------------------------------------------------------------


def sixteen_bit_pgm(value):
    return b"P5 2 2 65535\n" + value.to_bytes(2, "big") * 4


def palette_with_transparency():
    image = Image.new("P", (2, 2), 1)
    image.putpalette([0, 0, 0, 10, 20, 30])
    return encoded(image, "PNG", transparency=1)


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (encoded(Image.new("RGB", (2, 2), (1, 2, 3)), "PNG"), (1, 2, 3)),
        (encoded(Image.new("L", (2, 2), 77), "PNG"), (77, 77, 77)),
        (encoded(Image.new("1", (2, 2), 1), "PNG"), (255, 255, 255)),
        (encoded(Image.new("RGB", (2, 2), (9, 8, 7)).quantize(4), "PNG"), (9, 8, 7)),
        (encoded(Image.new("CMYK", (2, 2), (0, 255, 255, 0)), "TIFF"), (255, 0, 0)),
        (encoded(Image.new("RGBA", (2, 2), (10, 20, 30, 0)), "PNG"), (255, 255, 255)),
        (encoded(Image.new("RGBA", (2, 2), (10, 20, 30, 255)), "PNG"), (10, 20, 30)),
        (encoded(Image.new("LA", (2, 2), (0, 0)), "PNG"), (255, 255, 255)),
        (palette_with_transparency(), (255, 255, 255)),
        (encoded(Image.fromarray(np.full((2, 2), 0x80FF, np.uint16)), "PNG"), (128, 128, 128)),
        (sixteen_bit_pgm(0x4001), (64, 64, 64)),
    ],
)
def test_every_image_mode_becomes_rgb(content, expected):
    image = decode(content, "x")
    assert image.mode == "RGB"
    assert np.asarray(image).tolist() == [[list(expected)] * 2] * 2


@pytest.mark.parametrize("array", [np.zeros((2, 2), np.float32), np.full((2, 2), 70_000, np.int32)])
def test_greyscale_without_a_defined_white_is_refused(array):
    with pytest.raises(UnreadableImageError, match="no defined white"):
        decode(encoded(Image.fromarray(array), "TIFF"), "x")


def photograph(orientation, format_="PNG", size=(6, 4)):
    """An image file with an orientation in its EXIF data."""
    pixels = np.arange(3 * size[0] * size[1], dtype=np.uint8).reshape(size[1], size[0], 3)
    exif = Image.Exif()
    exif[0x0112] = orientation
    return encoded(Image.fromarray(pixels), format_, exif=exif)


@pytest.mark.parametrize("format_", ["PNG", "TIFF"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_photographs_are_turned_upright_like_in_image_viewers(orientation, format_):
    content = photograph(orientation, format_)
    expected = ImageOps.exif_transpose(Image.open(BytesIO(content))).convert("RGB")
    assert decode(content, "x").tobytes() == expected.tobytes()
    assert decode(content, "x").size == ((4, 6) if orientation > 4 else (6, 4))


def test_jpeg_photographs_are_turned_upright():
    assert decode(photograph(6, "JPEG", (16, 8)), "x").size == (8, 16)


def test_the_stored_pixels_can_be_read(root):
    assert decode(photograph(6), "x", upright=False).size == (6, 4)

    class Stored(ImageFolder):
        upright = False

    (root / "cat" / "1.png").write_bytes(photograph(6))
    upright, stored = ImageFolder(root), Stored(root)
    assert (upright.image(4).size, stored.image(4).size) == ((4, 6), (6, 4))
    assert upright.fingerprint() != stored.fingerprint()


def test_damaged_exif_data_do_not_matter():
    content = photograph(6, "JPEG", (16, 8))
    start = content.index(b"Exif") + 6
    assert decode(content[:start] + b"\xff" * 8 + content[start + 8 :], "x").size == (16, 8)


@pytest.mark.parametrize("size", [(3000, 1), (1, 1), (1, 40)])
def test_images_that_are_too_thin_name_the_file(root, size):
    Image.new("RGB", size).save(root / "cat" / "1.png")
    with pytest.raises(UnreadableImageError, match=rf"1\.png: {size[0]} x {size[1]} pixels are too few"):
        ImageFolder(root).image(4)


@pytest.mark.filterwarnings("error")
def test_large_images_give_no_warning_and_huge_ones_name_the_file(root, monkeypatch):
    Image.new("RGB", (60, 60)).save(root / "cat" / "1.png")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 3000)
    assert ImageFolder(root).image(4).size == (60, 60)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1000)
    with pytest.raises(UnreadableImageError, match=r"1\.png: it has more pixels than 2,000"):
        ImageFolder(root).image(4)


NOISE = Image.fromarray(np.random.default_rng(0).integers(0, 256, (40, 50, 3), dtype=np.uint8))


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "not an image file"),
        (b"this is text", "not an image file"),
        (encoded(NOISE, "JPEG")[:1500], "truncated"),
        (encoded(NOISE, "PNG")[:1500], "truncated|incomplete|broken"),
    ],
    ids=["empty", "text", "truncated JPEG", "truncated PNG"],
)
def test_the_error_for_an_undecodable_image_names_the_file(root, monkeypatch, content, reason):
    monkeypatch.setattr(ImageFile, "LOAD_TRUNCATED_IMAGES", True)  # as some libraries set it
    (root / "cat" / "1.png").write_bytes(content)
    probe = ImageFolder(root)
    with pytest.raises(UnreadableImageError, match=reason) as error:
        probe.image(4)
    assert error.value.path == str(root / "cat" / "1.png")
    assert "on_error=skip" in str(error.value)
    assert probe.image(3).size == (6, 4)


@pytest.mark.filterwarnings("ignore::UserWarning")
@settings(max_examples=60, deadline=None)
@given(st.sampled_from(["JPEG", "PNG", "BMP", "TIFF", "WEBP"]), st.data())
def test_a_damaged_file_decodes_or_raises_the_documented_error(format_, data):
    content = bytearray(encoded(NOISE, format_, **({"lossless": True} if format_ == "WEBP" else {})))
    for position in data.draw(st.lists(st.integers(0, len(content) - 1), max_size=3)):
        content[position] = data.draw(st.integers(0, 255))
    cut = bytes(content[: data.draw(st.integers(0, len(content)))])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Image, "MAX_IMAGE_PIXELS", 10_000)  # a damaged header can claim gigabytes
        try:
            image = decode(cut, "x")
        except UnreadableImageError:
            return
    assert image.mode == "RGB"


@pytest.mark.parametrize("format_", ["JPEG", "PNG", "BMP"])
@settings(max_examples=25, deadline=None)
@given(data=st.data())
def test_a_truncated_file_is_refused_unless_all_pixels_are_present(format_, data):
    content = encoded(NOISE, format_)
    cut = content[: data.draw(st.integers(0, len(content) - 1))]
    try:
        image = decode(cut, "x")
    except UnreadableImageError:
        return
    assert image.tobytes() == decode(content, "x").tobytes()


def test_a_deleted_image_is_unreadable(root):
    probe = ImageFolder(root)
    (root / "ant" / "0.png").unlink()
    with pytest.raises(UnreadableImageError, match="no such file"):
        probe.image(0)


# --- fingerprints ----------------------------------------------------------------------------------


def test_a_copy_of_the_folder_has_the_same_fingerprint(root, tmp_path):
    shutil.copytree(root, tmp_path / "copy")  # keeps modification times
    for identity in ("stat", "content"):
        original = ImageFolder(root, identity=identity).fingerprint()
        assert original == ImageFolder(tmp_path / "copy", identity=identity).fingerprint()


@pytest.mark.parametrize(
    ("change", "differs"),
    [
        (lambda p: os.utime(p, ns=(0, 1)), {"stat": True, "content": False}),
        (lambda p: write_image(p, (1, 2, 3)), {"stat": True, "content": True}),
        (lambda p: p.rename(p.with_name("z.png")), {"stat": True, "content": True}),
        (lambda p: p.unlink(), {"stat": True, "content": True}),
    ],
    ids=["touched", "rewritten", "renamed", "removed"],
)
def test_the_fingerprint_depends_on_the_files(root, change, differs):
    before = {identity: ImageFolder(root, identity=identity).fingerprint() for identity in differs}
    change(root / "cat" / "1.png")
    after = {identity: ImageFolder(root, identity=identity).fingerprint() for identity in differs}
    assert {identity: before[identity] != after[identity] for identity in differs} == differs


def test_an_unknown_identity_is_refused(root):
    with pytest.raises(InputError, match="did you mean content"):
        ImageFolder(root, identity="contents").fingerprint()  # pyright: ignore[reportArgumentType]


# --- limit and seed --------------------------------------------------------------------------------


def test_a_limit_takes_a_seeded_choice_in_order_and_smaller_choices_are_subsets(root):
    chosen = [ImageFolder(root, limit=n, seed=3).paths for n in range(1, 10)]
    assert [len(paths) for paths in chosen] == list(range(1, 10))
    for fewer, more in pairwise(chosen):
        assert set(fewer) < set(more)
        assert list(more) == sorted(more)
    assert chosen[3] == ImageFolder(root, limit=4, seed=3).paths
    assert len({ImageFolder(root, limit=3, seed=s).paths for s in range(20)}) > 10


def test_a_limit_selects_labels_but_keeps_all_classes(root):
    probe = ImageFolder(root, limit=4, seed=1)
    assert probe.classes is not None
    assert len(probe.classes) == 3
    assert [probe.classes[label] for _, label in listed(probe)] == [p.split("/")[0] for p in probe.paths]


def test_without_a_seed_the_first_images_are_taken(root):
    assert FlatFolder(root / "cat", limit=2, seed=None).paths == ("0.png", "1.png")
    assert len(FlatFolder(root / "cat", limit=99)) == 3


@pytest.mark.parametrize("limit", [0, -1, 1.5, True, "ten"])
def test_a_limit_must_be_a_positive_integer(root, limit):
    with pytest.raises(InputError, match="limit must be a positive integer"):
        ImageFolder(root, limit=limit)


# --- pickling and subsets --------------------------------------------------------------------------


def test_a_set_can_be_pickled_with_its_annotations(root):
    probe = ImageFolder(root, ["classes", "colours"])
    copy = pickle.loads(pickle.dumps(probe))
    assert copy.fingerprint() == probe.fingerprint()
    assert copy.image(5).tobytes() == probe.image(5).tobytes()
    assert copy.annotations is not None
    assert probe.annotations is not None
    assert copy.annotations.of(5).planes.tolist() == probe.annotations.of(5).planes.tolist()


def test_a_subset_selects_labels_and_annotations(root):
    probe = ImageFolder(root, "classes")
    subset = Subset(probe, [0, 4, 8])
    assert subset.labels is not None
    assert subset.annotations is not None
    assert subset.labels.tolist() == [0, 1, 2]
    assert [subset.annotations.of(i).whole for i in range(3)] == [(1,), (2,), (3,)]
