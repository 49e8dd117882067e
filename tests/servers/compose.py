"""docker-compose.yml as the tests read it: its services, and their commands and environment on this machine."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import UnionType
from typing import Any, Union, get_args, get_origin

import yaml
from pydantic import BaseModel

from shared.settings import Settings

ROOT = Path(__file__).parents[2]

_PREFIX = "RUNYARD_"


@dataclass(frozen=True, slots=True)
class Service:
    """One service of the file."""

    name: str
    definition: Mapping[str, Any]

    @property
    def runs_runyard(self) -> bool:
        """Whether it runs this project's own image."""
        return self.image.startswith("runyard:")

    @property
    def image(self) -> str:
        """The image that it runs."""
        return str(self.definition["image"])

    @property
    def command(self) -> Sequence[str]:
        """What its container runs."""
        return tuple(self.definition.get("command", ()))

    @property
    def health_command(self) -> Sequence[str]:
        """What tells that it is healthy; empty where nothing does."""
        kind, *command = self.definition.get("healthcheck", {"test": ["NONE"]})["test"]
        return tuple(command) if kind == "CMD" else ()

    @property
    def environment(self) -> dict[str, str]:
        """Its environment; a variable without a value is the outer environment's, or absent, as compose has it."""
        values = {name: os.environ.get(name) if value is None else value for name, value in self._variables.items()}
        return {name: str(value) for name, value in values.items() if value is not None}

    @property
    def settings(self) -> Sequence[str]:
        """The names of its environment that must be Runyard's settings."""
        return tuple(name for name in self._variables if name.startswith(_PREFIX))

    @property
    def waits_for(self) -> Mapping[str, str]:
        """Services that start before it, with the condition each has to meet."""
        return {name: each["condition"] for name, each in self.definition.get("depends_on", {}).items()}

    @property
    def _variables(self) -> Mapping[str, Any]:
        variables: Mapping[str, Any] = self.definition.get("environment", {})
        return variables


def document() -> dict[str, Any]:
    """The whole file."""
    content: dict[str, Any] = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
    return content


def services() -> dict[str, Service]:
    """The services by name."""
    return {name: Service(name, definition) for name, definition in document()["services"].items()}


def is_setting(variable: str) -> bool:
    """Whether an environment variable names one of Runyard's settings, at any depth."""
    if not variable.startswith(_PREFIX):
        return False
    *sections, name = variable.removeprefix(_PREFIX).lower().split("__")
    model: type[BaseModel] = Settings
    for section in sections:
        field = model.model_fields.get(section)
        if field is None:
            return False
        if _is_mapping(field.annotation):
            return True
        if not (isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel)):
            return False
        model = field.annotation
    return name in model.model_fields or model.model_config.get("extra") == "allow"


def _is_mapping(annotation: Any) -> bool:
    if get_origin(annotation) in (Union, UnionType):
        return any(_is_mapping(each) for each in get_args(annotation))
    return get_origin(annotation) is dict
