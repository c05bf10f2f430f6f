# The guest's first process, until systemd takes its place: mounts what an image would have mounted, has Ignition apply the custom
# data as the first boot's initramfs does, and lets systemd start Docker, Azure's agent and whatever Ignition enabled.
#
#   folder    with `agent.sh`, and `config.ign` if there is custom data
#   address   of the machine's interface, and   router   its way out
#   image     the archive that stands for a registry

export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin HOME=/root TERM=dumb
exec </dev/null >/dev/console 2>&1
ignition=/usr/lib/dracut/modules.d/30ignition/ignition
units=/etc/systemd/system

mount -t tmpfs -o mode=755 tmpfs /run
mkdir -p /sys/fs/cgroup && mount -t cgroup2 cgroup2 /sys/fs/cgroup
mkdir -p /dev/pts /dev/shm && mount -t devpts devpts /dev/pts && mount -t tmpfs tmpfs /dev/shm
# Nothing of what this machine's own installation would start.
for empty in "$units" /lib/systemd/system-generators /etc/docker /etc/adit /var/lib/docker /var/lib/containerd \
    /lib/systemd/system/sysinit.target.wants /lib/systemd/system/multi-user.target.wants \
    /lib/systemd/system/sockets.target.wants /lib/systemd/system/timers.target.wants; do
    mkdir -p "$empty" && mount -t tmpfs -o mode=755 tmpfs "$empty"
done
/sbin/ip link set lo up
/sbin/ip address add "$address" dev eth0 && /sbin/ip link set eth0 up && /sbin/ip route add default via "$router"
echo 'nameserver 198.51.100.2' >/etc/resolv.conf

if [ -e "$folder/config.ign" ]; then
    # Debian's Ignition labels what it has written, whether there is SELinux or not.
    mkdir -p /etc/selinux && echo SELINUXTYPE=none >/etc/selinux/config
    printf '#!/bin/sh\n' >/usr/local/sbin/setfiles && chmod 755 /usr/local/sbin/setfiles
    for stage in fetch files; do
        IGNITION_CONFIG_FILE=$folder/config.ign $ignition --platform=file --stage=$stage --root=/ \
            --config-cache=/run/ignition.json --log-to-stdout && continue
        echo 'first boot: failed'
        exec busybox poweroff -f
    done
    # What systemd itself does with presets on a first boot.
    while read -r verb unit; do
        [ "$verb" != enable ] || systemctl preset "$unit"
    done </etc/systemd/system-preset/20-ignition.preset
fi

mkdir -p $units/multi-user.target.wants
cat >$units/image.service <<END
[Unit]
Requires=docker.service
After=docker.service
Before=adit-gateway.service
[Service]
Type=oneshot
RemainAfterExit=yes
ExecStart=/usr/bin/docker load --quiet --input $image
END
cat >$units/agent.service <<END
[Unit]
Wants=image.service
After=image.service
[Service]
ExecStart=/bin/sh $folder/agent.sh
END
ln -s /lib/systemd/system/docker.service $units/image.service $units/agent.service $units/multi-user.target.wants/
exec /lib/systemd/systemd --unit=multi-user.target --log-target=kmsg --show-status=0 --default-standard-output=kmsg
