import { expect, test } from "vitest";
import { type Wishes, bestBoot, bestFirmware, bestKernel, configuration, isName, nameFrom, offered } from "./plan";

const wishes: Wishes = {
  source: "iso",
  object: "iso:debian-13.iso",
  name: "lab",
  vcpus: 2,
  memoryMiB: 1024,
  diskGiB: 8,
  bootBy: "firmware",
  firmware: "edk2.fd",
  kernel: "",
  initrd: "",
  commandLine: "",
  hasCard: true,
  autostart: false,
};

test("a name is made of the image's, is allowed, and is free", () => {
  expect(nameFrom("image:Debian 13 (trixie).qcow2", () => false)).toBe("debian-13-trixie");
  expect(nameFrom("image:a.img", (name) => name === "a" || name === "a-2")).toBe("a-3");
  expect(nameFrom("image:日本.img", () => false)).toBe("vm");
  for (const object of ["image:x".padEnd(90, "y"), "iso:--.iso", "image:A_B.raw"]) {
    expect(isName(nameFrom(object, (name) => name.length === 28))).toBe(true);
  }
});

test("an installer is a CD, which comes after the disk", () => {
  expect(configuration(wishes)).toEqual({
    name: "lab",
    vcpus: 2,
    memory: "1024MiB",
    autostart: false,
    boot: { firmware: "edk2.fd" },
    disk: [
      { volume: "lab", read_only: false },
      { iso: "debian-13.iso", read_only: true },
    ],
    nic: [{}],
  });
});

test("a kernel takes the place of firmware; what is empty is not said", () => {
  const made = configuration({ ...wishes, source: "image", bootBy: "kernel", kernel: "vmlinuz", hasCard: false });
  expect(made.boot).toEqual({ kernel: "vmlinuz" });
  expect(made.nic).toEqual([]);
  expect(made.disk.length).toBe(1);
});

test("a kernel and its RAM disk are found by their names", () => {
  expect(bestKernel(["debian-initrd", "debian-kernel"])).toEqual({ kernel: "debian-kernel", initrd: "debian-initrd" });
  expect(bestKernel(["u-boot.bin"])).toEqual({ kernel: "u-boot.bin", initrd: "" });
  expect(bestKernel([])).toEqual({ kernel: "", initrd: "" });
});

test("kernels without firmware: the kernel that is shown is the one that is booted", () => {
  expect(bestBoot([], ["debian-initrd", "debian-kernel"])).toEqual({
    bootBy: "kernel",
    firmware: "",
    kernel: "debian-kernel",
    initrd: "debian-initrd",
  });
  expect(bestBoot([], ["anything"]).kernel).toBe("anything");
  // Nothing that looks like one: a list that shows so, not its first name.
  expect(bestBoot([], ["initrd.img"]).kernel).toBe("");
  expect(offered(["initrd.img"], "")).toEqual(["", "initrd.img"]);
  expect(offered(["a", "b"], "b")).toEqual(["a", "b"]);
});

test("firmware comes before kernels, as a file too", () => {
  expect(bestBoot(["x.fd"], ["vmlinuz"])).toMatchObject({ bootBy: "firmware", firmware: "x.fd" });
  expect(bestBoot([], ["vmlinuz", "QEMU_EFI.fd"])).toMatchObject({ bootBy: "firmware", firmware: "QEMU_EFI.fd" });
  expect(bestBoot([], [])).toMatchObject({ bootBy: "firmware", firmware: "", kernel: "" });
});

test("UEFI firmware is preferred", () => {
  expect(bestFirmware(["u-boot.bin", "QEMU_EFI.fd"])).toBe("QEMU_EFI.fd");
  expect(bestFirmware(["u-boot.bin"])).toBe("u-boot.bin");
  expect(bestFirmware([])).toBe("");
});
