//! THE unsafe frame of the vmkernel: boot, vectors, registers, tables, caches, GIC and timer hardware, vCPU entry and exit.
#![no_std]
