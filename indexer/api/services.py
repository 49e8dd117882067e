"""Services: what the API works with, put together once when the application is created."""

from __future__ import annotations

from dataclasses import dataclass

from indexer.api.commands import Commands
from indexer.bulk.jobs import Jobs
from indexer.dead_letters import DeadLetters
from indexer.letter_replay import LetterReplay
from indexer.recent import Recent
from shared.expressions.renderer import Renderer
from shared.flow_directory import FlowDirectory
from shared.ports import BlobStore, DocumentStore
from shared.settings import Settings


@dataclass(frozen=True, slots=True)
class Services:
    """The outside, as the API sees it."""

    store: DocumentStore
    blobs: BlobStore
    flows: FlowDirectory
    recent: Recent
    jobs: Jobs
    commands: Commands
    renderer: Renderer
    settings: Settings
    dead_letters: DeadLetters
    letter_replay: LetterReplay
