#!/busybox sh
# The first process of a machine of the matrix: makes the host's files its own, below a file system in memory that takes
# what is written, and hands over to /then. What it says goes over the second serial line; the first is the kernel's.

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

mkdir -p /root/proc /root/sys /root/dev /root/tmp /root/.guest
cp /busybox /command /root/.guest
mount -t devtmpfs dev /root/dev
ip link set lo up
. /then
