# syntax=docker/dockerfile:1
# The one base image, by version and Debian release. Pin it by digest as well where you build:
#   FROM python:3.13-slim-bookworm@sha256:...
FROM python:3.13-slim-bookworm AS base

FROM base AS build
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1 PIP_ROOT_USER_ACTION=ignore
WORKDIR /build
# The dependencies first: this layer changes only with the lock.
COPY requirements/runtime.lock requirements/build.lock requirements/
RUN python -m venv --without-pip /opt/circleci-relay \
 && python -m pip --python /opt/circleci-relay/bin/python install --require-hashes -r requirements/runtime.lock \
 && python -m venv /opt/builder \
 && /opt/builder/bin/python -m pip install --require-hashes -r requirements/build.lock
COPY pyproject.toml README.md LICENSE ./
COPY src src
RUN /opt/builder/bin/python -m pip wheel --no-deps --no-build-isolation --wheel-dir dist . \
 && python -m pip --python /opt/circleci-relay/bin/python install --no-deps dist/*.whl

FROM base
ARG VERSION=0.1.0
LABEL org.opencontainers.image.title="circleci-relay" \
      org.opencontainers.image.description="One CircleCI webhook slot in, as many destinations as you like out, and nothing lost." \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.licenses="Apache-2.0"
# A fixed number, so that volumes and runAsNonRoot can name it.
RUN groupadd --gid 10001 relay \
 && useradd --uid 10001 --gid 10001 --no-create-home --home-dir /data --shell /usr/sbin/nologin relay \
 && mkdir -p /data /etc/circleci-relay \
 && chown 10001:10001 /data
COPY --from=build /opt/circleci-relay /opt/circleci-relay
ENV PATH=/opt/circleci-relay/bin:$PATH PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1
# The store is the one thing written: say `store: {url: "sqlite:////data/relay.db"}`.
WORKDIR /data
VOLUME /data
USER 10001:10001
EXPOSE 8080 8081
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=3s --start-period=10s CMD ["python", "-c", "import http.client as h; c = h.HTTPConnection('127.0.0.1', 8081, timeout=2); c.request('GET', '/healthz'); raise SystemExit(c.getresponse().status != 200)"]
ENTRYPOINT ["circleci-relay"]
CMD ["serve", "-c", "/etc/circleci-relay/relay.yaml"]
