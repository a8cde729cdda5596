# Read by init.sh: hands over to systemd, which mounts the rest itself and then starts the command, as a service of its own.
# Before that the command is run on what is only an image yet. Of the services that the host's administrator has set up none is
# there.

systemd=/root/etc/systemd/system
rm -rf "$systemd"
mkdir -p "$systemd/multi-user.target.wants"
: > /root/etc/fstab
echo 5f0c1d2b9a8e47763f21d4c5b6a79880 > /root/etc/machine-id
# systemd leaves much of a container to what runs that. The host may be one, this machine is none. What runs on the host has
# left nothing in an image.
rm -rf /root/.dockerenv /root/run
# Nor does what keeps packages from starting services in a container.
rm -f /root/usr/sbin/policy-rc.d
mkdir /root/run
# The pages of the manual that the host has would be indexed each time that a package is installed, for minutes.
mkdir -p /root/usr/share/man
mount -t tmpfs tmpfs /root/usr/share/man
# Nobody sits at a terminal, and nobody would tell that there is one.
ln -s /dev/null "$systemd/getty.target"
# What is shown of jobs that take long would fill the kernel's console.
mkdir -p "$systemd.conf.d"
echo '[Manager]
ShowStatus=no' > "$systemd.conf.d/guest.conf"

mount -t proc proc /root/proc
chroot /root /.guest/busybox sh /.guest/command --image > /root/dev/ttyS1 2>&1 || give_up "the image was not prepared"
umount /root/proc

cat > /root/.guest/up <<'END'
sh=/.guest/busybox
echo "guest: up $($sh uname -r) $($sh cat /sys/kernel/security/lsm)"
$sh sh /.guest/command
echo "guest: exit $?"
END
cat > "$systemd/guest.service" <<'END'
[Unit]
Description=What this machine was made for
After=multi-user.target
[Service]
ExecStart=/.guest/busybox sh /.guest/up
StandardOutput=file:/dev/ttyS1
StandardError=inherit
END
ln -s ../guest.service "$systemd/multi-user.target.wants/guest.service"

exec switch_root /root /lib/systemd/systemd --unit=multi-user.target
