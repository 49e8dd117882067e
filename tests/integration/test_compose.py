import json
import tomllib
from pathlib import Path

import jsonschema
import pytest

from shared.settings import Settings
from tests.servers import elasticsearch as elasticsearch_module
from tests.servers import kafka as kafka_module
from tests.servers.compose import ROOT, document, is_setting, services

#: The compose specification's own schema; data/README.md names its source.
SCHEMA = json.loads(Path(__file__).with_name("data").joinpath("compose-spec.json").read_text())

RUNYARD = [service for service in services().values() if service.runs_runyard]
LASTING = [service for service in services().values() if service.name != "topics"]


def test_the_file_follows_the_compose_specification() -> None:
    """docker-compose.yml is valid by the specification's own schema."""
    validator = jsonschema.Draft7Validator(SCHEMA)

    assert [f"{error.json_path}: {error.message}" for error in validator.iter_errors(document())] == []


def test_the_schema_check_notices_a_misspelled_key() -> None:
    """The same check names a key that the specification does not know."""
    broken = document()
    broken["services"]["worker"]["enviroment"] = {}

    errors = list(jsonschema.Draft7Validator(SCHEMA).iter_errors(broken))

    assert any("enviroment" in error.message for error in errors)


@pytest.mark.parametrize("service", RUNYARD, ids=lambda service: service.name)
def test_every_variable_is_a_setting(service) -> None:
    """Each RUNYARD_ variable of a service names a setting that exists."""
    assert service.settings
    assert [name for name in service.settings if not is_setting(name)] == []


@pytest.mark.parametrize(
    ("variable", "known"),
    [
        ("RUNYARD_KAFKA__BOOTSTRAP_SERVERS", True),
        ("RUNYARD_KAFKA__SECURITY_PROTOCOL", True),
        ("RUNYARD_SECRETS__TOKEN", True),
        ("RUNYARD_ENCRYPTION_KEY", True),
        ("RUNYARD_ELASTICSEARCH__HOST", False),
        ("RUNYARD_KAFKA_BOOTSTRAP_SERVERS", False),
        ("RUNYARD_LOG_LEVEL__ROOT", False),
        ("KAFKA__BOOTSTRAP_SERVERS", False),
    ],
)
def test_settings_are_told_from_misspelled_ones(variable: str, known: bool) -> None:
    """A variable is known only where it reaches a setting through every level."""
    assert is_setting(variable) is known


@pytest.mark.parametrize("service", RUNYARD, ids=lambda service: service.name)
def test_the_environment_makes_valid_settings(service, monkeypatch: pytest.MonkeyPatch) -> None:
    """The values pass validation and name the file's own Kafka and Elasticsearch."""
    for name, value in service.environment.items():
        monkeypatch.setenv(name, value)

    settings = Settings()

    assert settings.kafka.bootstrap_servers.partition(":")[0] in services()
    assert settings.elasticsearch.hosts.removeprefix("http://").partition(":")[0] in services()


@pytest.mark.parametrize("service", services().values(), ids=lambda service: service.name)
def test_ports_are_published_on_this_machine_only(service) -> None:
    """No port is open to other machines while there is no authentication."""
    assert [port for port in service.definition.get("ports", []) if not port.startswith("127.0.0.1:")] == []


@pytest.mark.parametrize("service", services().values(), ids=lambda service: service.name)
def test_memory_is_limited(service) -> None:
    """Each service has a memory limit."""
    assert service.definition["mem_limit"]


@pytest.mark.parametrize("service", LASTING, ids=lambda service: service.name)
def test_a_lasting_service_has_a_health_check(service) -> None:
    """Each service that stays tells whether it is healthy, and is started again when it ends."""
    assert service.health_command
    assert service.definition["restart"] == "unless-stopped"


@pytest.mark.parametrize("service", services().values(), ids=lambda service: service.name)
def test_services_start_when_what_they_need_is_healthy(service) -> None:
    """A service waits for the health of a lasting service, and for the end of `topics`."""
    expected = {
        name: "service_completed_successfully" if name == "topics" else "service_healthy" for name in service.waits_for
    }

    assert dict(service.waits_for) == expected


@pytest.mark.parametrize("name", ["executor", "worker", "indexer"])
def test_runyard_waits_for_its_servers(name: str) -> None:
    """Executor, worker and indexer need Kafka, Elasticsearch and the topics."""
    assert set(services()[name].waits_for) == {"kafka", "elasticsearch", "topics"}


@pytest.mark.parametrize("service", services().values(), ids=lambda service: service.name)
def test_data_is_kept_in_declared_volumes(service) -> None:
    """Every volume that a service mounts is declared; the two servers have one each."""
    mounted = [volume.partition(":")[0] for volume in service.definition.get("volumes", [])]

    assert [volume for volume in mounted if volume not in document()["volumes"]] == []
    assert mounted or service.name == "kibana"


def test_workers_can_be_scaled() -> None:
    """The worker has no name or published port of its own, which a second container could not have."""
    worker = services()["worker"].definition

    assert not {"container_name", "ports", "hostname"} & set(worker)


def test_images_are_of_the_versions_that_the_tests_run() -> None:
    """The real tests use the same versions as the images."""
    images = {name: service.image.rpartition(":")[2] for name, service in services().items()}

    assert images["kafka"] == kafka_module.VERSION
    assert images["elasticsearch"] == images["kibana"] == elasticsearch_module.VERSION


def test_the_image_has_every_package() -> None:
    """The Dockerfile copies each package of pyproject.toml, and .dockerignore lets it through."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    packages = {name.rstrip("*") for name in project["tool"]["setuptools"]["packages"]["find"]["include"]}

    copied = {line.split()[1] for line in (ROOT / "Dockerfile").read_text().splitlines() if line.startswith("COPY ")}
    let_through = {line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")}

    assert packages <= copied
    assert packages <= let_through
