#!/usr/bin/env bash
# Makes a venv with the packages of a requirements file.
#
# Usage: tools/venv.sh FOLDER REQUIREMENTS
#
# A venv that is there stays, if it is not older than the requirements, and its Python runs and is new enough. Any other is
# made again from nothing: the packages of another Python are of no use.
set -euo pipefail

folder=$1
requirements=$2
rule="Python 3.11 or newer, with venv, is needed"
version='import sys; print("%d.%d.%d" % sys.version_info[:3]); sys.exit(sys.version_info < (3, 11))'
# After an update of the Python under it, a venv looks for its packages in a folder that is not there.
works='import importlib.util, sys; sys.exit(sys.version_info < (3, 11) or importlib.util.find_spec("pip") is None)'

if [[ -e $folder/installed && ! $requirements -nt $folder/installed ]] && "$folder/bin/python3" -c "$works" 2>/dev/null; then
  exit
fi
if ! program=$(command -v python3); then
  echo "error: $rule; there is no python3 on the PATH" >&2
  exit 1
fi
if ! found=$(python3 -c "$version"); then
  echo "error: $rule; the python3 on the PATH, $program, is ${found:-broken}. Install a newer one, and put it first on the PATH" >&2
  exit 1
fi
if ! python3 -c 'import ensurepip, venv' 2>/dev/null; then
  echo "error: $rule; the python3 on the PATH, $program, is $found and has no venv. On Debian and Ubuntu: apt install python3-venv" >&2
  exit 1
fi
echo "making $folder with Python $found"
python3 -m venv --clear "$folder"
"$folder/bin/python3" -m pip install --quiet --disable-pip-version-check -r "$requirements"
touch "$folder/installed"
