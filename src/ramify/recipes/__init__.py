"""Published settings of searches and trainings by name: one YAML file for each beside this one."""

from ramify.recipes.published import PublishedSetting, entries, get, load

__all__ = ["PublishedSetting", "entries", "get", "load"]
