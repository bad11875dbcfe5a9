#!/bin/sh
# Starts PostgreSQL as the usual image does, as far as tests need it; anything else is run as it is.
set -eu
[ "$1" = postgres ] || exec "$@"
shift
PATH="$(echo /usr/lib/postgresql/*/bin):$PATH"
: "${PGDATA:=/var/lib/postgresql/data}" "${POSTGRES_USER:=postgres}"
: "${POSTGRES_DB:=$POSTGRES_USER}"
if [ -n "${POSTGRES_PASSWORD_FILE:-}" ]; then POSTGRES_PASSWORD="$(cat "$POSTGRES_PASSWORD_FILE")"; fi
# initdb looks the user up by name, and this one may have none.
if ! id -un >/dev/null 2>&1; then
  echo "postgres:x:$(id -u):$(id -g)::/:/bin/sh" >/tmp/passwd
  export LD_PRELOAD="$(ls /usr/lib/*/libnss_wrapper.so)" NSS_WRAPPER_PASSWD=/tmp/passwd NSS_WRAPPER_GROUP=/etc/group
fi
if [ ! -s "$PGDATA/PG_VERSION" ]; then
  umask 077
  printf '%s' "$POSTGRES_PASSWORD" >/tmp/password
  initdb --username="$POSTGRES_USER" --pwfile=/tmp/password --auth=scram-sha-256 --pgdata="$PGDATA" --no-sync >&2
  rm /tmp/password
  if [ "$POSTGRES_DB" != postgres ]; then
    echo "CREATE DATABASE \"$POSTGRES_DB\"" | postgres --single -D "$PGDATA" postgres >&2
  fi
  echo 'host all all all scram-sha-256' >>"$PGDATA/pg_hba.conf"
fi
exec postgres -D "$PGDATA" -c listen_addresses='*' -c unix_socket_directories=/tmp "$@"
