"""Run as a program: one exported student in a process that can import nothing but what it may need.

Arguments: JSON with ``kind`` (safetensors, pt2 or onnx), ``folder``, ``allowed`` (top-level names beside the standard
library), ``pictures`` (a file of float32 numbers) and their ``shape``. Writes JSON: the class of every picture.
"""

import json
import sys


class Only:
    """Asks the other finders for allowed names; all else is not installed."""

    def __init__(self, allowed, finders):
        self.allowed, self.finders = set(allowed) | set(sys.stdlib_module_names), list(finders)

    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] not in self.allowed and not name.startswith("_sysconfigdata"):
            return None
        found = (finder.find_spec(name, path, target) for finder in self.finders)
        return next((spec for spec in found if spec is not None), None)


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
    sys.meta_path[:] = [Only(given["allowed"], sys.meta_path)]
    sys.stdout.write(json.dumps(classes(given)))
