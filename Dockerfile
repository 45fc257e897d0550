# The demo: `docker build --tag foretune . && docker run --rm foretune`. The first run measures; mount a volume on /cache to keep what it measured.
FROM python:3.11-slim-bookworm

RUN apt-get update && apt-get install --yes --no-install-recommends g++ && rm -rf /var/lib/apt/lists/*
RUN useradd --create-home foretune && mkdir /cache && chown foretune /cache
WORKDIR /foretune
COPY --chown=foretune . .
RUN python -m pip install --no-cache-dir --constraint constraints.txt \
        --extra-index-url https://download.pytorch.org/whl/cpu ".[tvm]"

USER foretune
VOLUME /cache
ENTRYPOINT ["foretune"]
CMD ["demo", "--database", "/cache/records.db"]
