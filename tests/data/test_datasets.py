import pickle

import numpy as np
import pytest
import torch
from PIL import Image

from autostudent.data.datasets import load
from autostudent.errors import ConfigError, DataError


def save(path, samples=90, classes=3, shape=(6, 5), test=True, **change):
    rng = np.random.default_rng(0)
    arrays = {
        "x_train": rng.integers(0, 256, (samples, *shape), dtype=np.uint8),
        "y_train": np.arange(samples) % classes,
    }
    if test:
        arrays |= {"x_test": rng.integers(0, 256, (30, *shape), dtype=np.uint8), "y_test": np.arange(30) % classes}
    arrays |= change
    np.savez(path, **{name: array for name, array in arrays.items() if array is not None})
    return {"npz": str(path)}


def test_digits_are_split_once_and_for_all():
    data = load({"name": "digits"})
    assert (len(data.train), len(data.validation), len(data.test), len(data.meta)) == (1150, 288, 359, 115)
    assert data.shape == (1, 8, 8)
    assert data.classes == tuple("0123456789")
    places = torch.cat([data.train.index, data.validation.index, data.test.index])
    assert sorted(places.tolist()) == list(range(1797))
    assert int(data.train.x.max()) == 255
    assert load({"name": "digits"}).fingerprint == data.fingerprint
    assert load({"name": "digits", "seed": 1}).fingerprint != data.fingerprint


def test_the_input_is_what_an_architecture_fits():
    shape = load({"name": "digits"}).input
    assert (shape.channels, shape.height, shape.width, shape.classes) == (1, 8, 8, 10)


def test_every_split_keeps_the_class_shares():
    data = load({"name": "digits"})
    for part in (data.train, data.validation, data.test):
        counts = torch.bincount(part.y, minlength=10) / len(part)
        assert float((counts - 0.1).abs().max()) < 0.012
    assert set(data.train.y[data.meta].tolist()) == set(range(10))


def test_moments_are_those_of_the_training_pixels():
    data = load({"name": "digits"})
    pixels = data.train.x.double() / 255
    assert data.mean[0] == pytest.approx(float(pixels.mean()), abs=1e-6)
    assert data.std[0] == pytest.approx(float(pixels.std(unbiased=False)), abs=1e-6)


def test_npz_in_both_layouts(tmp_path):
    grey, colour = load(save(tmp_path / "a.npz")), load(save(tmp_path / "b.npz", shape=(6, 5, 3)))
    assert grey.shape == (1, 6, 5)
    assert colour.shape == (3, 6, 5)
    stored = np.load(tmp_path / "b.npz")
    assert np.array_equal(colour.train.x[0].numpy().transpose(1, 2, 0), stored["x_train"][int(colour.train.index[0])])
    assert len(colour.mean) == 3
    assert len(colour.test) == 30


def test_the_test_split_is_read_when_asked_for_only(tmp_path):
    data = load(save(tmp_path / "a.npz"))
    (tmp_path / "a.npz").unlink()
    assert data.fingerprint
    with pytest.raises(DataError, match="no file"):
        data.test  # noqa: B018


def test_pixels_of_the_test_split_are_not_read_to_look_at_it(tmp_path):
    """One more axis is no other shape, and a torn picture is found when pictures are read."""
    pictures = np.full((900, 6, 5, 1), 77, np.uint8)
    spec = save(tmp_path / "a.npz", x_test=pictures, y_test=np.arange(900) % 3)
    assert load(spec).test.x.shape == (900, 1, 6, 5)
    whole = (tmp_path / "a.npz").read_bytes()
    (tmp_path / "a.npz").write_bytes(whole.replace(bytes([77]) * 27_000, bytes([78]) * 27_000))
    data = load(spec)
    with pytest.raises(DataError, match="Bad CRC-32"):
        data.test  # noqa: B018


def test_two_pictures_of_a_class_are_enough_where_one_of_them_is_left(tmp_path):
    labels = np.arange(90) % 2
    labels[:2] = 2
    data = load(save(tmp_path / "a.npz", y_train=labels))
    assert 1 <= int((data.train.y == 2).sum()) <= 2


def test_without_a_test_split_one_is_cut(tmp_path):
    data = load({**save(tmp_path / "a.npz", test=False), "test": 20, "validation": 0.5})
    assert (len(data.test), len(data.validation), len(data.train)) == (20, 35, 35)


def test_a_validation_split_of_its_own(tmp_path):
    own = np.full((12, 6, 5), 9, np.uint8)
    spec = save(tmp_path / "a.npz", x_validation=own, y_validation=np.arange(12) % 3)
    data = load(spec)
    assert (len(data.train), len(data.validation)) == (90, 12)
    assert (data.validation.x == 9).all()
    assert data.validation.y.tolist() == [0, 1, 2] * 4
    with pytest.raises(ConfigError, match=r"data\.validation: .*this source has its own validation split"):
        load({**spec, "validation": 0.2})
    with pytest.raises(DataError, match=r"has x_validation alone; expected x_validation and y_validation, or neither"):
        load(save(tmp_path / "b.npz", x_validation=own))
    with pytest.raises(DataError, match=r"validation split: pictures are .* \(1, 5, 6\); expected \(1, 6, 5\)"):
        load(save(tmp_path / "c.npz", x_validation=own.reshape(12, 5, 6), y_validation=np.arange(12) % 3))


def test_class_names_and_limit(tmp_path):
    names = np.array(["cat", "dog", "eel"])
    data = load({**save(tmp_path / "a.npz", class_names=names), "limit": 60, "validation": 0.25, "meta": 9})
    assert data.classes == ("cat", "dog", "eel")
    assert (len(data.train), len(data.validation), len(data.meta)) == (45, 15, 9)


def test_a_changed_pixel_changes_the_fingerprint(tmp_path):
    before = load(save(tmp_path / "a.npz")).fingerprint
    pixels = np.load(tmp_path / "a.npz")["x_train"].copy()
    pixels[3, 2, 1] ^= 1
    assert load(save(tmp_path / "a.npz", x_train=pixels)).fingerprint != before


def test_the_spec_makes_the_same_again(tmp_path):
    data = load({**save(tmp_path / "a.npz"), "augment": {"flip": True}}, seed=4)
    again = load(pickle.loads(pickle.dumps(dict(data.spec))))
    assert again.fingerprint == data.fingerprint
    assert again.augment == data.augment
    assert data.augment.flip


def test_torchvision_by_name(tmp_path):
    options = {"size": 60, "image_size": (3, 12, 12), "num_classes": 3}
    data = load({"torchvision": "FakeData", "options": options})
    assert data.shape == (3, 12, 12)
    assert len(data.train) + len(data.validation) + len(data.test) == 60
    assert load({"torchvision": "FakeData", "options": options, "size": 8}).shape == (3, 8, 8)


def test_torchvision_test_pictures_take_the_size_of_training_pictures(tmp_path):
    for split, size in (("train", (12, 10)), ("test", (20, 16))):
        for name in ("AD", "BE"):
            folder = tmp_path / "country211" / split / name
            folder.mkdir(parents=True)
            for number in range(8):
                Image.new("RGB", size, (30 * number, 0, 0)).save(folder / f"{number}.png")
    data = load({"torchvision": "Country211", "root": str(tmp_path)})
    assert data.shape == (3, 10, 12)
    assert data.test.x.shape == (16, 3, 10, 12)


def imagenette(root, split="val"):
    rng = np.random.default_rng(0)
    for part, count in (("train", 20), (split, 6)):
        for name in ("n01440764", "n02102040"):
            folder = root / "imagenette2" / part / name
            folder.mkdir(parents=True)
            for number in range(count):
                Image.fromarray(rng.integers(0, 256, (12, 10, 3), dtype=np.uint8)).save(folder / f"{number}.JPEG")
    return {"torchvision": "Imagenette", "root": str(root)}


def test_torchvision_sets_that_call_the_test_split_val(tmp_path):
    data = load(imagenette(tmp_path))
    assert data.classes[:2] == ("tench, Tinca tinca", "English springer, English springer spaniel")
    assert (len(data.train) + len(data.validation), len(data.test)) == (40, 12)


def test_a_torn_picture_of_torchvision_is_named(tmp_path):
    spec = imagenette(tmp_path)
    whole = tmp_path / "imagenette2" / "train" / "n01440764" / "3.JPEG"
    whole.write_bytes(b"torn")
    with pytest.raises(DataError, match=r"Imagenette cannot be read: .*3\.JPEG"):
        load(spec)


def test_a_test_split_without_labels_is_refused_at_once(tmp_path):
    folder = tmp_path / "fer2013"
    folder.mkdir()
    pixels = " ".join(["0"] * 2304)
    for name, head, row in (("train", "emotion,pixels", f'0,"{pixels}"'), ("test", "pixels", f'"{pixels}"')):
        (folder / f"{name}.csv").write_text("\n".join([head, *[row] * 8]))
    told = r"the test split of FER2013 has no labels; data\.options: \{split: train\}"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("torchvision.datasets.fer2013.check_integrity", lambda *given, **named: True)
        with pytest.raises(DataError, match=told):
            load({"torchvision": "FER2013", "root": str(tmp_path)})


def write_idx(path, array):
    """A file in the format of MNIST: magic number, big-endian sizes, bytes."""
    header = bytes([0, 0, 8, array.ndim]) + b"".join(int(n).to_bytes(4, "big") for n in array.shape)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(header + array.astype(np.uint8).tobytes())


def test_torchvision_with_its_own_test_split(tmp_path):
    rng, raw = np.random.default_rng(0), tmp_path / "FashionMNIST" / "raw"
    for part, samples in (("train", 50), ("t10k", 20)):
        write_idx(raw / f"{part}-images-idx3-ubyte", rng.integers(0, 256, (samples, 28, 28)))
        write_idx(raw / f"{part}-labels-idx1-ubyte", np.arange(samples) % 10)
    data = load({"torchvision": "FashionMNIST", "root": str(tmp_path)})
    assert data.shape == (1, 28, 28)
    assert (len(data.train) + len(data.validation), len(data.test)) == (50, 20)
    assert data.classes[9] == "Ankle boot"


def test_sets_that_hand_options_to_their_parents(tmp_path, monkeypatch):
    """EMNIST takes ``train`` and ``download`` for MNIST, and its letters count from one."""
    rng, raw = np.random.default_rng(0), tmp_path / "EMNIST" / "raw"
    for split, first, classes in (("letters", 1, 26), ("digits", 0, 10)):
        for part, samples in (("train", 156), ("test", 52)):
            write_idx(raw / f"emnist-{split}-{part}-images-idx3-ubyte", rng.integers(0, 256, (samples, 28, 28)))
            write_idx(raw / f"emnist-{split}-{part}-labels-idx1-ubyte", np.arange(samples) % classes + first)
    for split, classes in (("letters", 26), ("digits", 10)):
        data = load({"torchvision": "EMNIST", "root": str(tmp_path), "options": {"split": split}})
        assert (len(data.classes), data.classes[0]) == (classes, "a" if split == "letters" else "0")
        assert (len(data.train) + len(data.validation), len(data.test)) == (156, 52)
        assert sorted(set(data.test.y.tolist())) == list(range(classes))
    fetched = []
    monkeypatch.setattr("torchvision.datasets.QMNIST.download", lambda self: fetched.append(self.root))
    with pytest.raises(DataError, match="QMNIST cannot be opened"):
        load({"torchvision": "QMNIST", "root": str(tmp_path), "download": True})
    assert fetched == [str(tmp_path)]


BAD_ARRAYS = {
    "pictures are float32": {"x_train": np.zeros((90, 6, 5), np.float32)},
    "pictures have shape": {"x_train": np.zeros((90, 3, 6, 5), np.uint8)},
    "labels are int64 of shape": {"y_train": np.arange(80) % 3},
    "labels are float64": {"y_train": np.arange(90) / 2},
    "labels are -1, 0, 1; expected every number from 0 to 2": {"y_train": np.arange(90) % 3 - 1},
    "labels are 0, 2, 4; expected every number from 0 to 2": {"y_train": np.arange(90) % 3 * 2},
    "labels are 1, 2, .*, 10, …, 30; expected every number from 0 to 29": {"y_train": np.arange(90) % 30 + 1},
    "labels run from 1 to 3": {"y_train": np.arange(90) % 3 + 1, "class_names": np.array(["a", "b", "c"])},
    "labels run from 0 to 2": {"class_names": np.array(["a", "b"])},
    "class_names of .* has shape": {"class_names": np.array("abc")},
    "one class only": {"y_train": np.zeros(90, int)},
    "no array 'x_train'": {"x_train": None},
    "no training picture of class 'b' is left; each class needs one after all cuts": {
        "y_train": np.arange(90) % 2 * 2,
        "class_names": np.array(["a", "b", "c"]),
    },
    "class_names of .* holds 'a' twice": {"class_names": np.array(["a", "b", "a"])},
    "has x_test alone": {"y_test": None},
    "has y_test alone": {"x_test": None},
    "test split: there are no pictures": {"x_test": np.zeros((0, 6, 5), np.uint8), "y_test": np.zeros(0, int)},
    "test split: pictures are float64": {"x_test": np.zeros((30, 6, 5))},
    r"test split: pictures are .* \(1, 5, 6\); expected \(1, 6, 5\)": {"x_test": np.zeros((30, 5, 6), np.uint8)},
    r"test split: pictures are .* \(3, 6, 5\); expected": {"x_test": np.zeros((30, 6, 5, 3), np.uint8)},
    "test split: labels are int64 of shape": {"y_test": np.arange(29) % 3},
    "test split: labels run from 1 to 3; expected 0 to 2": {"y_test": np.arange(30) % 3 + 1},
    "there are no pictures": {"x_train": np.zeros((0, 6, 5), np.uint8), "y_train": np.zeros(0, int)},
}


@pytest.mark.parametrize("message", BAD_ARRAYS)
def test_unfit_arrays_are_refused_in_one_line(tmp_path, message):
    change = dict(BAD_ARRAYS[message])
    spec = save(tmp_path / "a.npz", **change)
    with pytest.raises(DataError, match=message) as caught:
        load(spec)
    assert "\n" not in str(caught.value)


def test_unreadable_files_are_refused(tmp_path):
    with pytest.raises(DataError, match="there is no file"):
        load({"npz": str(tmp_path / "absent.npz")})
    (tmp_path / "empty.npz").touch()
    with pytest.raises(DataError, match="not a readable npz"):
        load({"npz": str(tmp_path / "empty.npz")})
    (tmp_path / "text.npz").write_text("x_train, y_train")
    with pytest.raises(DataError, match=r"not a readable npz file; expected one that numpy\.savez wrote"):
        load({"npz": str(tmp_path / "text.npz")})
    packed = tmp_path / "packed.npz"
    np.savez_compressed(packed, x_train=np.arange(6400, dtype=np.uint8).reshape(100, 8, 8), y_train=np.arange(100) % 10)
    bytes_ = bytearray(packed.read_bytes())
    bytes_[100:140] = bytes(40)
    packed.write_bytes(bytes_)
    with pytest.raises(DataError, match=r"packed\.npz is not a readable npz file"):
        load({"npz": str(packed)})
    (tmp_path / "torn.npz").write_bytes(b"PK\x03\x04 not really")
    with pytest.raises(DataError, match="not a readable npz"):
        load({"npz": str(tmp_path / "torn.npz")})
    np.savez(tmp_path / "objects.npz", x_train=np.array([{}], object), y_train=np.array([0]))
    with pytest.raises(DataError, match=r"not a readable npz file \(it holds Python objects"):
        load({"npz": str(tmp_path / "objects.npz")})
    np.save(tmp_path / "single.npy", np.zeros(3))
    with pytest.raises(DataError, match="not a readable npz"):
        load({"npz": str(tmp_path / "single.npy")})


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ({}, "exactly one of"),
        ({"name": "digits", "npz": "a"}, "exactly one of"),
        ({"name": "digit"}, "'digits'"),
        ({"name": "digits", "validaton": 0.1}, "did you mean 'validation'"),
        ({"name": "digits", "size": 8}, "one of"),
        ({"name": "digits", "validation": 0.0}, "data.validation"),
        ({"name": "digits", "test": 5000}, "data.test"),
        ({"name": "digits", "limit": 5000}, "data.limit"),
        ({"name": "digits", "meta": "ten"}, "data.meta"),
        ({"name": "digits", "augment": {"crop": 2}}, "crop_pad"),
        (
            {"name": "digits", "augment": {"crop_pad": 8}},
            "data.augment.crop_pad: got 8; .*, 8 pixels",
        ),
        ({"name": "digits", "augment": {"mixup": -1}}, r"augment.mixup: got -1; expected a number from 0"),
        ({"torchvision": "CIFAR11", "root": "x"}, "did you mean 'CIFAR10"),
        ({"torchvision": "CIFAR10"}, "data.root"),
    ],
)
def test_bad_entries_are_refused(spec, message):
    with pytest.raises(ConfigError, match=message):
        load(spec)


def test_a_share_for_a_split_that_the_source_brings_is_refused(tmp_path):
    with pytest.raises(ConfigError, match="its own test split"):
        load({**save(tmp_path / "a.npz"), "test": 0.1})


def test_torchvision_that_is_absent_or_no_classification(tmp_path):
    with pytest.raises(DataError, match="CIFAR10 cannot be opened"):
        load({"torchvision": "CIFAR10", "root": str(tmp_path)})
