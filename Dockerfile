# One image for every service; docker-compose.yml says which one a container runs.
FROM python:3.12-slim-bookworm

RUN useradd --create-home --uid 1000 runyard \
 && install --directory --owner=runyard --group=runyard /var/lib/runyard

WORKDIR /opt/runyard
COPY pyproject.toml README.md LICENSE ./
COPY shared shared
COPY executor executor
COPY worker worker
COPY indexer indexer
COPY runyard runyard
RUN pip install --no-cache-dir .

USER runyard
WORKDIR /var/lib/runyard
VOLUME /var/lib/runyard
CMD ["runyard", "--help"]
