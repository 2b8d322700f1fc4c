# docker build -t hawser .
# docker run --rm -p 8080:8080 -v "$PWD/routes:/routes:ro" hawser run --manifests /routes

FROM rust:1.95-bookworm AS build
WORKDIR /src
COPY Cargo.toml Cargo.lock ./
COPY benches benches
COPY src src
RUN cargo build --release --locked --bin hawser && strip target/release/hawser

FROM debian:bookworm-slim
COPY --from=build /src/target/release/hawser /usr/local/bin/hawser
# The number that Kubernetes examples call nonroot; it needs no name, no home and no capability.
USER 65532:65532
EXPOSE 8080 9100 9101
ENTRYPOINT ["/usr/local/bin/hawser"]
CMD ["--help"]
