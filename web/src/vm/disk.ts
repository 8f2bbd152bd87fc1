// What stands behind a VM's disk.

import type { Schemas } from "../api/client";
import type { Key } from "../i18n";

type Disk = Schemas["VmDisk"];

export const diskName = ({ volume, image, host_disk, iso }: Disk): string => volume ?? image ?? host_disk ?? iso ?? "";

/** Nobody writes to a CD, whatever its settings say. */
export const isReadOnly = ({ iso, read_only }: Disk): boolean => iso != null || read_only;

export function diskKind({ volume, image, iso }: Disk): Key {
  if (volume) return "disk.volume";
  if (image) return "disk.image";
  return iso ? "disk.iso" : "disk.host";
}
