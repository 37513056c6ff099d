"""What is done with a trained agent from the command line: a module a command.

Each module offers `HELP` (one line), `Options` (a frozen dataclass, whose fields are the flags) and
`run(options) -> int`, the exit status.
"""
