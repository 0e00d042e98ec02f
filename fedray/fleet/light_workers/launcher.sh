#!/bin/sh
# Stands in for Python where Ray starts the processes of a local cluster: a worker is asked of the stub, which starts in
# a fiftieth of a second; everything else is started as ever.
case $1 in
*/default_worker.py) exec "$FEDRAY_PYTHON" -I -S "${0%/*}/stub.py" "$@" ;;
*) exec "$FEDRAY_PYTHON" "$@" ;;
esac
