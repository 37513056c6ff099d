"""One run from the command line: configuration, directory, evaluation, pictures, how it ends."""
