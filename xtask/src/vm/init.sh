#!/busybox sh
# The first process of a machine of the matrix: makes the host's files its own, below a file system in memory that takes
# what is written, and runs the command. What it says goes over the second serial line; the first is the kernel's.

say() { echo "guest: $1" > /dev/ttyS1; }
give_up() { say "failed: $1"; sleep 60; poweroff -f; }

/busybox mkdir -p /bin /proc /sys /dev /host /memory /root
/busybox --install -s /bin
export PATH=/bin
mount -t proc proc /proc
mount -t sysfs sys /sys
mount -t devtmpfs dev /dev
for module in /modules/*; do
    insmod "$module" || give_up "the kernel refused module $module"
done

mount -t 9p -o trans=virtio,version=9p2000.L,ro,msize=262144,cache=loose host /host || give_up "no 9p"
mount -t tmpfs -o size=1g memory /memory
mkdir /memory/upper /memory/work
mount -t overlay -o lowerdir=/host,upperdir=/memory/upper,workdir=/memory/work overlay /root || give_up "no overlay"

mkdir -p /root/proc /root/sys /root/dev /root/tmp
mount -t proc proc /root/proc
mount -t sysfs sys /root/sys
mount --move /dev /root/dev
mkdir -p /root/dev/pts /root/dev/shm
mount -t devpts pts /root/dev/pts
mount -t tmpfs shm /root/dev/shm
mount -t securityfs security /root/sys/kernel/security
mount -t tracefs tracing /root/sys/kernel/tracing
mount -t bpf bpf /root/sys/fs/bpf
mount -t cgroup2 cgroup /root/sys/fs/cgroup || give_up "no cgroup2"
ip link set lo up
mkdir -p /root/.guest
cp /busybox /command /root/.guest

exec switch_root /root /.guest/busybox sh -c '
    sh=/.guest/busybox
    echo "guest: up $($sh uname -r) $($sh cat /sys/kernel/security/lsm)" > /dev/ttyS1
    $sh sh /.guest/command < /dev/null > /dev/ttyS1 2>&1
    echo "guest: exit $?" > /dev/ttyS1
    # Whoever started this machine ends it now.
    $sh sleep 60
    $sh poweroff -f'
