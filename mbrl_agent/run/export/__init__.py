"""Take a policy away: files that act without this package, from the raw observation to the action.

What a policy that remembers needs of earlier steps is an input and an output more, its memory.

numpy_format.py        one .npz and one readable .py, which need NumPy alone
torchscript_format.py  one .pt, which needs torch alone
onnx_format.py         one .onnx, for ONNX Runtime and whatever else reads ONNX
function.py            the whole function in torch, which the last two write down
inputs.py              what a file is given when it is compared
comparison.py          how far an exported file is from `predict`
exporting.py           all of it in one call
"""

from mbrl_agent.run.export.base import About, Action, Format
from mbrl_agent.run.export.comparison import TOLERANCE, Comparison, ExportError, compare_with_agent
from mbrl_agent.run.export.exporting import Exported, export
from mbrl_agent.run.export.numpy_format import NumpyFormat
from mbrl_agent.run.export.onnx_format import OnnxFormat
from mbrl_agent.run.export.torchscript_format import TorchScriptFormat

FORMATS: dict[str, Format] = {
    "numpy": NumpyFormat(),
    "torchscript": TorchScriptFormat(),
    "onnx": OnnxFormat(),
}
"""By their names on the command line."""

__all__ = [
    "FORMATS",
    "TOLERANCE",
    "About",
    "Action",
    "Comparison",
    "ExportError",
    "Exported",
    "Format",
    "compare_with_agent",
    "export",
]
