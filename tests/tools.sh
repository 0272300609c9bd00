#!/usr/bin/env bash
# Finds, or as root on Debian installs, the programs that tests run and Python's packages do not bring: Prometheus with
# promtool, a headless Chromium, and the compilers of the example producers. Without the right to install them it says
# what to install and ends: no test is left out because its program is missing.
set -eu

declare -A package=(
  [promtool]=prometheus
  [prometheus]=prometheus
  [chromium]="chromium fonts-dejavu-core"
  [go]=golang-go
  [javac]=default-jdk-headless
  [node]=nodejs
  [npm]=npm
)
missing=()
for program in "${!package[@]}"; do
  command -v "$program" > /dev/null || missing+=("${package[$program]}")
done
[ ${#missing[@]} -eq 0 ] && exit 0
mapfile -t missing < <(printf "%s\n" ${missing[*]} | sort -u)

if [ "$(id -u)" -ne 0 ] || ! command -v apt-get > /dev/null; then
  echo "make: the tests need programs that are not here: ${missing[*]} (by their names in Debian)." >&2
  echo "      Install them, on Debian and Ubuntu with: sudo apt install ${missing[*]}" >&2
  exit 1
fi

echo "Installing what the tests run: ${missing[*]}"
# Their packages would start them as services; the tests start their own.
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
printf '#!/bin/sh\nexit 101\n' > "$folder/policy-rc.d"
chmod +x "$folder/policy-rc.d"
install() {
  DEBIAN_FRONTEND=noninteractive POLICYRCD="$folder/policy-rc.d" apt-get install --yes --quiet=2 \
    --no-install-recommends "${missing[@]}" > "$folder/log" 2>&1
}
install || { apt-get update --quiet=2 && install; } || { cat "$folder/log" >&2; exit 1; }
