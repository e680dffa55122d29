# c8auth proxy as a sidecar: a static binary and certificates. `make image` puts both into
# .aws-sam/image, and builds from there.
FROM scratch
COPY ca-certificates.crt /etc/ssl/certs/
COPY c8auth /
# Where the path of the URL is kept for the program, which has a container of its own.
COPY --chown=65532:65532 run /run/c8auth/
VOLUME /run/c8auth
USER 65532:65532
HEALTHCHECK --interval=5s --timeout=3s --start-period=5s CMD ["/c8auth", "proxy", "--ping", "--listen", "127.0.0.1:8918"]
ENTRYPOINT ["/c8auth", "proxy"]
CMD ["--listen", "127.0.0.1:8918", "--path-file", "/run/c8auth/path"]
