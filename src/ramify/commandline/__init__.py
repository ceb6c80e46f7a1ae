"""What all verbs share on the command line: options, the words given for them, and error messages."""

from ramify.commandline.command import Command, Options

__all__ = ["Command", "Options"]
