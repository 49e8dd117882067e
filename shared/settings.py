"""Settings: everything a deployment can set, by environment (`RUNYARD_…`, `__` between levels) or a YAML file."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, Final

import yaml
from pydantic import BaseModel, ConfigDict, Field, field_validator
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

from shared.model.moment import parse_age

FOREVER: Final = "forever"
"""A namespace's age of retention: never purged."""

_EXECUTION: Final = re.compile(r"[0-9A-Za-z]{22}")
_NAMESPACE: Final = re.compile(r"[a-z0-9][a-z0-9._-]*")
_FLOW: Final = re.compile(r"([a-z0-9][a-z0-9_-]*/[a-z0-9][a-z0-9._-]*/)?[a-zA-Z0-9][a-zA-Z0-9._-]*")


def _fitting(given: list[str], pattern: re.Pattern[str], expected: str) -> list[str]:
    """The given texts, all of which are what is expected. Raises ValueError naming the first that is not."""
    for each in given:
        if not pattern.fullmatch(each):
            raise ValueError(f"'{each}' is not {expected}")
    return given


class Section(BaseModel):
    """A level of settings: an unknown key is an error that names it."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class KafkaSettings(BaseModel):
    """How to reach Kafka. Any further key is passed to librdkafka with `_` read as `.`."""

    model_config = ConfigDict(extra="allow", frozen=True)

    bootstrap_servers: str = "127.0.0.1:9092"

    def client(self) -> dict[str, Any]:
        """librdkafka's configuration of every client."""
        extra = {name.replace("_", "."): value for name, value in (self.model_extra or {}).items()}
        return {"bootstrap.servers": self.bootstrap_servers, **extra}


class TopicSettings(Section):
    """Names and sizes of the topics."""

    prefix: str = "runyard."
    partitions: int = Field(
        default=16, ge=1, description="of execution-commands, task-run-events and what follows them"
    )
    inbox_partitions: int = Field(default=16, ge=1, description="of task-run-commands")
    replication_factor: int = Field(default=1, ge=1)
    max_message_bytes: int = Field(default=8 * 1024 * 1024, description="hard limit of one record")


class ElasticsearchSettings(Section):
    """How to reach Elasticsearch and how its indices are cut."""

    hosts: str = Field(default="http://127.0.0.1:9200", description="comma separated")
    username: str | None = None
    password: str | None = None
    api_key: str | None = None
    ca_certs: str | None = None
    prefix: str = "runyard-"
    shards: int = Field(default=1, ge=1)
    replicas: int = Field(default=0, ge=0)
    period: str = Field(default="month", pattern="^(month|year)$", description="what one index holds")
    refresh_interval: str = "1s"
    timeout: float = Field(default=30.0, description="seconds of one request")


class ExecutorSettings(Section):
    """The executor service. Times in seconds."""

    instance: str | None = Field(
        default=None, description="stable name: a restart then aborts the open transaction at once"
    )
    batch: int = Field(default=500, ge=1, description="records of one transaction at most")
    lease: float = Field(default=10.0, description="seconds without a heartbeat after which work is lost")
    resubmissions: int = Field(default=5, description="attempts of a task run that may be lost with their worker")
    keep_ended: float = Field(default=3600.0, description="seconds that an ended execution stays in the executor")
    kill_deadline: float = Field(default=10.0, description="seconds after which a kill no longer waits for workers")
    skip_executions: list[str] = Field(default_factory=list, description="ids of executions that are passed over")
    skip_flows: list[str] = Field(default_factory=list, description="id, namespace.id or tenant/namespace/id")
    skip_namespaces: list[str] = Field(default_factory=list, description="without the namespaces below them")

    @field_validator("skip_executions")
    @classmethod
    def _are_executions(cls, given: list[str]) -> list[str]:
        return _fitting(given, _EXECUTION, "the id of an execution, such as 034ShhzcBh3iKml7yo4GgO")

    @field_validator("skip_flows")
    @classmethod
    def _are_flows(cls, given: list[str]) -> list[str]:
        return _fitting([each.replace("|", "/") for each in given], _FLOW, "id, namespace.id or tenant/namespace/id")

    @field_validator("skip_namespaces")
    @classmethod
    def _are_namespaces(cls, given: list[str]) -> list[str]:
        return _fitting(given, _NAMESPACE, "a namespace, such as company.team")


class WorkerSettings(Section):
    """The worker service. Times in seconds."""

    concurrency: int = Field(default=16, ge=1, description="task runs at the same time")
    group: str = Field(default="", description="worker group; empty is the default group")
    heartbeat: float = 1.0
    grace: float = Field(default=60.0, description="seconds a stop waits for running tasks")
    lease: float = Field(default=10.0, description="older own heartbeats end the session; the executor's lease")
    start_within: float = Field(default=0.25, description="seconds a command may wait for a slot before it is declined")


class IndexerSettings(Section):
    """The indexer service and the API that it serves. Sizes in bytes, times in seconds."""

    bulk_documents: int = 2000
    bulk_bytes: int = 8 * 1024 * 1024
    bulk_delay: float = Field(default=0.2, description="a document waits at most this long for company")
    answer_within: float = Field(default=5.0, description="a command is answered 202 after this")
    follow_cache: int = Field(default=20_000, description="recent executions whose state is kept in memory")


class RetentionSettings(Section):
    """How long what has ended is kept. Off by default."""

    executions: str | None = Field(
        default=None, description="age from which ended executions are purged, such as 30d; without it never"
    )
    namespaces: dict[str, str] = Field(
        default_factory=dict, description="the same for a namespace and those below it, or forever"
    )
    every: float = Field(default=3600.0, ge=1, description="seconds between two purges")

    @field_validator("executions", "namespaces")
    @classmethod
    def _ages(cls, value: str | dict[str, str] | None) -> str | dict[str, str] | None:
        ages = value.items() if isinstance(value, dict) else [("", value)]
        for namespace, age in ages:
            if age is None or (namespace and age == FOREVER):
                continue
            try:
                parse_age(age)
            except ValueError as error:
                raise ValueError(f"{namespace}: {error}" if namespace else str(error)) from None
        return value


class BlobSettings(Section):
    """Where large values and files are kept."""

    directory: Path = Path("data/blobs")
    soft_limit: int = Field(default=256 * 1024, description="bytes of outputs above which they go to blob storage")
    hard_limit: int = Field(
        default=64 * 1024 * 1024, description="bytes of one value above which only its task run fails"
    )


class Settings(BaseSettings):
    """All settings, with their defaults."""

    model_config = SettingsConfigDict(
        env_prefix="RUNYARD_",
        env_nested_delimiter="__",
        extra="forbid",
        frozen=True,
        nested_model_default_partial_update=True,
    )

    kafka: KafkaSettings = KafkaSettings()
    topics: TopicSettings = TopicSettings()
    elasticsearch: ElasticsearchSettings = ElasticsearchSettings()
    executor: ExecutorSettings = ExecutorSettings()
    worker: WorkerSettings = WorkerSettings()
    indexer: IndexerSettings = IndexerSettings()
    blobs: BlobSettings = BlobSettings()
    retention: RetentionSettings = RetentionSettings()
    encryption_key: str | None = Field(default=None, description="for SECRET inputs and encrypt(); 32 characters")
    secrets: dict[str, str] = Field(default_factory=dict, description="values of secret('NAME'): RUNYARD_SECRETS__NAME")
    globals: dict[str, Any] = Field(default_factory=dict, description="the `globals` variable of expressions")
    log_format: str = Field(default="text", pattern="^(text|json)$")
    log_level: str = Field(default="INFO", pattern="^(?i)(DEBUG|INFO|WARNING|ERROR)$")

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """The environment wins over the file (which arrives as init values), so that one file can serve many hosts."""
        del settings_cls, dotenv_settings, file_secret_settings
        return env_settings, init_settings


def load(config: Path | None = None) -> Settings:
    """Settings from the environment and, below it, a YAML file. Raises pydantic's ValidationError."""
    data = yaml.safe_load(config.read_text()) if config is not None else {}
    return Settings(**(data or {}))
