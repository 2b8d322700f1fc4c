# docker build -t hawser .
# docker run --rm --read-only -p 8080:8080 -v "$PWD/routes:/routes:ro" hawser run --manifests /routes
#
# Both bases are named by tags, which move: rust by a version, distroless by the release of Debian alone. There are no
# digests here because no registry could be reached where this file was written. To pin a base to the byte, resolve its
# name once (`docker buildx imagetools inspect NAME`) and write NAME@sha256:...; what the last stage must hold is
# checked by tests/it/image.rs.

ARG RUST=1.95

FROM rust:${RUST}-bookworm AS build
WORKDIR /src
# Kernels for arm64 have pages of 4, 16 or 64 KiB, and jemalloc must be built for the largest that may come.
RUN if [ "$(uname -m)" = aarch64 ]; then \
        printf '[env]\nJEMALLOC_SYS_WITH_LG_PAGE = "16"\n' >> "$CARGO_HOME/config.toml"; \
    fi
# Dependencies first, built for sources without content: this layer lasts until Cargo.toml or Cargo.lock changes.
# Cargo refuses a manifest whose targets have no file, so each [[bench]] needs one.
COPY Cargo.toml Cargo.lock ./
RUN mkdir -p src benches \
    && touch src/lib.rs benches/table.rs benches/propagation.rs benches/cluster.rs \
    && echo 'fn main() {}' > src/main.rs \
    && cargo build --release --locked --bin hawser
COPY src src
# Newer than what was built above, whatever the times in the checkout are.
RUN touch src/lib.rs src/main.rs \
    && cargo build --release --locked --bin hawser \
    && strip target/release/hawser

# The C library and the compiler's runtime, CA certificates and time zones; no shell, no package manager.
# base-packages: base-files netbase tzdata ca-certificates libc6 libgcc-s1
FROM gcr.io/distroless/cc-debian12:nonroot
LABEL org.opencontainers.image.title="hawser" \
      org.opencontainers.image.description="Kubernetes ingress controller for long-lived connections" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.base.name="gcr.io/distroless/cc-debian12:nonroot"
COPY --from=build /src/target/release/hawser /usr/local/bin/hawser
# By number, as runAsNonRoot wants it; it needs no name, no home and no capability.
USER 65532:65532
# Traffic, admin (on loopback by default), status.
EXPOSE 8080 9100 9101
STOPSIGNAL SIGTERM
ENTRYPOINT ["/usr/local/bin/hawser"]
CMD ["--help"]
