// What the wizard was told, and the VM that follows from it. Its disk is a volume of its name.

import type { Schemas } from "../api/client";

export type Source = "image" | "iso" | "nothing";
export type BootBy = "firmware" | "kernel";

export interface Wishes {
  source: Source;
  /** Name of the object, with its kind: `image:debian.raw`. */
  object: string;
  name: string;
  vcpus: number;
  memoryMiB: number;
  diskGiB: number;
  bootBy: BootBy;
  firmware: string;
  kernel: string;
  initrd: string;
  commandLine: string;
  hasCard: boolean;
  autostart: boolean;
}

/** An object's name without its kind. */
export const bare = (object: string): string => object.slice(object.indexOf(":") + 1);

/** A VM's name made of an image's: what is not allowed becomes `-`. */
export function nameFrom(object: string, taken: (name: string) => boolean): string {
  const stem = bare(object)
    .replace(/\.(raw|img|iso|qcow2)$/i, "")
    .toLowerCase()
    .replace(/[^a-z0-9]+/g, "-")
    .replace(/^-+|-+$/g, "")
    .slice(0, 28);
  const first = stem || "vm";
  if (!taken(first)) return first;
  for (let number = 2; ; number += 1) {
    const next = `${first}-${number}`;
    if (!taken(next)) return next;
  }
}

export const isName = (name: string): boolean => /^[a-z0-9-]{1,32}$/.test(name) && name !== "hostd";

/** The best of the firmwares that are there: one that boots what UEFI boots. */
export const bestFirmware = (names: readonly string[]): string =>
  names.find((name) => /edk2|qemu_efi|aavmf|uefi/i.test(name)) ?? names[0] ?? "";

/** A kernel and its initial RAM disk, as far as names tell. */
export const bestKernel = (names: readonly string[]): { kernel: string; initrd: string } => {
  const initrd = names.find((name) => /initrd|initramfs/i.test(name)) ?? "";
  const others = names.filter((name) => name !== initrd);
  return { kernel: others.find((name) => /kernel|vmlinu|^image/i.test(name)) ?? others[0] ?? "", initrd };
};

type Boot = Pick<Wishes, "bootBy" | "firmware" | "kernel" | "initrd">;

/** What a VM boots where nobody chose yet; "" is what nothing fits, and is to be chosen. */
export function bestBoot(firmware: readonly string[], files: readonly string[]): Boot {
  // A firmware may have come as a mere file: its name tells.
  const named = files.filter((name) => /edk2|efi|aavmf|u-boot/i.test(name));
  const best = bestFirmware([...firmware, ...named]);
  return { bootBy: best || files.length === 0 ? "firmware" : "kernel", firmware: best, ...bestKernel(files) };
}

/** What a list offers: the value as well where it is none of the names, so that no name looks chosen that is not. */
export const offered = (names: readonly string[], value: string): readonly string[] =>
  names.includes(value) ? names : [value, ...names];

export function configuration(wishes: Wishes): Schemas["VmConfiguration"] {
  const disks: Schemas["VmDisk"][] = [{ volume: wishes.name, read_only: false }];
  if (wishes.source === "iso") disks.push({ iso: bare(wishes.object), read_only: true });
  const { kernel, initrd, commandLine } = wishes;
  const boot =
    wishes.bootBy === "firmware"
      ? { firmware: wishes.firmware }
      : { kernel, ...(initrd ? { initrd } : {}), ...(commandLine ? { command_line: commandLine } : {}) };
  return {
    name: wishes.name,
    vcpus: wishes.vcpus,
    memory: `${wishes.memoryMiB}MiB`,
    autostart: wishes.autostart,
    boot,
    disk: disks,
    nic: wishes.hasCard ? [{}] : [],
  };
}
