#!/usr/bin/env bash
# Builds the documentation into docs/build and fails on any warning; the tutorials run. Arguments go to sphinx-build: -D plot_gallery=0 leaves them out.
source "$(dirname "$0")/venv.sh" docs,fast

say "Documentation"
OMP_WAIT_POLICY=passive MPLBACKEND=agg .venv/bin/python -m sphinx -W --keep-going -q -b html "$@" docs docs/build
echo "open docs/build/index.html"
