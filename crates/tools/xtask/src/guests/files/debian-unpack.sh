#!/bin/sh
# Makes a Debian root file system of packages that are unpacked but not yet configured, as an ext4 image.
# Usage: fakeroot sh debian-unpack.sh IMAGE SIZE CONFIGURE PACKAGE.deb…
# Runs on the build machine, whose processor can't run the packages' own scripts: those run later, in the guest.
# What dpkg would note when unpacking is written to its database here (dpkg(1), deb-control(5), deb-triggers(5)).
set -eu
image=$1 size=$2 configure=$3
shift 3
root=$(mktemp -d)
control=$(mktemp -d)
trap 'rm -rf "$root" "$control"' EXIT
db=$root/var/lib/dpkg

# Merged /usr, as every Debian since 12.
for folder in bin sbin lib; do
    mkdir -p "$root/usr/$folder"
    ln -s "usr/$folder" "$root/$folder"
done
mkdir -p "$db/info" "$db/updates" "$db/triggers" "$root/proc" "$root/sys" "$root/dev" "$root/run"
: >"$db/status"
: >"$db/available"

for deb; do
    dpkg-deb --fsys-tarfile "$deb" | tar -x -p --keep-directory-symlink -C "$root"
    rm -rf "$control"
    dpkg-deb -e "$deb" "$control"
    name=$(sed -n 's/^Package: //p' "$control/control")
    file=$name
    ! grep -q '^Multi-Arch: same' "$control/control" || file=$name:$(sed -n 's/^Architecture: //p' "$control/control")
    {
        sed -n '1s/^/&/p;1q' "$control/control"
        echo 'Status: install ok unpacked'
        sed 1d "$control/control"
        if [ -s "$control/conffiles" ]; then
            echo 'Conffiles:'
            sed -n 's/^\(\/.*\)$/ \1 newconffile/p' "$control/conffiles"
        fi
        echo
    } >>"$db/status"
    for part in "$control"/*; do
        [ "${part##*/}" = control ] || cp -p "$part" "$db/info/$file.${part##*/}"
    done
    dpkg-deb --fsys-tarfile "$deb" | tar -t | sed 's,^\.,,; s,^/$,/.,; s,\(.\)/$,\1,' >"$db/info/$file.list"
    [ ! -f "$control/triggers" ] || while read -r kind what; do
        case $kind in
            interest | interest-await) to=$name ;;
            interest-noawait) to=$name/noawait ;;
            *) continue ;;
        esac
        case $what in
            /*) echo "$what $to" >>"$db/triggers/File" ;;
            *) echo "$to" >>"$db/triggers/$what" ;;
        esac
    done <"$control/triggers"
done

# Scripts expect users and groups before base-passwd has made them.
cp "$root/usr/share/base-passwd/passwd.master" "$root/etc/passwd"
cp "$root/usr/share/base-passwd/group.master" "$root/etc/group"
cp "$configure" "$root/configure"
chmod 755 "$root/configure"
rm -f "$image"
truncate -s "$size" "$image"
mke2fs -q -t ext4 -E root_owner=0:0,lazy_itable_init=0 -O ^metadata_csum_seed,^orphan_file -d "$root" "$image" ||
    mke2fs -q -t ext4 -E root_owner=0:0 -d "$root" "$image"
