#!/bin/sh
# Accepts a picture, follows it and fetches it, then cancels another.
#
#   sh curl.sh [URL] [FOLDER]     SKIPSTEP_KEY is the key, where the server has any
set -eu
url=${1:-http://127.0.0.1:8000}
folder=${2:-.}

ask() {
    curl --silent --show-error --fail-with-body \
        ${SKIPSTEP_KEY:+--header "Authorization: Bearer $SKIPSTEP_KEY"} "$@"
}

# with an Idempotency-Key it is safe to ask again: curl waits as Retry-After says, and there is one job whatever happens
accept() {
    answer=$(ask --retry 5 --header "Idempotency-Key: $1" --json "$2" "$url/v1/jobs") || {
        echo "$answer" >&2
        exit 1
    }
    echo "$answer" | sed 's/.*"self":"\([^"]*\)".*/\1/'
}

job=$(accept "curl-$$-$(date +%s)-1" '{
    "kind": "image", "prompt": "a red apple", "steps": 30, "seed": 1, "acceleration": {"preset": "balanced"}
}')
echo "accepted $job"
ask --no-buffer "$url$job/events"
ask --output "$folder/apple.png" "$url$job/outputs/0.png"
echo "wrote $folder/apple.png"

other=$(accept "curl-$$-$(date +%s)-2" '{"kind": "image", "prompt": "a fox on a blue background", "steps": 500}')
echo "canceling $other"
ask --request POST "$url$other/cancel" | sed 's/.*"status":"\([a-z]*\)".*/it is \1/'
