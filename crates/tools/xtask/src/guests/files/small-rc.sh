#!/bin/sh
# Runs once: modules, name, network. The name is on the kernel's command line as hostname=NAME.
/load-modules
for word in $(cat /proc/cmdline); do
    case $word in
        hostname=*) hostname "${word#hostname=}" ;;
        address=*) address=${word#address=} ;;
    esac
done
ip link set lo up
if [ -e /sys/class/net/eth0 ]; then
    ip link set eth0 up
    if [ -n "${address:-}" ]; then
        ip addr add "$address" dev eth0
    else
        # Asks in the background for as long as it takes: there may be no server.
        udhcpc -b -q -i eth0 -s /etc/dhcp >/dev/null 2>&1 &
    fi
fi
