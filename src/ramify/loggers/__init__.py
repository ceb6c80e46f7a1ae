"""Loggers: who else gets what a run writes into its history. The library brings the interface, users the classes."""

from ramify.loggers.base import Logger, Loggers, Started, loggers_of
from ramify.registry import Registry

LOGGERS: Registry[type[Logger]] = Registry("logger", Logger, package=__name__)
"""Every logger by name; all of them are users'."""

__all__ = ["LOGGERS", "Logger", "Loggers", "Started", "loggers_of"]
