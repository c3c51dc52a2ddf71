#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
#   numpy_test.sh ROOT LIBRARY LOADER --library-path PATH
# compares what Python and numpy under ROOT compute with their own BLAS and with LIBRARY before it.
set -eu
root=$1 library=$2
shift 2
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
export PYTHONHOME="$root/usr" PYTHONPATH="$root/usr/lib/python3/dist-packages" PYTHONDONTWRITEBYTECODE=1
script=$(dirname "$0")/numpy_test.py
"$@" "$root/usr/bin/python3" "$script" save "$work/results.npz"
"$@" --preload "$library" "$root/usr/bin/python3" "$script" compare "$work/results.npz"
