# syntax=docker/dockerfile:1
# Go builds for any platform on any other: nothing is emulated.
FROM --platform=$BUILDPLATFORM golang:1.26-bookworm AS build
ARG TARGETOS TARGETARCH
WORKDIR /src
COPY go.mod go.sum ./
RUN --mount=type=cache,target=/go/pkg/mod go mod download
COPY . .
RUN --mount=type=cache,target=/go/pkg/mod --mount=type=cache,target=/root/.cache/go-build \
    CGO_ENABLED=0 GOOS=$TARGETOS GOARCH=$TARGETARCH go build -trimpath -ldflags '-s -w' -o /out/purgebot ./cmd/purgebot
# The database's folder, for a user that has no shell to make it.
RUN mkdir -p /out/data /out/tmp && chmod 1777 /out/tmp

FROM scratch
COPY --from=build /etc/ssl/certs/ca-certificates.crt /etc/ssl/certs/
COPY --from=build --chown=65532:65532 /out/data /data
COPY --from=build /out/tmp /tmp
COPY --from=build /out/purgebot /purgebot
USER 65532:65532
WORKDIR /data
VOLUME /data
ENV HOME=/data PURGEBOT_LISTEN=0.0.0.0:8080 PURGEBOT_DATABASE=sqlite:/data/purgebot.db
EXPOSE 8080
HEALTHCHECK --interval=15s --timeout=5s --start-period=20s CMD ["/purgebot", "healthcheck"]
ENTRYPOINT ["/purgebot"]
CMD ["serve"]
