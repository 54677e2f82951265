#!/bin/sh
# Runs a command with the memory and the share of a processor that Lambda gives for so many megabytes, by cgroups (either
# version), which takes root. Lambda gives a whole processor at 1,769 MB, and shares in proportion:
# https://docs.aws.amazon.com/lambda/latest/dg/configuration-memory.html
#
# Usage: limited.sh MEGABYTES COMMAND…
set -eu
megabytes=$1
shift
root=/sys/fs/cgroup
# Of a second divided into fiftieths.
period=20000
quota=$((megabytes * period / 1769))
bytes=$((megabytes * 1024 * 1024))
# What earlier runs left is empty.
rmdir "$root"/ivs-bench-* "$root"/cpu/ivs-bench-* "$root"/memory/ivs-bench-* 2>/dev/null || true
if [ -e "$root/cgroup.controllers" ]; then
  mkdir "$root/ivs-bench-$$"
  echo "$quota $period" >"$root/ivs-bench-$$/cpu.max"
  echo "$bytes" >"$root/ivs-bench-$$/memory.max"
  echo $$ >"$root/ivs-bench-$$/cgroup.procs"
else
  mkdir "$root/cpu/ivs-bench-$$" "$root/memory/ivs-bench-$$"
  echo "$period" >"$root/cpu/ivs-bench-$$/cpu.cfs_period_us"
  echo "$quota" >"$root/cpu/ivs-bench-$$/cpu.cfs_quota_us"
  echo "$bytes" >"$root/memory/ivs-bench-$$/memory.limit_in_bytes"
  echo $$ >"$root/cpu/ivs-bench-$$/cgroup.procs"
  echo $$ >"$root/memory/ivs-bench-$$/cgroup.procs"
fi
# Lambda tells the function, which bounds its rows by it.
export AWS_LAMBDA_FUNCTION_MEMORY_SIZE="$megabytes"
exec "$@"
