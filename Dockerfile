# Builds natively for amd64 or arm64. The image has one static binary, without the tools for plugin authors, and the trusted
# root certificates.
FROM docker.io/library/rust:1.95-bookworm AS build
# musl's compiler builds the C code of the TLS library.
RUN apt-get update \
    && apt-get install --yes --no-install-recommends ca-certificates musl-tools \
    && rm -rf /var/lib/apt/lists/* \
    && rustup target add "$(uname -m)-unknown-linux-musl" wasm32-unknown-unknown
WORKDIR /src
COPY . .
# For `version`: the context has no git repository.
ARG K8S_COPYCAT_COMMIT
RUN --mount=type=cache,target=/usr/local/cargo/registry \
    --mount=type=cache,target=/src/target \
    target="$(uname -m)-unknown-linux-musl" \
    && cargo build --locked --release --no-default-features --bin k8s-copycat --target "$target" \
    && mkdir /out \
    && cp "target/$target/release/k8s-copycat" /out/

FROM scratch
COPY --from=build /etc/ssl/certs/ca-certificates.crt /etc/ssl/certs/
COPY --from=build /out/k8s-copycat /k8s-copycat
# Numeric, because there is no /etc/passwd, and Kubernetes requires it for runAsNonRoot.
USER 65532:65532
# 8080: metrics and endpoints, 8081: health probes.
EXPOSE 8080 8081
ENTRYPOINT ["/k8s-copycat"]
