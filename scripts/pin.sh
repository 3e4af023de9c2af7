#!/bin/sh
# Pin anew what an image installs.  pin.sh IMAGE_FOLDER BASE_IMAGE
# Resolves requirements.in in a container of the base image, and writes requirements.txt.
set -eu
folder=$1 base=$2
heading=$(sed -n '/^#/p;/^[^#]/q' "$folder/requirements.txt")
pins=$(docker run --rm --volume "$PWD/$folder:/in:ro" \
  --volume /etc/ssl/certs/ca-certificates.crt:/certificates.crt:ro --env PIP_CERT=/certificates.crt \
  "$base" sh -c 'python3 -m venv /v && /v/bin/pip install --quiet --requirement /in/requirements.in && /v/bin/pip freeze' 2>/dev/null)
[ -n "$pins" ]
printf '%s\n%s\n' "$heading" "$pins" >"$folder/requirements.txt"
