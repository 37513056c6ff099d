"""ONNX: one .onnx file, for ONNX Runtime and whatever else reads ONNX."""

from __future__ import annotations

import contextlib
import importlib.util
import io
import json
import logging
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from numpy.typing import NDArray

from mbrl_agent.policies.base import SearchPolicy
from mbrl_agent.run.export.base import About, Action, Format
from mbrl_agent.run.export.function import PolicyFunction
from mbrl_agent.run.messages import one_line

PACKAGES = ("onnx", "onnxscript", "onnxruntime")
"""Torch's exporter needs the first two; the third reads the file back, so that it can be compared."""
INPUTS, OUTPUTS = ("observation", "memory"), ("action", "next_memory")
"""Of a policy without a memory the first ones."""
FUNCTION = "A policy: raw observations (N, D) -> actions (N, U) in the environment's units."
MEMORY_FUNCTION = (
    "A policy that remembers: observation (N, D), raw, and memory (N, H), zero at the start of an episode -> "
    "action (N, U) in the environment's units, and next_memory (N, H), the memory for the next step."
)


class OnnxFormat(Format):
    """One file with the input "observation", (N, D) float32, and the output "action", (N, U).

    Of a policy that remembers: the input "memory" and the output "next_memory", (N, H) float32, as well.
    """

    suffixes = (".onnx",)

    def require(self, policy: SearchPolicy, stem: str) -> None:
        """See `Format.require`."""
        missing = [name for name in PACKAGES if importlib.util.find_spec(name) is None]
        if missing:
            raise ValueError(
                f"format onnx needs packages that are not installed: pip install {' '.join(missing)} (they "
                "are mbrl_agent's extra [onnx])"
            )

    def encode(self, policy: SearchPolicy, about: About, stem: str) -> Mapping[str, bytes]:
        """See `Format.encode`."""
        import onnx

        function = PolicyFunction(policy)
        example = function.example()
        try:
            with _quiet_exporter(), torch.no_grad():
                program = torch.onnx.export(
                    function,
                    example,
                    dynamo=True,
                    verbose=False,
                    input_names=INPUTS[: len(example)],
                    output_names=OUTPUTS[: len(example)],
                    dynamic_shapes=tuple({0: torch.export.Dim("N")} for _ in example),
                )
        except Exception as error:  # of a policy of the user's own that has no counterpart in ONNX
            raise ValueError(
                f"{type(policy).__name__} cannot be written as ONNX ({type(error).__name__}: "
                f"{one_line(error)[:200]}); its controller must compute with torch's functions alone"
            ) from error
        assert program is not None
        model = program.model_proto
        _remove_traces(model)
        model.doc_string = MEMORY_FUNCTION if about.memory else FUNCTION
        properties = {
            key: value if isinstance(value, str) else json.dumps(value)
            for key, value in about.metadata().items()
        }
        onnx.helper.set_model_props(model, properties)
        onnx.checker.check_model(model)
        return {".onnx": model.SerializeToString()}

    def load(self, path: Path) -> Action:
        """See `Format.load`."""
        import onnxruntime

        session = onnxruntime.InferenceSession(path.read_bytes(), providers=["CPUExecutionProvider"])

        def act(*inputs: NDArray[Any]) -> NDArray[Any] | tuple[NDArray[Any], ...]:
            named = {name: value.astype("float32") for name, value in zip(INPUTS, inputs, strict=False)}
            action, *memory = session.run(None, named)
            return (action, *memory) if memory else action

        return act

    def usage(self, path: Path, about: About) -> str:
        """See `Format.usage`."""
        session = f'session = onnxruntime.InferenceSession("{path.name}"); '
        observations = '"observation": observations.astype("float32")'
        if not about.memory:
            return f"{session}action = session.run(None, {{{observations}}})[0]  # (N, D) -> (N, U)"
        return (
            f'{session}memory = np.zeros((N, {about.memory}), "float32"); action, memory = session.run(None, '
            f'{{{observations}, "memory": memory}})'
        )


def _remove_traces(model: Any) -> None:
    """Take out what the exporter says of its own work, with the paths of this machine in it."""
    graph = model.graph
    for part in (graph, *graph.node, *graph.input, *graph.output, *graph.value_info, *graph.initializer):
        del part.metadata_props[:]
        part.ClearField("doc_string")


@contextmanager
def _quiet_exporter() -> Iterator[None]:
    """Keep torch's notes on its exporter from the terminal."""
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)
