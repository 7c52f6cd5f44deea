# The one base image, by patch version and Debian release. `make image` and the release hold this
# tag to its index of every platform (docs/supply-chain.md says how to do the same by hand):
# base-digest: sha256:70729b46c69b4f1e97c4822c1af3df53a1476cf5ddc6c087c0c10bc3a5678c2f
FROM python:3.13.16-slim-trixie AS base

FROM base AS build
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1 PIP_ROOT_USER_ACTION=ignore PYTHONDONTWRITEBYTECODE=1
WORKDIR /build
# The dependencies first: this layer changes only with the lock.
COPY requirements/runtime.lock requirements/build.lock requirements/
RUN python -m venv --without-pip /opt/circleci-relay \
 && python -m pip --python /opt/circleci-relay/bin/python install --no-compile --require-hashes -r requirements/runtime.lock \
 && python -m venv /opt/builder \
 && /opt/builder/bin/python -m pip install --require-hashes -r requirements/build.lock
# Of AWS's four hundred services, the two that are destinations and those that credentials come from.
COPY scripts/image_prune.py scripts/
RUN /opt/circleci-relay/bin/python scripts/image_prune.py
COPY pyproject.toml README.md LICENSE ./
COPY src src
# Compiled once, here: whoever runs it may not write. Nothing in it tells when that was.
RUN /opt/builder/bin/python -m pip wheel --no-deps --no-build-isolation --wheel-dir dist . \
 && python -m pip --python /opt/circleci-relay/bin/python install --no-compile --no-deps dist/*.whl \
 && PYTHONHASHSEED=0 /opt/circleci-relay/bin/python -m compileall -q --invalidation-mode unchecked-hash /opt/circleci-relay/lib

FROM base
ARG VERSION=0.1.0
LABEL org.opencontainers.image.title="circleci-relay" \
      org.opencontainers.image.description="One CircleCI webhook slot in, as many destinations as you like out, and nothing lost." \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.base.name="docker.io/library/python:3.13.16-slim-trixie"
COPY scripts/image_strip.py /tmp/
# A fixed number, so that volumes and runAsNonRoot can name it.
RUN groupadd --gid 10001 relay \
 && useradd --uid 10001 --gid 10001 --no-log-init --no-create-home --home-dir /data --shell /usr/sbin/nologin relay \
 && mkdir -p /data /etc/circleci-relay \
 && chown 10001:10001 /data \
 && PYTHONHASHSEED=0 python /tmp/image_strip.py \
 && rm -f /tmp/image_strip.py /etc/passwd- /etc/shadow- /etc/group- /etc/gshadow-
COPY --from=build /opt/circleci-relay /opt/circleci-relay
COPY LICENSE THIRD-PARTY.md /usr/share/doc/circleci-relay/
# Every verb finds the configuration: all the *.yaml in that directory.
ENV PATH=/opt/circleci-relay/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    CIRCLECI_RELAY_CONFIG=/etc/circleci-relay
# The store is the one thing written: say `store: {url: "sqlite:////data/relay.db"}`.
WORKDIR /data
VOLUME /data
USER 10001:10001
EXPOSE 8080 8081 8082
STOPSIGNAL SIGTERM
# Where `server.ops` listens, if relay.yaml puts it elsewhere: HEALTH_ADDRESS=127.0.0.1:9081.
HEALTHCHECK --interval=10s --timeout=3s --start-period=30s --retries=3 CMD ["python", "-I", "-c", "import http.client, os; link = http.client.HTTPConnection(os.environ.get('HEALTH_ADDRESS', '127.0.0.1:8081'), timeout=2); link.request('GET', '/healthz'); raise SystemExit(link.getresponse().status != 200)"]
ENTRYPOINT ["circleci-relay"]
CMD ["serve"]
