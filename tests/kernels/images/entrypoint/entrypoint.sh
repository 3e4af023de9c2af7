#!/bin/sh
export FROM_ENTRYPOINT="set by the entrypoint"
exec "$@"
