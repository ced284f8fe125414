# shellcheck shell=bash
# Sourced by the other scripts: where things stand, who may do what, and how to say it.

# shellcheck disable=SC2034
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)

# Root's home is closed to the user that servers run as, so root's cache is elsewhere.
if [[ -n ${REHEARSAL_CACHE:-} ]]; then
  cache=$REHEARSAL_CACHE
elif ((EUID == 0)); then
  cache=/var/cache/rehearsal
else
  cache=${XDG_CACHE_HOME:-$HOME/.cache}/rehearsal
fi
# shellcheck disable=SC2034
python=$cache/venv/bin/python

log() { printf '\033[1m==>\033[0m %s\n' "$*" >&2; }

die() {
  printf '%s: %s\n' "${0##*/}" "$*" >&2
  exit 1
}

as_root() {
  if ((EUID == 0)); then
    "$@"
  elif command -v sudo >/dev/null; then
    sudo "$@"
  else
    die "root is needed for: $* (run as root, or install sudo)"
  fi
}

# PostgreSQL refuses to run as root: its Debian package's own user stands in.
as_server() {
  if ((EUID == 0)); then
    (cd / && runuser -u postgres -- "$@")
  else
    "$@"
  fi
}

ensure_packages() {
  local package missing=()
  for package in "$@"; do
    [[ $(dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null) == installed ]] || missing+=("$package")
  done
  ((${#missing[@]} == 0)) && return
  log "installing ${missing[*]}"
  local install=(env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${missing[@]}")
  # A fresh machine's package lists are missing or old: fetch them only then.
  as_root "${install[@]}" </dev/null >/dev/null 2>&1 && return
  as_root apt-get update -qq </dev/null
  as_root "${install[@]}" </dev/null >/dev/null
}
