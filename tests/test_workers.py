"""Who waits for workers, and who does not."""

from types import SimpleNamespace

import pytest

from tests.support.workers import MOST, workers

ALL = "not benchmark and not slow"


@pytest.mark.parametrize(
    ("args", "marks", "capture", "cores", "expected"),
    [
        (["tests"], ALL, "fd", 2, 2),
        (["tests/resampling"], ALL, "fd", 2, 2),
        ([__file__, "tests/resampling"], ALL, "fd", 2, 2),
        (["tests"], "not benchmark", "fd", 2, 2),
        (["tests"], ALL, "fd", 64, MOST),
        (["tests"], ALL, "fd", 1, 0),
        ([__file__], ALL, "fd", 2, 0),
        ([f"{__file__}::test_workers"], ALL, "fd", 2, 0),
        (["tests"], "benchmark", "fd", 2, 0),
        (["tests"], ALL, "no", 2, 0),
    ],
)
def test_workers(args, marks, capture, cores, expected):
    config = SimpleNamespace(args=args, option=SimpleNamespace(markexpr=marks, capture=capture))
    assert workers(config, cores) == expected
