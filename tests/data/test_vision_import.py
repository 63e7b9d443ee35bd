import subprocess
import sys

from autostudent.data.vision_import import vision


def test_torchvision_imports_beside_any_torch():
    assert vision("models").get_model("resnet18", num_classes=7).fc.out_features == 7
    assert vision().__name__ == "torchvision"


def test_digits_do_not_load_torchvision():
    code = "import sys; from autostudent.data.datasets import load; load({'name': 'digits'})"
    subprocess.run([sys.executable, "-c", code + "; assert 'torchvision' not in sys.modules"], check=True)
