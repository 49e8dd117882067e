"""`python -m tests.servers [COMMAND…]`: both servers, for a terminal or for one command.

Without a command it prints the addresses as `export` lines and runs until Ctrl-C or SIGTERM. With one it runs the
command with these variables in its environment, stops the servers and ends with the command's status. A server
that the environment already names is not started.
"""

import argparse
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path
from types import FrameType

from tests.servers import BOOTSTRAP_SERVERS, HOSTS, ElasticsearchServer, KafkaServer
from tests.servers.process import Server


def main() -> int:
    """Run the servers that the environment does not name yet; return the exit status."""
    arguments = _arguments()
    servers = _servers(arguments)
    signal.signal(signal.SIGTERM, _terminate)
    try:
        for server in servers.values():
            server.launch()
        for server in servers.values():
            server.await_ready()
        addresses = {name: server.address for name, server in servers.items()}
        if arguments.command:
            return _run(arguments.command, addresses)
        for name, address in addresses.items():
            print(f"export {name}={address}", flush=True)
        threading.Event().wait()
    except KeyboardInterrupt:
        pass  # the way to end it
    finally:
        for server in servers.values():
            server.close()
    return 0


def _servers(arguments: argparse.Namespace) -> dict[str, Server]:
    """What is to be started, by the setting that names it; the slower one first, for both start side by side."""
    servers: dict[str, Server] = {}
    if HOSTS not in os.environ:
        directory = arguments.directory and arguments.directory.absolute() / "elasticsearch"
        servers[HOSTS] = ElasticsearchServer(arguments.elasticsearch_port, directory, heap=arguments.heap)
    if BOOTSTRAP_SERVERS not in os.environ:
        directory = arguments.directory and arguments.directory.absolute() / "kafka"
        servers[BOOTSTRAP_SERVERS] = KafkaServer(arguments.kafka_port, directory, heap=arguments.heap)
    return servers


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.servers", description=__doc__)
    parser.add_argument("--kafka-port", type=int, help="default: a free one")
    parser.add_argument("--elasticsearch-port", type=int, help="default: a free one")
    parser.add_argument("--directory", type=Path, help="keeps data and logs; default: a temporary one")
    parser.add_argument("--heap", default="512m", help="heap of each server's JVM; default: %(default)s")
    parser.add_argument("command", nargs=argparse.REMAINDER)
    return parser.parse_args()


def _run(command: list[str], addresses: dict[str, str]) -> int:
    process = subprocess.Popen(command, env={**os.environ, **addresses})
    while True:
        try:
            status = process.wait()
        except KeyboardInterrupt:
            # Ctrl-C reached the command too; SIGTERM reached only this process. Either way it ends in its own time.
            process.terminate()
            continue
        return status if status >= 0 else 128 - status


def _terminate(_signal: int, _frame: FrameType | None) -> None:
    raise KeyboardInterrupt


if __name__ == "__main__":
    sys.exit(main())
