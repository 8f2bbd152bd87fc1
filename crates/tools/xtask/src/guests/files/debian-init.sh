#!/bin/sh
# Finds the root file system of the kernel's command line (root=/dev/vda) and hands over to its init.
/bin/busybox --install -s /bin
export PATH=/bin
mount -t proc proc /proc
mount -t devtmpfs devtmpfs /dev
/load-modules
for word in $(cat /proc/cmdline); do
    case $word in root=*) root=${word#root=} ;; esac
done
tries=0
until mount -t ext4 "${root:=/dev/vda}" /mnt 2>/dev/null; do
    tries=$((tries + 1))
    if [ $tries = 100 ]; then
        echo "no root file system on $root: a shell instead"
        exec sh
    fi
    sleep 0.1
done
mount -o move /dev /mnt/dev
umount /proc
exec switch_root /mnt /sbin/init
