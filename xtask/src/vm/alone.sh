# Read by init.sh: mounts what systems have, and runs the command with nothing else beside it.

mount -t proc proc /root/proc
mount -t sysfs sys /root/sys
mkdir -p /root/dev/pts /root/dev/shm
mount -t devpts pts /root/dev/pts
mount -t tmpfs shm /root/dev/shm
mount -t securityfs security /root/sys/kernel/security
mount -t tracefs tracing /root/sys/kernel/tracing
mount -t bpf bpf /root/sys/fs/bpf
mount -t cgroup2 cgroup /root/sys/fs/cgroup || give_up "no cgroup2"

exec switch_root /root /.guest/busybox sh -c '
    sh=/.guest/busybox
    echo "guest: up $($sh uname -r) $($sh cat /sys/kernel/security/lsm)" > /dev/ttyS1
    $sh sh /.guest/command < /dev/null > /dev/ttyS1 2>&1
    echo "guest: exit $?" > /dev/ttyS1
    # Whoever started this machine ends it now.
    $sh sleep 60
    $sh poweroff -f'
