#!/bin/sh
# Makes what deploy/compose.yaml needs and git must not have: passwords, API keys, the folders that containers write to.
#   sh deploy/secrets.sh
# What is there already stays as it is. Files are mode 600 and belong to the user that the containers run as: the one who
# runs this, or 10001 where that is root. API keys are made with the project's Python (make setup; PYTHON=... for another).
set -eu
umask 077
cd "$(dirname "$0")"
python="${PYTHON:-../.venv/bin/python}"
uid="$(id -u)" gid="$(id -g)"
[ "$uid" -ne 0 ] || { uid=10001 gid=10001; }

random() { head -c 32 /dev/urandom | od -An -v -tx1 | tr -d ' \n'; }

# Each file appears whole or not at all: the script may be interrupted and run again.
keep() { # NAME TEXT
  [ -s "secrets/$1" ] || { printf '%s\n' "$2" > "secrets/.$1" && mv "secrets/.$1" "secrets/$1"; }
}

api_key() { # NAME SCOPES
  [ -s "secrets/$1" ] && return
  key="$(cd .. && "$python_path" -m safelight.credentials new --scopes "$2" --file deploy/state/service/api-keys.jsonl)"
  keep "$1" "$key"
}

mkdir -p secrets state/service state/redis state/postgres state/mlflow state/prometheus state/grafana
python_path="$(command -v "$python")" || { echo "No Python at $python: make setup, or PYTHON=..." >&2; exit 1; }
case "$python_path" in /*) ;; *) python_path="$(pwd)/$python_path" ;; esac

keep redis_password "$(random)"
redis_password="$(cat secrets/redis_password)"
keep redis_conf "requirepass $redis_password"
keep redis_url "redis://:$redis_password@redis:6379/0"
keep postgres_password "$(random)"
keep pgpass "postgres:5432:mlflow:mlflow:$(cat secrets/postgres_password)"
keep grafana_password "$(random)"
api_key metrics_key metrics
api_key client_key detect,models
printf 'SAFELIGHT_UID=%s\nSAFELIGHT_GID=%s\n' "$uid" "$gid" > .env
[ "$(id -u)" -ne 0 ] || chown -R "$uid:$gid" secrets state

echo "Ready: docker compose --file deploy/compose.yaml up --build --wait"
echo "Clients need the API key in deploy/secrets/client_key; Grafana's user admin has the password in grafana_password."
