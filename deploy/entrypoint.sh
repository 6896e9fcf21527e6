#!/bin/sh
# Start the service; what follows are flags of server.py.
set -eu
# numba takes compiled code only from a folder that it can write to, and the image is read-only.
mkdir -p "$NUMBA_CACHE_DIR"
cp -r /app/numba-cache/. "$NUMBA_CACHE_DIR"
exec python server.py "$@"
