#!/bin/sh
# End the cluster that up.sh FOLDER started; its jobs are cancelled first.
#     tests/slurm/down.sh FOLDER
set -u
export SLURM_CONF="$1/slurm.conf"
timeout 5 scancel --user="$(id -un)" 2> /dev/null
for file in slurmd.pid slurmctld.pid munge/pid; do
    pid=$(cat "$1/$file" 2> /dev/null) || continue
    kill "$pid" 2> /dev/null
    for _ in $(seq 50); do kill -0 "$pid" 2> /dev/null || break; sleep 0.1; done
done
exit 0
