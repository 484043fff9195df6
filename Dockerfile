# `twotide serve`, built from this checkout:
#
#   docker build -t twotide .
#   docker run -p 8787:8787 -v twotide:/data -v ./tokens:/tokens:ro twotide
#
# The file `tokens` has one NAME=SECRET a line: without tokens a server listens on loopback only.
FROM rust:1.95-slim-trixie AS build
RUN apt-get update && apt-get install -y --no-install-recommends cmake gcc libc6-dev make && rm -rf /var/lib/apt/lists/*
WORKDIR /src
COPY . .
RUN cargo build --locked --profile dist -p twotide-cli

FROM debian:trixie-slim
RUN useradd --system --uid 10001 --home-dir /data --create-home twotide
COPY --from=build /src/target/dist/twotide /usr/local/bin/twotide
COPY LICENSE LICENSE-APACHE LICENSE-MIT /usr/share/doc/twotide/
USER twotide
WORKDIR /data
VOLUME /data
EXPOSE 8787
# A signal ends it cleanly, with everything in one file.
STOPSIGNAL SIGTERM
ENTRYPOINT ["twotide"]
CMD ["serve", "--listen", "0.0.0.0:8787", "--storage", "sqlite:/data/server.db", "--token-file", "/tokens"]
