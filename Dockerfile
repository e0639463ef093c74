# Keyfob in a container: no root, no shell needed, works on a read-only root file system. docs/docker.md tells the rest.
ARG PYTHON=python:3.13-slim

FROM ${PYTHON} AS build
WORKDIR /src
COPY . .
# pip stays out of the image: it installs into /app from an environment beside it. Bytecode is compiled now, because a
# read-only root cannot keep it.
RUN python3 -m venv /pip \
 && python3 -m venv --without-pip /app \
 && /pip/bin/pip --python /app/bin/python install --no-cache-dir --compile -c constraints.txt . \
 && install -d -m 0700 -o 10001 -g 10001 /out/state /out/run/keyfob

FROM ${PYTHON}
COPY --from=build /app /app
COPY --from=build /out/ /
ENV PATH=/app/bin:$PATH \
    HOME=/state \
    KEYFOB_STATE_DIR=/state \
    KEYFOB_RUNTIME_DIR=/run/keyfob \
    KEYFOB_KEY_SOURCE=file \
    KEYFOB_KEY_FILE=/run/secrets/keyfob-key \
    KEYFOB_LOG_FORMAT=json
USER 10001:10001
# The logins; and the app socket, for containers that mount the same volume.
VOLUME ["/state", "/run/keyfob"]
# A refresh that is under way is finished first; its deadline is 20 s: give `docker stop` more than its usual 10.
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=30s --timeout=5s --start-period=10s CMD ["/app/bin/keyfob", "healthcheck"]
ENTRYPOINT ["/app/bin/keyfob"]
CMD ["serve"]
