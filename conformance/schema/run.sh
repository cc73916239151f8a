#!/bin/bash
# Sends what the server's own document allows, and what it does not, to a running server, and checks each answer against it.
#
#   conformance/schema/run.sh SCHEMATHESIS [OPTION]...
#
# First with the key of $DAYTONA_API_KEY, then without one; each for a bounded time. The options go to both.
set -euo pipefail

SECONDS_WITH_KEY=90
SECONDS_WITHOUT=30

program=$(realpath "$1")
shift
url=${DAYTONA_API_URL%/api}
# It keeps what it found in the folder it runs in.
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"

# A stream of events has no end, so it is left out. Not checked: whether every body that the document does not allow is refused,
# since unknown fields are ignored as the contract says. One worker: its own generators are not safe for two.
check() {
    "$program" run "$url/api/openapi.json" --url "$url" --phases coverage,fuzzing --request-timeout 60 --no-color \
        --checks not_a_server_error,status_code_conformance,content_type_conformance,response_schema_conformance,ignored_auth \
        --exclude-path /api/events --no-shrink --continue-on-failure --max-time "$@"
}

failed=0
check "$SECONDS_WITH_KEY" --header "Authorization: Bearer $DAYTONA_API_KEY" "$@" || failed=1
check "$SECONDS_WITHOUT" "$@" || failed=1
exit $failed
