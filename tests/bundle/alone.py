"""Run as a program: one exported student in a process that can import nothing but what it may need.

Arguments: JSON with ``kind`` (safetensors, pt2 or onnx), ``folder``, ``allowed`` (top-level names beside the standard
library), ``pictures`` (a file of float32 numbers) and their ``shape``. Writes JSON: the class of every picture.
"""

import json
import sys


class Refuse:
    """Stands before every other finder."""

    def __init__(self, allowed):
        self.allowed = set(allowed) | set(sys.stdlib_module_names)

    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] not in self.allowed and not name.startswith("_sysconfigdata"):
            raise ModuleNotFoundError(f"No module named {name!r} (not installed here)", name=name)


def classes(given):
    if given["kind"] == "onnx":
        import numpy
        import onnxruntime

        x = numpy.fromfile(given["pictures"], numpy.float32).reshape(given["shape"])
        session = onnxruntime.InferenceSession(given["folder"] + "/student.onnx")
        return session.run(None, {"pictures": x})[0].argmax(1).tolist()
    import torch

    torch.set_num_threads(1)
    with open(given["pictures"], "rb") as file:
        x = torch.frombuffer(bytearray(file.read()), dtype=torch.float32).reshape(given["shape"])
    if given["kind"] == "pt2":
        student = torch.export.load(given["folder"] + "/student.pt2").module()
    else:
        import autostudent

        student = autostudent.load_student(given["folder"])
    with torch.no_grad():
        return student(x).argmax(1).tolist()


if __name__ == "__main__":
    given = json.loads(sys.argv[1])
    sys.meta_path.insert(0, Refuse(given["allowed"]))
    sys.stdout.write(json.dumps(classes(given)))
