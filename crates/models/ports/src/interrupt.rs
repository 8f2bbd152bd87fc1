//! A device's interrupt output.

/// The wire from a device to the Distributor. Level semantics at the wire; whether the Distributor takes edges or the
/// level is the guest's configuration (GICD_ICFGR).
pub trait InterruptLine {
    /// Drives the line high. On an edge-triggered INTID a change from low to high makes it pending.
    fn raise(&self);

    /// Drives the line low.
    fn lower(&self);
}

impl<T: InterruptLine + ?Sized> InterruptLine for &T {
    #[inline]
    fn raise(&self) {
        (**self).raise();
    }

    #[inline]
    fn lower(&self) {
        (**self).lower();
    }
}
