//! Packets whose payload's type is known at run time only, back as what they are (FAB-017).

use std::any::Any;
use std::sync::Arc;

use csf_core::{AnyPacket, PhasePacket};

/// Finds the type of an erased packet again, without copying it.
pub trait DowncastPacket: Sized {
    /// The packet behind the same kind of pointer.
    type Of<T: Any + Send + Sync>;

    /// The same packet by its type.
    ///
    /// # Errors
    /// The packet as it was, when it carries another type.
    fn downcast_packet<T: Any + Send + Sync>(self) -> Result<Self::Of<T>, Self>;
}

// An unsized packet is made by coercion from a sized one of its payload's type only, since `PhasePacket`'s fields other than the
// payload do not depend on it; so where the payload is a `T`, the allocation holds a `PhasePacket<T>` with its layout.

impl DowncastPacket for Arc<AnyPacket> {
    type Of<T: Any + Send + Sync> = Arc<PhasePacket<T>>;

    fn downcast_packet<T: Any + Send + Sync>(self) -> Result<Arc<PhasePacket<T>>, Self> {
        if self.payload.is::<T>() {
            // SAFETY: see above; the count lies at the same place before either.
            Ok(unsafe { Arc::from_raw(Arc::into_raw(self).cast::<PhasePacket<T>>()) })
        } else {
            Err(self)
        }
    }
}

impl DowncastPacket for Box<AnyPacket> {
    type Of<T: Any + Send + Sync> = Box<PhasePacket<T>>;

    fn downcast_packet<T: Any + Send + Sync>(self) -> Result<Box<PhasePacket<T>>, Self> {
        if self.payload.is::<T>() {
            // SAFETY: see above.
            Ok(unsafe { Box::from_raw(Box::into_raw(self).cast::<PhasePacket<T>>()) })
        } else {
            Err(self)
        }
    }
}

impl<'a> DowncastPacket for &'a AnyPacket {
    type Of<T: Any + Send + Sync> = &'a PhasePacket<T>;

    fn downcast_packet<T: Any + Send + Sync>(self) -> Result<&'a PhasePacket<T>, Self> {
        if self.payload.is::<T>() {
            // SAFETY: see above; the borrow is the caller's.
            Ok(unsafe { &*std::ptr::from_ref(self).cast::<PhasePacket<T>>() })
        } else {
            Err(self)
        }
    }
}
