# Build it on the platform it is for, amd64 or arm64. The image contains one static binary and the CA certificates.
FROM docker.io/library/rust:1.95-bookworm AS build
# The musl compiler, for C code in the TLS library.
RUN apt-get update \
    && apt-get install --yes --no-install-recommends ca-certificates musl-tools \
    && rm -rf /var/lib/apt/lists/* \
    && rustup target add "$(uname -m)-unknown-linux-musl" wasm32-unknown-unknown
WORKDIR /src
COPY . .
RUN --mount=type=cache,target=/usr/local/cargo/registry \
    --mount=type=cache,target=/src/target \
    target="$(uname -m)-unknown-linux-musl" \
    && cargo build --locked --release --bin k8s-copycat --target "$target" \
    && mkdir /out \
    && cp "target/$target/release/k8s-copycat" /out/

FROM scratch
COPY --from=build /etc/ssl/certs/ca-certificates.crt /etc/ssl/certs/
COPY --from=build /out/k8s-copycat /k8s-copycat
# Numeric, because there is no /etc/passwd, and because Kubernetes checks runAsNonRoot by number.
USER 65532:65532
# 8080: metrics and endpoints; 8081: health.
EXPOSE 8080 8081
ENTRYPOINT ["/k8s-copycat"]
