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
# Each server that a script starts has a folder here, with its port in a file.
servers=$cache/servers

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

# The pid in a file, if that process runs. A stale file may name another process by now, but that one
# does not work in the file's folder.
pid_in() {
  local pid
  { read -r pid <"$1"; } 2>/dev/null || return 1
  [[ $(readlink "/proc/$pid/cwd") == "${1%/*}" ]] && echo "$pid"
}

port_is_free() {
  ! grep -qsx "$1" "$servers"/*/port && ! (: <"/dev/tcp/127.0.0.1/$1") 2>/dev/null
}

# A server's folder, open to the user that it runs as.
make_home() {
  mkdir -p "$1"
  as_server test -r "$servers" || die "$servers is closed to the user postgres: choose another REHEARSAL_CACHE"
  ((EUID != 0)) || chown postgres "$1"
}

# The asked port, or the one of the last start, or the first free one from FIRST. To be run under
# a lock on $servers/lock, so that two starts at once get two ports.
reserve_port() {
  local home=$1 port=$2 first=$3
  if [[ -n $port ]]; then
    [[ -f $home/port && $(<"$home/port") == "$port" ]] || port_is_free "$port" || die "port $port is taken"
  elif [[ -f $home/port ]]; then
    return
  else
    port=$first
    until port_is_free "$port"; do port=$((port + 1)); done
  fi
  echo "$port" >"$home/port"
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

# A Python of its own with the packages of a file.
ensure_venv() {
  local venv=$1 wanted=$2
  cmp -s "$wanted" "$venv/requirements.txt" && return
  log "installing Python packages into $venv"
  mkdir -p "$cache"
  rm -rf "$venv"
  /usr/bin/python3 -m venv "$venv"
  "$venv/bin/python" -m pip install --quiet --disable-pip-version-check -r "$wanted"
  cp "$wanted" "$venv/requirements.txt"
}
