#!/bin/sh
# The first boot: the new root file system configures itself (see debian-configure.sh), then the machine ends.
/bin/busybox --install -s /bin
export PATH=/bin
mount -t proc proc /proc
/load-modules
mount -t devtmpfs devtmpfs /dev
mount -t ext4 -o noatime,nobarrier /dev/vda /mnt || poweroff -f
mount -t proc proc /mnt/proc
mount -t sysfs sysfs /mnt/sys
mount -t devtmpfs devtmpfs /mnt/dev
mount -t tmpfs tmpfs /mnt/run
chroot /mnt /configure 2>&1
for place in run dev sys proc; do umount /mnt/$place; done
umount /mnt || umount -r /mnt
poweroff -f
