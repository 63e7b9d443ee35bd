import pytest
import torch

from autostudent.assets import Assets
from autostudent.distill.recipe import read_recipe
from autostudent.errors import AssetError, ConfigError
from autostudent.measure.predict import predict
from autostudent.settings import roster_of
from autostudent.teach.catalogue import require_open
from autostudent.teach.derived import Facts, facts_of
from autostudent.teach.teachers import resolve


def test_golden_facts_by_hand():
    large = torch.tensor([[2.0, 0.0], [0.0, 1.0], [0.0, 3.0], [0.0, 1.0]])
    small = torch.tensor([[1.0, 0.0], [1.0, 0.0], [1.0, 0.0], [0.0, 1.0]])
    labels = torch.tensor([0, 1, 0, 1])
    facts = facts_of([large, small], labels)
    expected = [0.126928, 0.313262, 3.048587, 0.313262]
    assert facts["cross_entropy"].tolist() == pytest.approx(expected, abs=1e-5)
    assert facts["difficulty"].tolist() == pytest.approx([0, 1 / 3, 1, 2 / 3])  # equal samples in order of position
    assert facts["ladder_agreement"].tolist() == [1, 0, 1, 1]


def test_the_largest_stands_in_where_all_are_wrong():
    wrong = torch.tensor([[0.0, 1.0]])
    assert facts_of([wrong, wrong, wrong], torch.tensor([0]))["ladder_agreement"].tolist() == [0]


def test_experts_fall_in_size(digits, shared):
    """Easy pictures are for the last of them, which without a ladder is the last that the file names."""
    shapes = {"small": {"depth": 8, "width": 4}, "large": {"depth": 8, "width": 8}}
    specs = {name: {"resnet": shape, "epochs": 1} for name, shape in shapes.items()}
    teachers = {name: resolve(name, spec, digits, shared) for name, spec in specs.items()}
    config = {"kd.loss": "kd", "teach.scheme": "experts"}
    for names, falling in ((("large", "small"), True), (("small", "large"), False)):
        recipe = read_recipe(config, roster_of({name: specs[name] for name in names}, None))
        assert recipe.teachers == names
        if falling:
            require_open([recipe], teachers, ())
        else:
            with pytest.raises(ConfigError, match="teachers: got 'small, large'; expected the largest first"):
                require_open([recipe], teachers, ())


def test_facts_are_kept_under_the_teachers(digits, teacher, shared, tmp_path):
    assets = Assets(tmp_path)
    other = resolve("ta1", {"resnet": {"depth": 8, "width": 2}, "epochs": 1}, digits, shared)
    facts = Facts(assets, digits, (teacher.key, other.key))
    with pytest.raises(AssetError):
        facts.load()
    made = facts.ensure((teacher, other))
    assert set(made) == {"cross_entropy", "difficulty", "ladder_agreement"}
    assert all(fact.shape == (len(digits.train),) for fact in made.values())
    again = Facts(assets, digits, (teacher.key, other.key)).load()
    assert all(torch.equal(made[name], again[name]) for name in made)
    expected = facts_of([predict(t.module, digits.train.x) for t in (teacher, other)], digits.train.y)
    assert torch.equal(expected["difficulty"], made["difficulty"])
    with pytest.raises(AssetError):
        Facts(assets, digits, (other.key, teacher.key)).load()
    assert Facts(assets, digits, ()).load() == {}


def test_altered_facts_are_refused_and_rebuilt(digits, teacher, tmp_path):
    facts = Facts(Assets(tmp_path), digits, (teacher.key,))
    made = facts.ensure((teacher,))
    path = facts.entry.folder / "facts.safetensors"
    data = bytearray(path.read_bytes())
    data[-3] ^= 1
    path.write_bytes(bytes(data))
    with pytest.raises(AssetError, match="altered"):
        facts.load()
    assert torch.equal(facts.ensure((teacher,))["cross_entropy"], made["cross_entropy"])
