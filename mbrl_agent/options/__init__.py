"""Options and choices: declare, check, name, print and parse them, once.

fields.py  the fields of an options dataclass, and their values as text and as plain data
choice.py  a class chosen by name with its options, and its spelling: `interpolated:0.25`
errors.py  the error of one option
"""

from mbrl_agent.options.choice import SYNTAX, Choice, changed_options, directory_name
from mbrl_agent.options.errors import OptionError, OptionName, OptionTypeError, refused, refused_type
from mbrl_agent.options.fields import (
    REQUIRED,
    Option,
    build,
    construct,
    convert,
    convert_option,
    did_you_mean,
    expectation,
    options_of,
    placeholder,
    shown,
    summary,
    to_plain,
    to_text,
)

__all__ = [
    "REQUIRED",
    "SYNTAX",
    "Choice",
    "Option",
    "OptionError",
    "OptionName",
    "OptionTypeError",
    "build",
    "changed_options",
    "construct",
    "convert",
    "convert_option",
    "did_you_mean",
    "directory_name",
    "expectation",
    "options_of",
    "placeholder",
    "refused",
    "refused_type",
    "shown",
    "summary",
    "to_plain",
    "to_text",
]
