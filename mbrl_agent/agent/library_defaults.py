"""The defaults of torch and NumPy while the package computes, whatever the user has set for other code.

BoTorch's users set float64 as the default, others a default device, switch gradients off for a whole
script, let NumPy raise on underflow. The agent's results do not depend on it, and the user's settings are
as they were when its methods return.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any, TypeVar

import numpy as np
import torch

ClassT = TypeVar("ClassT", bound=type)
AUTOCAST = ("cpu", "cuda")


@contextmanager
def library_defaults() -> Iterator[None]:
    """Give a block torch's and NumPy's own defaults, and restore the user's settings after it.

    These are torch's default dtype (float32) and device (cpu), gradients, inference mode, autocast and
    anomaly detection (a gradient that is not finite is an ordinary event of a search), and NumPy's
    treatment of floating-point errors.
    """
    dtype = torch.get_default_dtype()
    with ExitStack() as stack:
        stack.callback(torch.set_default_dtype, dtype)
        torch.set_default_dtype(torch.float32)
        stack.enter_context(torch.inference_mode(False))
        stack.enter_context(torch.enable_grad())
        if torch.is_anomaly_enabled():
            stack.enter_context(torch.autograd.set_detect_anomaly(False))
        for device in AUTOCAST:
            if torch.is_autocast_enabled(device):
                stack.enter_context(torch.autocast(device, enabled=False))
        if torch.get_default_device().type != "cpu":  # not always: a default device costs every operation
            stack.enter_context(torch.device("cpu"))
        stack.enter_context(np.errstate(divide="warn", over="warn", under="ignore", invalid="warn"))
        yield


def with_library_defaults(cls: ClassT) -> ClassT:
    """Run the constructor and the public methods of a class under `library_defaults`.

    It decorates the class; inherited methods count as well. So do callbacks, costs and environments that a
    method calls.
    """
    for name in dir(cls):
        if name.startswith("_") and name != "__init__":
            continue
        member = inspect.getattr_static(cls, name)
        if isinstance(member, classmethod):
            setattr(cls, name, classmethod(_under_defaults(member.__func__)))
        elif inspect.isfunction(member):
            setattr(cls, name, _under_defaults(member))
    return cls


def _under_defaults(function: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(function)
    def call(*args: Any, **kwargs: Any) -> Any:
        with library_defaults():
            return function(*args, **kwargs)

    return call
