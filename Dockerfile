# syntax=docker/dockerfile:1
# The image of operator, agent and installer, for those who can pull its bases:
#   make build && docker buildx build --platform linux/amd64,linux/arm64 --tag REGISTRY/berth:VERSION --push .
# `make image` makes the same without a registry. What is in it and how it starts stands in hack/image/contents.ts too;
# a test compares the two.
FROM docker.io/library/node:24-bookworm-slim AS node

FROM gcr.io/distroless/cc-debian12:nonroot
ARG TARGETARCH
ARG BERTH_VERSION
ARG BERTH_SOURCE=""
ARG BERTH_REVISION=""
LABEL org.opencontainers.image.title="Berth" \
      org.opencontainers.image.description="IP address management for Kubernetes: operator, node agent and CNI plugin" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="${BERTH_VERSION}" \
      org.opencontainers.image.source="${BERTH_SOURCE}" \
      org.opencontainers.image.revision="${BERTH_REVISION}"
COPY --from=node /usr/local/bin/node /usr/local/bin/node
COPY --chmod=644 dist/agent.mjs /berth/agent.mjs
COPY --chmod=644 dist/operator.mjs /berth/operator.mjs
COPY --chmod=644 dist/install.mjs /berth/install.mjs
COPY --chmod=644 dist/remove.mjs /berth/remove.mjs
COPY --chmod=644 dist/verify.mjs /berth/verify.mjs
COPY --chmod=644 dist/agent.mjs.LEGAL.txt /berth/agent.mjs.LEGAL.txt
COPY --chmod=644 dist/operator.mjs.LEGAL.txt /berth/operator.mjs.LEGAL.txt
COPY --chmod=644 dist/remove.mjs.LEGAL.txt /berth/remove.mjs.LEGAL.txt
COPY --chmod=644 dist/verify.mjs.LEGAL.txt /berth/verify.mjs.LEGAL.txt
COPY --chmod=755 dist/berth-linux-${TARGETARCH} /berth/berth
COPY --chmod=644 LICENSE /berth/LICENSE
ENV PATH=/usr/local/bin NODE_ENV=production
USER 65532:65532
WORKDIR /
ENTRYPOINT ["/usr/local/bin/node"]
CMD ["/berth/operator.mjs", "--help"]
