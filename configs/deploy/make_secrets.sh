#!/bin/sh
# Random keys and passwords for compose.yaml, below secrets/; those that exist stay.
set -eu
folder=${1:-$(dirname "$0")/secrets}
mkdir -p "$folder"
chmod 755 "$folder"
for name in api_keys postgres_password store_password grafana_password; do
  # Readable for the containers' users, who are not this one; the folder is the place to guard.
  [ -s "$folder/$name" ] || od -An -N 24 -tx1 /dev/urandom | tr -d ' \n' > "$folder/$name"
  chmod 644 "$folder/$name"
done
echo "$folder"
