import shutil

import numpy as np
import pytest
from PIL import Image, ImageOps

from autostudent.data.datasets import load
from autostudent.data.folders import size_of
from autostudent.errors import ConfigError, DataError


def write(folder, count, size=(12, 10), mode="RGB", seed=0):
    rng = np.random.default_rng(seed)
    folder.mkdir(parents=True, exist_ok=True)
    for number in range(count):
        shape = (size[1], size[0]) if mode == "L" else (size[1], size[0], 3)
        Image.fromarray(rng.integers(0, 256, shape, dtype=np.uint8)).save(folder / f"{number:03}.png")


def test_sub_folders_are_classes(tmp_path):
    write(tmp_path / "cat", 20)
    write(tmp_path / "dog", 10, seed=1)
    write(tmp_path / ".hidden", 3)
    data = load({"images": str(tmp_path)})
    assert data.classes == ("cat", "dog")
    assert data.shape == (3, 10, 12)
    assert (len(data.train), len(data.validation), len(data.test)) == (19, 5, 6)
    first = np.asarray(Image.open(tmp_path / "cat" / "000.png"))
    place = next(
        (part, i)
        for part in (data.train, data.validation, data.test)
        for i in range(len(part))
        if int(part.index[i]) == 0
    )
    assert np.array_equal(place[0].x[place[1]].numpy().transpose(1, 2, 0), first)


def test_the_most_common_size_wins_and_is_capped(tmp_path):
    write(tmp_path / "a", 6, (12, 10))
    write(tmp_path / "b", 9, (200, 100), mode="L")
    assert load({"images": str(tmp_path)}).shape == (3, 32, 64)
    assert load({"images": str(tmp_path), "size": 16}).shape == (3, 16, 16)
    assert load({"images": str(tmp_path), "size": [8, 16]}).shape == (3, 8, 16)
    with pytest.raises(ConfigError, match="size"):
        load({"images": str(tmp_path), "size": 2})


def test_train_and_test_folders(tmp_path):
    for part, count in (("train", 10), ("test", 4), ("val", 3)):
        for name in ("a", "b"):
            write(tmp_path / part / name, count)
    data = load({"images": str(tmp_path)})
    assert (len(data.train), len(data.validation), len(data.test)) == (20, 6, 8)
    write(tmp_path / "test" / "c", 1)
    with pytest.raises(DataError, match="has classes"):
        load({"images": str(tmp_path)})


def test_sixteen_bits_are_scaled_and_thirty_two_refused(tmp_path):
    """Pillow's own conversion clips: nearly every pixel would be white."""
    deep = np.random.default_rng(0).integers(0, 2**16, (8, 8), dtype=np.uint16)
    for name in ("a", "b"):
        write(tmp_path / name, 6, (8, 8))
        Image.fromarray(deep).save(tmp_path / name / "deep.png")
    data = load({"images": str(tmp_path), "test": 1, "validation": 1, "meta": 0})
    found = [part.x[i] for part in (data.train, data.validation, data.test) for i in range(len(part))]
    assert any(np.array_equal(x[0].numpy(), np.rint(deep / 257)) and (x[0] == x[2]).all() for x in found)
    Image.fromarray(deep.astype(np.float32)).save(tmp_path / "a" / "deep.tiff")
    with pytest.raises(DataError, match=r"deep\.tiff is not a readable picture \(32 bits a pixel"):
        load({"images": str(tmp_path)})


def test_one_validation_folder_and_no_share_beside_it(tmp_path):
    for part in ("train", "validation"):
        for name in ("a", "b"):
            write(tmp_path / part / name, 10)
    with pytest.raises(ConfigError, match="its own validation split"):
        load({"images": str(tmp_path), "validation": 0.3})
    for name in ("val", "valid", "VALID"):
        write(tmp_path / name / "a", 1)
        with pytest.raises(DataError, match=r"both \w+ and \w+; one of them"):
            load({"images": str(tmp_path)})
        shutil.rmtree(tmp_path / name)
    write(tmp_path / "Train" / "a", 1)
    with pytest.raises(DataError, match="both Train and train; one of them"):
        load({"images": str(tmp_path)})


def laid_out(folder, *names):
    for name in names:
        for label in ("a", "b"):
            write(folder / name / label, 10)
    return {"images": str(folder)}


def test_splits_by_other_names(tmp_path):
    data = load(laid_out(tmp_path / "one", "Train", "VALID", "Test"))
    assert data.classes == ("a", "b")
    assert (len(data.train), len(data.validation), len(data.test)) == (20, 20, 20)
    data = load(laid_out(tmp_path / "two", "train", "valid"))
    assert (len(data.train), len(data.validation), len(data.test)) == (16, 20, 4)


@pytest.mark.parametrize("names", [("Training", "Testing"), ("training", "validation", "testing"), ("train", "dev")])
def test_splits_by_longer_names(tmp_path, names):
    data = load(laid_out(tmp_path, *names))
    assert data.classes == ("a", "b")
    assert len(data.validation) == (20 if len(names) == 3 or "dev" in names else 4)


def test_grey_pictures_stay_grey_and_are_not_mirrored(tmp_path):
    for part in ("train", "test"):
        for name in ("a", "b"):
            write(tmp_path / part / name, 10, mode="L")
    data = load({"images": str(tmp_path)})
    assert data.shape == (1, 10, 12)
    assert not data.augment.flip
    write(tmp_path / "test" / "a", 10)  # in colours: what is trained on decides
    assert load({"images": str(tmp_path)}).test.x.shape[1] == 1
    write(tmp_path / "train" / "a", 1)
    data = load({"images": str(tmp_path)})
    assert data.shape == (3, 10, 12)
    assert data.augment.flip


def test_copies_in_hidden_folders_are_passed_over_and_links_followed(tmp_path):
    for name in ("a", "b"):
        write(tmp_path / "data" / name, 10)
    before = load({"images": str(tmp_path / "data")}).fingerprint
    shutil.copytree(tmp_path / "data" / "a", tmp_path / "data" / "a" / ".ipynb_checkpoints")
    (tmp_path / "data" / "a" / "round").symlink_to(tmp_path / "data" / "a")
    assert load({"images": str(tmp_path / "data")}).fingerprint == before
    (tmp_path / "data" / "a" / "up").symlink_to(tmp_path / "data")
    (tmp_path / "data" / "a" / "others").symlink_to(tmp_path / "data" / "b")
    assert load({"images": str(tmp_path / "data")}).fingerprint == before
    write(tmp_path / "more", 5, seed=2)
    (tmp_path / "data" / "a" / "more").symlink_to(tmp_path / "more")
    data = load({"images": str(tmp_path / "data")})
    assert len(data.train) + len(data.validation) + len(data.test) == 25


def test_pictures_are_turned_upright(tmp_path):
    """A phone stores a portrait lying, and says so beside it."""
    upright = np.random.default_rng(9).integers(0, 256, (12, 8, 3), dtype=np.uint8)
    for name in ("a", "b"):
        write(tmp_path / name, 5, (8, 12))
    Image.fromarray(upright).save(tmp_path / "a" / "plain.tiff")
    lying = Image.fromarray(upright).transpose(Image.Transpose.ROTATE_90)
    told = Image.Exif()
    told[0x0112] = 6
    lying.save(tmp_path / "b" / "lying.tiff", exif=told)
    data = load({"images": str(tmp_path), "test": 1, "validation": 1, "meta": 0})
    assert data.shape == (3, 12, 8)
    found = [part.x[i] for part in (data.train, data.validation, data.test) for i in range(len(part))]
    assert sum(np.array_equal(x.numpy().transpose(1, 2, 0), upright) for x in found) == 2


@pytest.mark.parametrize("way", range(1, 9))
def test_a_size_is_that_of_the_upright_picture(tmp_path, way):
    told = Image.Exif()
    told[0x0112] = way
    Image.new("RGB", (12, 8)).save(tmp_path / "one.jpg", exif=told)
    image = Image.open(tmp_path / "one.jpg")
    assert size_of(image) == ImageOps.exif_transpose(image).size == ((8, 12) if way > 4 else (12, 8))


def test_high_pictures_among_wide_ones_are_brought_to_their_size(tmp_path):
    write(tmp_path / "a", 10, (12, 10))
    write(tmp_path / "b", 9, (10, 12))
    assert load({"images": str(tmp_path)}).shape == (3, 10, 12)


def test_what_is_transparent_shows_white(tmp_path):
    hidden = np.random.default_rng(0).integers(0, 256, (8, 8, 4), dtype=np.uint8)
    hidden[..., 3] = 0
    hidden[0, 0] = (1, 2, 3, 255)
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        for number in range(6):
            Image.fromarray(hidden).save(tmp_path / name / f"{number}.png")
    x = load({"images": str(tmp_path)}).train.x[0].numpy()
    assert x[:, 0, 0].tolist() == [1, 2, 3]
    assert (x[:, 1:] == 255).all()


def test_a_split_is_no_class(tmp_path):
    spec = laid_out(tmp_path, "train", "test", "unlabelled")
    told = "folders test, train, unlabelled; expected train, training, val, .*, testing and nothing else, or one"
    with pytest.raises(DataError, match=told) as caught:
        load(spec)
    assert "\n" not in str(caught.value)


def test_a_class_may_be_called_train(tmp_path):
    for name in ("bus", "car", "train"):
        write(tmp_path / name, 10)
    assert load({"images": str(tmp_path)}).classes == ("bus", "car", "train")


def test_what_is_no_picture_is_passed_over(tmp_path):
    for name in ("a", "b"):
        write(tmp_path / name, 10)
    before = load({"images": str(tmp_path)}).fingerprint
    (tmp_path / "a" / "._001.png").write_bytes(b"what a Mac leaves beside a picture")
    (tmp_path / "a" / "folder.png").mkdir()
    (tmp_path / "a" / "gone.png").symlink_to(tmp_path / "nowhere.png")
    assert load({"images": str(tmp_path)}).fingerprint == before


def test_unfit_folders_are_refused(tmp_path):
    with pytest.raises(DataError, match="no folder"):
        load({"images": str(tmp_path / "absent")})
    write(tmp_path / "a", 5)
    with pytest.raises(DataError, match="1 class sub-folders"):
        load({"images": str(tmp_path)})
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "notes.txt").write_text("no picture")
    with pytest.raises(DataError, match="b holds no picture"):
        load({"images": str(tmp_path)})
    write(tmp_path / "b", 5)
    (tmp_path / "b" / "001.png").write_bytes(b"not a picture")
    with pytest.raises(DataError, match=r"001\.png is not a readable picture"):
        load({"images": str(tmp_path)})
    whole = (tmp_path / "b" / "002.png").read_bytes()
    (tmp_path / "b" / "001.png").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(DataError, match=r"001\.png is not a readable picture"):
        load({"images": str(tmp_path)})
