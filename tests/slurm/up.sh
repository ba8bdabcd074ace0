#!/bin/sh
# A cluster of one node for tests: munged, slurmctld and slurmd of whoever calls, without systemd and database.
#     tests/slurm/up.sh FOLDER [NAME=VALUE of slurm.conf]...
# All state lies in FOLDER, which must not be there yet; its path must be short, for a socket lies in it. Afterwards
# SLURM_CONF=FOLDER/slurm.conf leads every command of SLURM to this cluster, and down.sh FOLDER ends it.
set -eu
PATH=$PATH:/usr/sbin
mkdir -p "$1"
folder=$(cd "$1" && pwd)
shift
mkdir "$folder/state" "$folder/spool" "$folder/munge"
chmod 700 "$folder/munge"
head -c 128 /dev/urandom > "$folder/munge/key"
chmod 600 "$folder/munge/key"
munged --force --key-file="$folder/munge/key" --socket="$folder/munge/socket" --pid-file="$folder/munge/pid" \
    --log-file="$folder/munge/log" --seed-file="$folder/munge/seed"
host=$(hostname -s)
cores=$(nproc)
{
    # cred_expire: a job that is put back into the queue waits for a second more, by default 121 seconds; 5 is the least
    cat <<END
ClusterName=test
SlurmctldHost=$host(127.0.0.1)
AuthType=auth/munge
AuthInfo=socket=$folder/munge/socket,cred_expire=5
SlurmUser=$(id -un)
SlurmdUser=$(id -un)
StateSaveLocation=$folder/state
SlurmdSpoolDir=$folder/spool
SlurmctldPidFile=$folder/slurmctld.pid
SlurmdPidFile=$folder/slurmd.pid
SlurmctldLogFile=$folder/slurmctld.log
SlurmdLogFile=$folder/slurmd.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
SchedulerParameters=batch_sched_delay=0,sched_interval=2,bf_interval=2,sched_min_interval=0
AccountingStorageType=accounting_storage/none
JobAcctGatherType=jobacct_gather/none
JobCompType=jobcomp/none
MpiDefault=none
ReturnToService=2
NodeName=$host NodeAddr=127.0.0.1 CPUs=$cores State=UNKNOWN
PartitionName=debug Nodes=ALL Default=YES MaxTime=INFINITE State=UP
END
    # ports of their own, so that two such clusters can be up on one machine
    shuf -i 20000-29999 -n 2 | { read -r first; read -r second; printf 'SlurmctldPort=%s\nSlurmdPort=%s\n' "$first" "$second"; }
    for line in "$@"; do printf '%s\n' "$line"; done
} > "$folder/slurm.conf"
export SLURM_CONF="$folder/slurm.conf"
slurmctld
slurmd
for _ in $(seq 100); do
    if sinfo --noheader --format %t 2> /dev/null | grep -q idle; then exit 0; fi
    sleep 0.1
done
echo "no node is idle after ten seconds; what the daemons say is in $folder/slurmctld.log and $folder/slurmd.log" >&2
exit 1
